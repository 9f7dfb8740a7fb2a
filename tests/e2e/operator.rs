//! `roomchat-admin` as an operator runs it: the real program, gateway and functions.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use kit::{Client, Gateway, IDENTITY, operator, token};
use serde_json::{Value, json};

/// The program, without credentials and settings of this machine.
fn program() -> Command {
    let mut command = Command::new(operator());
    command
        .env_clear()
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

struct Service {
    gateway: Gateway,
}

/// The outcome of a run: the exit code, stdout and stderr.
type Outcome = (i32, String, String);

fn outcome(output: Output) -> Outcome {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

impl Service {
    fn start() -> Service {
        let gateway = Gateway::start(&IDENTITY);
        Service { gateway }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .arg(format!("--local=http://127.0.0.1:{}", self.gateway.port))
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed, and returns its lines.
    fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out.lines().map(str::to_owned).collect()
    }

    /// Runs a command with --json, and returns the value of each line.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let lines = self.lines(&[arguments, &["--json"]].concat());
        let values = lines.iter().map(|line| serde_json::from_str(line));
        values.collect::<Result<_, _>>().unwrap()
    }

    fn says(&self, arguments: &[&str], expected: &str) {
        let lines = self.lines(arguments).join("\n");
        assert!(lines.contains(expected), "{arguments:?}: {lines}");
    }

    /// Runs a command with this input.
    fn piped(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        outcome(child.wait_with_output().unwrap())
    }

    fn join(&self, user: &str) -> Client {
        let token = token(user, &Value::Null, 600);
        let mut client = self
            .gateway
            .connect(&format!("/prod?room=lobby&token={token}"));
        let joined = client.ask(&json!({"action": "join", "room": "lobby", "presence": true}));
        assert_eq!(joined["type"], "joined", "{joined}");
        client
    }
}

#[test]
fn each_action_of_the_function_is_a_command() {
    let service = Service::start();
    let port = service.gateway.port;
    let url =
        format!("http://127.0.0.1:{port}/2015-03-31/functions/roomchat-prod-admin/invocations");
    let call = json!({"action": "dance"}).to_string();
    let mut response = ureq::post(url).send(call).unwrap();
    let answer: Value =
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
    let message = answer["message"].as_str().unwrap();
    let (_, actions) = message.split_once("there are ").unwrap();
    let (actions, _) = actions.split_once(';').unwrap();
    let actions: Vec<&str> = actions.split(", ").collect();
    assert!(actions.len() >= 16, "{message}");
    let (code, help, _) = service.run(&["--help"]);
    assert_eq!(code, 0);
    for action in actions {
        let command = format!("\n  {} ", action.replace('_', "-"));
        assert!(help.contains(&command), "{action} is not in --help");
    }
}

#[test]
fn an_operator_publishes_changes_and_reads() {
    let service = Service::start();
    let mut alice = service.join("alice");
    service.says(
        &["publish", "lobby", "Maintenance at 6"],
        "Stored as #1 in lobby, delivered to 1 connection.",
    );
    let heard = alice.receive();
    assert_eq!(
        (&heard["from"], &heard["data"]),
        (&json!("system:admin"), &json!("Maintenance at 6"))
    );
    service.lines(&[
        "edit",
        "lobby",
        "1",
        "Maintenance at 7",
        "--as",
        "system:ops",
    ]);
    let heard = alice.receive();
    assert_eq!(
        (&heard["kind"], &heard["from"]),
        (&json!("edit"), &json!("system:ops"))
    );
    service.lines(&["react", "lobby", "1", "👍", "--as-user", "bob"]);
    assert_eq!(alice.receive()["from"], "bob");
    service.lines(&["react", "lobby", "1", "👍", "--as-user", "bob", "--off"]);
    assert_eq!(alice.receive()["on"], false);
    // The same id is the same message, over two runs.
    let call = ["publish", "lobby", "once", "--id", "m-1"];
    service.says(&call, "Stored as #5");
    service.says(&call, "It was stored before.");
    assert_eq!(alice.receive()["seq"], 5);
    // JSON reaches the room byte for byte.
    let (code, ..) = service.piped(&["publish", "lobby", "-", "--data"], b"{\"n\": 1.00}\n");
    assert_eq!(code, 0);
    while !alice.receive_text().contains(r#""data":{"n": 1.00}"#) {}
    service.lines(&["delete", "lobby", "5", "--reason", "wrong"]);
    let several = service.json(&["publish", "lobby,tea", "to both"]);
    assert_eq!(
        several
            .iter()
            .map(|ack| ack["room"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["lobby", "tea"]
    );

    let history = service.lines(&["history", "lobby"]).join("\n");
    for part in [
        "#1 system:admin: Maintenance at 7 (edited)",
        "#2 * system:ops has edited #1: Maintenance at 7",
        "#4 * bob takes 👍 back from #1",
        "#5 system:admin: (deleted by system:admin: wrong)",
        r#"#6 system:admin: {"n": 1.00}"#,
    ] {
        assert!(history.contains(part), "{part}: {history}");
    }
    let seqs = |arguments: &[&str]| {
        let messages = service.json(arguments);
        messages
            .iter()
            .map(|message| message["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(&["history", "lobby", "-n", "2"]), [7, 8]);
    assert_eq!(
        seqs(&["history", "lobby", "-n", "2", "--before", "4"]),
        [2, 3]
    );
    assert_eq!(
        seqs(&["history", "lobby", "-n", "3", "--after", "2"]),
        [3, 4, 5]
    );
    assert_eq!(seqs(&["history", "empty"]), [0; 0]);

    service.says(&["heads", "tea,empty"], "tea    1     1         01");
    let heads = service.json(&["heads", "lobby,empty"]);
    assert_eq!(
        (&heads[0]["room"], &heads[0]["head"]),
        (&json!("empty"), &Value::Null)
    );
    assert_eq!(
        (&heads[1]["room"], &heads[1]["head"]),
        (&json!("lobby"), &json!(8))
    );
    let members = service.json(&["members", "lobby"]);
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["user"], "alice");
    service.says(&["members", "lobby"], "alice  1");
    service.says(&["new-epoch", "tea"], "A new epoch of tea begins after #2.");
}

#[test]
fn long_logs_are_read_in_pages() {
    let service = Service::start();
    let mut alice = service.join("alice");
    for n in 0..120 {
        alice.publish(&json!(n));
    }
    let read = |arguments: &[&str]| {
        let messages = service.json(arguments);
        messages
            .iter()
            .map(|message| message["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        read(&["history", "lobby", "-n", "1000"]),
        (1..=120).collect::<Vec<_>>()
    );
    assert_eq!(
        read(&["history", "lobby", "-n", "110"]),
        (11..=120).collect::<Vec<_>>()
    );
    let after = ["history", "lobby", "-n", "105", "--after", "5"];
    assert_eq!(read(&after), (6..=110).collect::<Vec<_>>());
}

#[test]
fn an_operator_moderates() {
    let service = Service::start();
    let mut bob = service.join("bob");
    service.says(
        &["kick", "lobby", "bob"],
        "bob is removed from lobby (1 connection).",
    );
    let removed = bob.receive();
    assert_eq!(
        (&removed["type"], &removed["reason"]),
        (&json!("removed"), &json!("kicked"))
    );
    let ban = ["ban", "lobby", "bob", "--for", "1h", "--reason", "spam"];
    service.says(&ban, "bob is banned from lobby until 2");
    let refused = bob.ask(&json!({"action": "join", "room": "lobby"}));
    assert_eq!(
        (&refused["name"], &refused["reason"]),
        (&json!("banned"), &json!("spam"))
    );
    service.lines(&["mute", "tea", "carol"]);
    service.says(&["bans"], "bob    lobby  ban");
    let bans = service.json(&["bans", "tea"]);
    assert_eq!((bans.len(), &bans[0]["user"]), (1, &json!("carol")));
    service.lines(&["unban", "lobby", "bob"]);
    service.lines(&["unmute", "tea", "carol"]);
    assert!(service.json(&["bans"]).is_empty());
    service.says(
        &["ban", "*", "bob", "--for", "90s"],
        "bob is banned from every room until 2",
    );
    service.says(&["bans"], "bob   *     ban");
    let mut carol = service.join("carol");
    service.says(&["disconnect", "carol"], "Closed 1 connection.");
    assert_eq!(carol.receive()["type"], "bye");
    service.says(
        &["revoke", "carol", "--reason", "stolen"],
        "The tokens of carol are revoked",
    );
    let audit = service.lines(&["audit", "-n", "3"]).join("\n");
    for part in [
        "system:admin: ban bob in * for 90 s",
        "system:admin: disconnect carol",
        "system:admin: revoke carol (stolen)",
    ] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}

#[test]
fn an_operator_signals_reads_marks_and_erases() {
    let service = Service::start();
    let mut bob = service.join("bob");
    service.says(
        &["signal", "lobby", "deploy", r#"{"in":5}"#],
        "Sent to lobby.",
    );
    let signal = bob.receive();
    assert_eq!(
        (&signal["type"], &signal["kind"], &signal["data"]),
        (&json!("signal"), &json!("deploy"), &json!({"in": 5}))
    );
    let ack = bob.publish(&json!("my address"));
    for _ in 0..2 {
        bob.publish(&json!("more of it"));
    }
    let mark = bob.ask(&json!({
        "action": "mark", "room": "lobby", "epoch": ack["epoch"], "seq": 1, "n": 1,
    }));
    assert_eq!(mark["type"], "ack", "{mark}");
    service.says(&["marks", "bob"], "lobby  1    1");
    let marks = service.json(&["marks", "bob"]);
    assert_eq!(
        (&marks[0]["room"], &marks[0]["seq"]),
        (&json!("lobby"), &json!(1))
    );
    service.lines(&["publish", "lobby", "stays"]);
    let erase = ["erase", "lobby", "bob", "--reason", "request 7"];
    service.says(
        &erase,
        "3 messages of bob in lobby deleted, 0 reactions taken back.",
    );
    service.says(
        &erase,
        "0 messages of bob in lobby deleted, 0 reactions taken back.",
    );
    let history = service.lines(&["history", "lobby"]).join("\n");
    assert!(
        !history.contains("address") && history.contains("stays"),
        "{history}"
    );
    assert!(service.json(&["marks", "bob"]).is_empty());
    service.says(&["audit", "-n", "2"], "erase bob in lobby (request 7)");
}

#[test]
fn what_users_wrote_cannot_steer_the_terminal() {
    let service = Service::start();
    let mut alice = service.join("alice");
    alice.publish(&json!("\u{1b}[2J\u{202e}gpj.exe\r\n#9 bob: hi"));
    let (_, text, _) = service.run(&["history", "lobby"]);
    assert!(text.contains(r"alice: \u{1b}[2J\u{202e}gpj.exe"), "{text}");
    assert!(text.contains("\n    #9 bob: hi"), "{text}");
    alice.ask(&json!({"action": "presence", "room": "lobby", "state": "\u{9b}31m\u{2066}"}));
    let (_, members, _) = service.run(&["members", "lobby"]);
    assert!(members.contains(r"\u{9b}31m\u{2066}"), "{members}");
    // For programs, text is as it was.
    assert_eq!(
        service.json(&["history", "lobby"])[0]["data"],
        "\u{1b}[2J\u{202e}gpj.exe\r\n#9 bob: hi"
    );
}

#[test]
fn a_tail_shows_what_comes() {
    let service = Service::start();
    service.lines(&["publish", "lobby", "before"]);
    let mut tail = service
        .command(&["tail", "lobby", "--every", "1s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().ends_with("#1 system:admin: before"));
    service.lines(&["publish", "lobby", "then"]);
    service.lines(&["delete", "lobby", "1"]);
    assert!(lines.next().unwrap().ends_with("#2 system:admin: then"));
    assert!(
        lines
            .next()
            .unwrap()
            .ends_with("#3 * system:admin has deleted #1")
    );
    service.lines(&["new-epoch", "lobby"]);
    service.lines(&["publish", "lobby", "anew"]);
    assert!(lines.next().unwrap().ends_with("system:admin: anew"));
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn pipes_work_at_both_ends() {
    let service = Service::start();
    let (code, out, err) = service.piped(&["publish", "lobby", "-"], "zwei\nZeilen\n".as_bytes());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(
        service.json(&["history", "lobby"])[0]["data"],
        "zwei\nZeilen"
    );
    for (input, reason) in [(&b"\n"[..], "stdin is empty"), (b"caf\xe9", "UTF-8")] {
        let (code, out, err) = service.piped(&["publish", "lobby", "-"], input);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(reason), "{err}");
    }
    // Nobody reads the output: no panic, and no error.
    for arguments in [
        &["history", "lobby"][..],
        &["heads", "lobby"],
        &["publish", "lobby", "x"],
    ] {
        let mut child = service
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let (code, _, err) = outcome(child.wait_with_output().unwrap());
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    }
    // A full disk is an error.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = service
        .command(&["history", "lobby"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn refusals_say_what_is_missing() {
    let service = Service::start();
    service.lines(&["publish", "lobby", "hi"]);
    for (arguments, code, parts) in [
        (&["edit", "lobby", "7", "x"][..], 1, &["message 7"][..]),
        (&["publish", "a b", "x"], 1, &["room", "a space"]),
        (
            &["publish", "lobby", "x", "--as", "bob"],
            2,
            &["must begin with system", "--as-user"],
        ),
        (
            &["--stack", "other", "history", "lobby"],
            2,
            &["no function other-admin", "--stack"],
        ),
        (&["publish", "lobby", "{", "--data"], 2, &["not JSON"]),
        (&["publish", "lobby"], 2, &["<TEXT>"]),
        (&["ban", "lobby", "bob", "--for", "soon"], 2, &["1h"]),
        (&["dance"], 2, &["dance"]),
    ] {
        let (found, out, err) = service.run(arguments);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{arguments:?}: {err}");
        }
    }
    let (code, out, err) = service.run(&["edit", "lobby", "7", "x", "--json"]);
    let frame: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        (&frame["type"], &frame["name"]),
        (&json!("error"), &json!("no_such_message"))
    );
    let (code, out, err) = service.run(&["publish", "lobby,a b", "x"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("Stored as #") && out.contains("a space"),
        "{out}"
    );
    assert!(err.contains("Not every room"), "{err}");
}

/// The events of the calls that a server has got.
type Events = Arc<Mutex<Vec<String>>>;

/// A server that answers as Lambda: each request with the next of these statuses, headers and bodies, and from then on with
/// the last.
fn answering(answers: Vec<(&'static str, String, Value)>) -> (String, Events) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let events = Events::default();
    let got = Arc::clone(&events);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.ends_with(b"}") {
                let read = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
            }
            let request = String::from_utf8(request).unwrap();
            let mut got = got.lock().unwrap();
            let (status, header, body) = &answers[got.len().min(answers.len() - 1)];
            got.push(request.split_once("\r\n\r\n").unwrap().1.to_owned());
            let body = body.to_string();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    (url, events)
}

#[test]
fn a_temporary_error_is_tried_again_with_the_same_id() {
    let answer = |body: Value| ("200 OK", "x-a: b".to_owned(), body);
    let slow = json!({"type": "error", "name": "slow_down", "message": "m", "temporary": true, "retryAfterMs": 1});
    let ack =
        json!({"type": "ack", "room": "lobby", "seq": 1, "epoch": "e", "at": 1, "delivered": 0});
    let failed = (
        "200 OK",
        "x-amz-function-error: Unhandled".to_owned(),
        json!({"errorMessage": "out of memory"}),
    );
    for (answers, code, tries, part) in [
        (vec![answer(slow.clone()), answer(ack)], 0, 2, ""),
        (vec![answer(slow)], 3, 3, "--id "),
        (vec![failed], 3, 1, "out of memory"),
    ] {
        let (url, events) = answering(answers);
        let mut command = program();
        command.args([&format!("--local={url}"), "publish", "lobby", "hi"]);
        let (found, _, err) = outcome(command.output().unwrap());
        assert_eq!(found, code, "{err}");
        assert!(err.contains(part), "{err}");
        let events = events.lock().unwrap();
        assert_eq!(events.len(), tries);
        assert!(events[0].contains(r#""id":""#) && events.iter().all(|event| *event == events[0]));
    }
}

#[test]
fn a_missing_right_and_missing_credentials_are_named() {
    let run = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = program();
        command.envs(environment.iter().copied()).args(arguments);
        outcome(command.output().unwrap())
    };
    let denied = "User: arn:aws:iam::1:user/a is not authorized to perform: lambda:InvokeFunction";
    let keys = [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let history = ["history", "lobby"];
    for (status, kind, message, code, parts) in [
        (
            "403 Forbidden",
            "AccessDeniedException",
            denied,
            2,
            &[
                "lambda:InvokeFunction",
                "roomchat-prod-admin",
                "backend_policy",
                "user/a",
            ][..],
        ),
        (
            "404 Not Found",
            "ResourceNotFoundException",
            "Function not found",
            2,
            &[
                "no function roomchat-prod-admin in eu-west-1",
                "scripts/deploy.sh",
            ],
        ),
        (
            "403 Forbidden",
            "ExpiredTokenException",
            "expired",
            2,
            &["does not accept the credentials"],
        ),
    ] {
        let header = format!("x-amzn-errortype: {kind}");
        let (url, _) = answering(vec![(status, header, json!({ "Message": message }))]);
        let environment = [&keys[..], &[("AWS_ENDPOINT_URL_LAMBDA", url.as_str())]].concat();
        let (found, _, err) = run(&environment, &history);
        assert_eq!(found, code, "{err}");
        for part in parts {
            assert!(err.contains(part), "{err}");
        }
    }
    let (code, _, err) = run(&[("AWS_REGION", "eu-west-1")], &history);
    assert_eq!(code, 2);
    assert!(
        err.contains("no AWS credentials") && err.contains("--profile"),
        "{err}"
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(
        &config,
        "[profile sso]\nregion = eu-west-1\nsso_session = x\nsso_account_id = 1\nsso_role_name = r\n\
         [sso-session x]\nsso_region = eu-west-1\nsso_start_url = https://x\n\
         [profile proc]\nregion = eu-west-1\n\
         credential_process = echo '{\"Version\":1,\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\"}'\n",
    )
    .unwrap();
    let configured = [("AWS_CONFIG_FILE", config.to_str().unwrap())];
    let (code, _, err) = run(&configured, &["--profile", "sso", "history", "lobby"]);
    assert_eq!(code, 2);
    assert!(err.contains("aws configure export-credentials"), "{err}");
    let (url, events) = answering(vec![(
        "200 OK",
        "x-a: b".to_owned(),
        json!({"type": "bans", "bans": []}),
    )]);
    let endpoint = [configured[0], ("AWS_ENDPOINT_URL_LAMBDA", url.as_str())];
    let (code, _, err) = run(&endpoint, &["--profile", "proc", "bans", "--json"]);
    assert_eq!(
        (code, err.as_str(), events.lock().unwrap().len()),
        (0, "", 1)
    );
    let (code, _, err) = run(&keys[..2], &history);
    assert_eq!(code, 2);
    assert!(
        err.contains("No region") && err.contains("--region"),
        "{err}"
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = format!("--local=http://{}", free.local_addr().unwrap());
    drop(free);
    let (code, _, err) = run(&[], &[&local, "history", "lobby"]);
    assert_eq!(code, 3);
    assert!(err.contains("scripts/local.sh"), "{err}");
    let (_, _, err) = run(&[], &[&local, "history", "lobby", "--json"]);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(
        (&error["name"], &error["temporary"]),
        (&json!("unreachable"), &json!(true))
    );
}
