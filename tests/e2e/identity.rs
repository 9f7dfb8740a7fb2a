//! Identity from the handshake to the last log line: real functions, a real authorizer, real tokens.

use std::fs;
use std::process::Command;

use kit::{Gateway, IDENTITY, SECRET, eventually, now_s, root, token};
use serde_json::{Value, json};

fn everything() -> Value {
    Value::Null
}

#[test]
fn a_token_is_taken_from_each_place_and_from_one_alone() {
    let gateway = Gateway::start(&IDENTITY);
    let alice = token("alice", &everything(), 600);
    let bearer = format!("Bearer {alice}");
    let offers = format!("roomchat.v1, roomchat.token.{alice}");
    for (query, headers, answered) in [
        (format!("token={alice}"), vec![], None),
        (
            String::new(),
            vec![("authorization", bearer.as_str())],
            None,
        ),
        (
            String::new(),
            vec![("sec-websocket-protocol", offers.as_str())],
            Some("roomchat.v1"),
        ),
    ] {
        let connected = gateway.try_connect_with(&format!("/prod?room=lobby&{query}"), &headers);
        let (mut client, subprotocol) = connected.unwrap();
        assert_eq!(subprotocol.as_deref(), answered);
        let joined = client.ask(&json!({"action": "join", "room": "lobby"}));
        assert_eq!(joined["user"], "alice", "{joined}");
        client.leave();
    }
    let both = [("authorization", bearer.as_str())];
    let refused = gateway.try_connect_with(&format!("/prod?token={alice}"), &both);
    assert_eq!(refused.map(|_| ()), Err(403));
    let (header, rest) = alice.split_once('.').unwrap();
    for (query, status) in [
        ("", 401),
        ("?user=alice", 401),
        ("?token=", 403),
        ("?token=x", 403),
        (&format!("?token={header}.{rest}x"), 403),
        (&format!("?token={alice}&user=bob"), 400),
        (
            &format!("?token={}", token("alice", &everything(), -60)),
            403,
        ),
        (
            &format!("?token={}", token("@alice", &everything(), 60)),
            403,
        ),
        (
            &format!(
                "?room=garden&token={}",
                token("alice", &json!({"lobby": ["join"]}), 60)
            ),
            403,
        ),
    ] {
        let refused = gateway.try_connect(&format!("/prod{query}"));
        assert_eq!(refused.map(|_| ()), Err(status), "{query}");
    }
}

/// The memberships and the rows of users.
fn rooms_and_users(gateway: &Gateway) -> Value {
    let users = gateway.dynamodb("Scan", &json!({"TableName": "roomchat-prod-users"}));
    json!([gateway.rows(), users["Items"]])
}

/// An attacker with a good token for another room: no action gets it into this one, and none tells it anything.
#[test]
fn a_token_for_another_room_is_worth_nothing_here() {
    let gateway = Gateway::start(&IDENTITY);
    let connect = |user: &str, rooms: &Value, room: &str| {
        gateway.connect(&format!(
            "/prod?room={room}&token={}",
            token(user, rooms, 600)
        ))
    };
    let mut alice = connect("alice", &everything(), "dm:alice:bob");
    alice.publish(&json!("for bob's eyes"));
    let ack = alice.ask(&json!({"action": "publish", "to": "bob", "data": "for bob's eyes"}));
    assert_eq!(ack["room"], "@alice&bob", "{ack}");
    let mut mallory = connect(
        "mallory",
        &json!({"lobby": ["join", "history", "publish", "moderate"]}),
        "lobby",
    );
    let rows = rooms_and_users(&gateway);
    for room in ["dm:alice:bob", "@alice&bob", "@alice", "@audit", "*"] {
        for frame in [
            json!({"action": "join"}),
            json!({"action": "join", "history": 100}),
            json!({"action": "join", "presence": {"state": "here"}}),
            json!({"action": "history"}),
            json!({"action": "heads", "rooms": [room]}),
            json!({"action": "members"}),
            json!({"action": "members", "state": true, "probe": true}),
            json!({"action": "presence", "state": "here"}),
            json!({"action": "publish", "data": "hi"}),
            json!({"action": "publish", "data": "hi", "id": "1", "after": 0}),
            json!({"action": "sendmessage", "data": "hi"}),
            json!({"action": "edit", "target": 1, "data": "hi"}),
            json!({"action": "delete", "target": 1}),
            json!({"action": "delete", "target": 1, "reason": "mine"}),
            json!({"action": "react", "target": 1, "key": "x"}),
            json!({"action": "signal", "kind": "typing"}),
            json!({"action": "mark", "epoch": "01KAKZ8Q3V6T2M4W9XN5R7CYHB", "seq": 1, "n": 1, "public": true}),
            json!({"action": "kick", "user": "alice"}),
            json!({"action": "ban", "user": "alice"}),
            json!({"action": "unban", "user": "mallory"}),
            json!({"action": "mute", "user": "alice"}),
            json!({"action": "unmute", "user": "mallory"}),
        ] {
            let mut frame = frame;
            if frame["action"] != "heads" {
                frame["room"] = json!(room);
            }
            let answer = mallory.ask(&frame);
            let refused = ["forbidden", "bad_request"].map(|name| answer["name"] == name);
            assert!(refused.contains(&true), "{frame}: {answer}");
            assert!(!answer.to_string().contains("bob's eyes"), "{answer}");
            if room == "dm:alice:bob" {
                assert_eq!(answer["name"], "forbidden", "{frame}: {answer}");
            }
        }
    }
    // Her own frames, which lead to nobody else.
    for frame in [
        json!({"action": "marks"}),
        json!({"action": "leave", "room": "dm:alice:bob"}),
        json!({"action": "history", "with": "alice"}),
    ] {
        let answer = mallory.ask(&frame);
        assert!(!answer.to_string().contains("bob's eyes"), "{answer}");
    }
    assert_eq!(rooms_and_users(&gateway), rows);
    alice.has_received_all();
    let ack = alice.publish(&json!("still alone"));
    assert_eq!((&ack["seq"], &ack["delivered"]), (&json!(2), &json!(0)));
}

/// Renewing as a client does it: nothing is lost and nothing is doubled over three tokens, and an ended connection gets
/// nothing.
#[test]
fn a_connection_is_renewed_without_a_gap_before_its_token_ends() {
    let gateway = Gateway::start(&IDENTITY);
    let connect = |user: &str, seconds| {
        gateway.connect(&format!(
            "/prod?room=lobby&token={}",
            token(user, &everything(), seconds)
        ))
    };
    let mut speaker = connect("speaker", 600);
    let mut said = 0;
    let mut say = |speaker: &mut kit::Client| {
        said += 1;
        speaker.publish(&json!(said))["delivered"].clone()
    };
    let mut old = connect("alice", 3);
    let joined = old.ask(&json!({"action": "join", "room": "lobby"}));
    let (mut epoch, mut seen) = (joined["epoch"].clone(), 0);
    for _ in 0..3 {
        assert_eq!(say(&mut speaker), 1);
        seen += 1;
        assert_eq!(old.receive()["seq"], seen);
        let ends = now_s() + 3;
        eventually("the token ends", || (now_s() > ends).then_some(()));
        let refused = old.ask(&json!({"action": "publish", "data": "late"}));
        assert_eq!(refused["name"], "token_expired", "{refused}");
        assert_eq!(refused["code"], 401);
        // Said while nobody of alice listens with a good token: within the leeway the old connection may still get it.
        say(&mut speaker);
        let mut new = connect("alice", 3);
        let since =
            json!({"action": "join", "room": "lobby", "since": {"epoch": epoch, "seq": seen}});
        let joined = new.ask(&since);
        assert_eq!(joined["recovered"], true, "{joined}");
        assert_eq!(joined["messages"].as_array().unwrap().len(), 1);
        seen += 1;
        epoch = joined["epoch"].clone();
        old.leave();
        old = new;
    }
    // No message sent after the token's end is stored.
    let history = speaker.ask(&json!({"action": "history", "limit": 100}));
    let data: Vec<&Value> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["data"])
        .collect();
    assert_eq!(
        data,
        (1..=6)
            .map(Value::from)
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn guests_enter_where_guests_may() {
    let mut flags = IDENTITY;
    flags[1] = r#"auth={issuer="roomchat",audience=["roomchat"],anonymous={"open-*"=["join"]}}"#;
    let gateway = Gateway::start(&flags);
    let mut guest = gateway.connect("/prod?room=open-hall");
    let joined = guest.ask(&json!({"action": "join", "room": "open-hall"}));
    let user = joined["user"].as_str().unwrap();
    assert!(user.starts_with("guest-") && user.len() == 18, "{user}");
    let refused = guest.ask(&json!({"action": "publish", "data": 1}));
    assert_eq!(refused["right"], "publish", "{refused}");
    assert_eq!(
        gateway.try_connect("/prod?room=lobby").map(|_| ()),
        Err(403)
    );
    assert_eq!(
        gateway
            .try_connect("/prod?room=open-hall&user=boss")
            .map(|_| ()),
        Err(400)
    );
}

/// With the most talkative logs and with traces: no token is in any of them, nor any part of one.
#[test]
fn no_token_is_in_any_log() {
    for log in ["text", "json"] {
        let more = ["--verbose", "--admin-port", "0", "--log", log];
        let traced = ["--var", "xray=true", "--var", "access_logs=true"];
        search_for_tokens(&[&IDENTITY[..], &more, &traced].concat());
    }
}

fn search_for_tokens(flags: &[&str]) {
    let gateway = Gateway::start(flags);
    let mut tokens = Vec::new();
    let mut use_token = |token: String| {
        let bearer = format!("Bearer {token}");
        let offers = format!("roomchat.v1, roomchat.token.{token}");
        for (query, header) in [
            (format!("?token={token}"), None),
            (format!("?room=lobby&token={token}&token={token}"), None),
            (String::new(), Some(("authorization", bearer.as_str()))),
            (
                String::new(),
                Some(("sec-websocket-protocol", offers.as_str())),
            ),
        ] {
            let headers: Vec<(&'static str, &str)> = header.into_iter().collect();
            if let Ok((mut client, _)) =
                gateway.try_connect_with(&format!("/prod{query}"), &headers)
            {
                client.ask(&json!({"action": "publish", "data": "hi"}));
                client.leave();
            }
        }
        tokens.push(token);
    };
    use_token(token("alice", &everything(), 600));
    use_token(token("bob", &json!({"lobby": []}), 600));
    use_token(token("carol", &everything(), -600));
    use_token(format!("{}x", token("dave", &everything(), 600)));
    use_token("not-a-token-but-secret".to_owned());
    use_token("too-long-".repeat(500));
    // A function that ends in the middle of a handshake, and tables that refuse.
    for fault in [
        json!({"on": "call", "function": "connect", "do": "kill", "when": "after"}),
        json!({"on": "table", "do": "throttle"}),
    ] {
        gateway.admin("PUT", "/faults", &fault);
        use_token(token("erin", &everything(), 600));
        gateway.admin("DELETE", "/faults", &Value::Null);
    }
    gateway.at_rest();
    let status = gateway.admin("GET", "/status", &Value::Null).to_string();
    let printed = gateway.output().join("\n") + &gateway.errors().join("\n") + &status;
    assert!(
        printed.contains("authorize") && printed.lines().count() > 50,
        "{printed}"
    );
    for token in tokens {
        let parts = token.split('.').filter(|part| part.len() > 20);
        for part in parts.chain([token.as_str()]) {
            // Every token of HS256 has the same header, which is not a secret.
            let is_header = token.contains('.') && token.starts_with(part) && part != token;
            assert!(is_header || !printed.contains(part), "{part} is in the log");
        }
    }
    assert!(!printed.contains(SECRET));
}

/// An authorizer of one's own: a function in Python that knows nothing of JWT.
#[test]
fn an_authorizer_of_ones_own_decides() {
    let folder = tempfile::tempdir().unwrap();
    let terraform = folder.path().join("terraform");
    fs::create_dir(&terraform).unwrap();
    for entry in fs::read_dir(root().join("terraform")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|end| end == "tf") {
            fs::copy(entry.path(), terraform.join(entry.file_name())).unwrap();
        }
    }
    let blocks = kit::blocks("docs/identity.md", "python authorizer");
    let [(_, code)] = blocks.as_slice() else {
        panic!("docs/identity.md has one authorizer in Python");
    };
    fs::create_dir(terraform.join("own")).unwrap();
    fs::write(terraform.join("own/index.py"), code.join("\n")).unwrap();
    let zipped = Command::new("python3")
        .args(["-m", "zipfile", "-c", "own.zip", "own/index.py"])
        .current_dir(&terraform)
        .status();
    assert!(zipped.unwrap().success());
    fs::write(
        terraform.join("own.tf"),
        r#"
        resource "aws_lambda_function" "own" {
          function_name = "own"
          role          = "arn:aws:iam::000000000000:role/own"
          runtime       = "python3.12"
          handler       = "index.handler"
          filename      = "${path.module}/own.zip"
          timeout       = 10
        }
        "#,
    )
    .unwrap();
    let arn = "authorizer_lambda_arn=arn:aws:lambda:us-east-1:000000000000:function:own";
    let gateway = Gateway::start_with(&terraform, &["--var", arn]);
    let headers = [("authorization", "Session 0123456789")];
    let connected = gateway.try_connect_with("/prod?room=lobby", &headers);
    let (mut alice, _) = connected.unwrap();
    let joined = alice.ask(&json!({"action": "join", "room": "lobby"}));
    assert_eq!(joined["user"], "alice", "{joined}");
    alice.publish(&json!("hi"));
    let refused = alice.ask(&json!({"action": "join", "room": "garden"}));
    assert_eq!(refused["name"], "forbidden", "{refused}");
    let headers = [("authorization", "Session 999")];
    assert_eq!(
        gateway.try_connect_with("/prod", &headers).map(|_| ()),
        Err(403)
    );
    assert_eq!(gateway.try_connect("/prod").map(|_| ()), Err(401));
}
