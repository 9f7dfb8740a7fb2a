//! Start, stop, and the data that is kept.

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use kit::{Gateway, eventually};

fn is_running(pid: u32) -> bool {
    // A zombie counts as ended.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn ctrl_c_closes_clients_ends_functions_and_keeps_the_tables() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--data", data.path().to_str().unwrap()];
    let mut gateway = Gateway::start(&flags);
    let mut alice = gateway.join("lobby", "alice");
    alice.publish(&json!("x"));
    gateway.put_ghost("deadDEADdead000=", "lobby", 60);
    let children = gateway.children();
    assert!(children.len() >= 2, "connect and publish run");

    gateway.signal("-INT");
    let frame = alice.closed().unwrap();
    assert_eq!(
        (frame.code, frame.reason.as_str()),
        (CloseCode::Away, "Going away")
    );
    assert!(gateway.wait().success());
    for child in children {
        assert!(
            !is_running(child),
            "process {child} has outlived the gateway"
        );
    }
    // $disconnect has run for alice. The row of the lost connection is still there, and is pruned later.
    let gateway = Gateway::start(&flags);
    let rows = gateway.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let mut bob = gateway.join("lobby", "bob");
    assert_eq!(bob.publish(&json!("x"))["gone"], 1);
    assert_eq!(gateway.rows().len(), 1);
}

#[test]
fn after_a_kill_the_next_gateway_disconnects_the_former_connections() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--data", data.path().to_str().unwrap()];
    let mut gateway = Gateway::start(&flags);
    let mut alice = gateway.join("lobby", "alice");
    let joined = alice.ask(&json!({"action": "join", "room": "hall"}));
    assert_eq!(joined["type"], "joined", "{joined}");
    // These two are not open at the end: one has left, one was refused.
    gateway.join("lobby", "bob").leave();
    assert_eq!(
        gateway.try_connect("/prod?room=lobby&user=null").err(),
        Some(400)
    );
    let journal = data.path().join("connections");
    eventually("only alice is in the journal", || {
        (std::fs::read_dir(&journal).unwrap().count() == 1).then_some(())
    });
    let id = gateway.rows()[0]["connectionId"]["S"]
        .as_str()
        .unwrap()
        .to_owned();
    let children = gateway.children();
    gateway.signal("-KILL");
    gateway.wait();
    for child in children {
        eventually("a function notices that its gateway is gone", || {
            (!is_running(child)).then_some(())
        });
    }

    let mut gateway = Gateway::start(&flags);
    gateway.wait_for_line(&format!("{id} close code=1006"));
    eventually("alice's rows are gone", || {
        gateway.rows().is_empty().then_some(())
    });
    let closed = |gateway: &Gateway| {
        let lines = gateway.output().into_iter();
        lines.filter(|line| line.contains(" close ")).count()
    };
    assert_eq!(closed(&gateway), 1, "{:?}", gateway.output());
    let _carol = gateway.join("lobby", "carol");
    let carol = gateway.connection_of("carol");
    gateway.signal("-KILL");
    gateway.wait();

    // alice is forgotten.
    let gateway = Gateway::start(&flags);
    gateway.wait_for_line(&format!("{carol} close code=1006"));
    eventually("carol's row is gone", || {
        gateway.rows().is_empty().then_some(())
    });
    assert_eq!(closed(&gateway), 1, "{:?}", gateway.output());
}

#[test]
fn without_data_nothing_is_kept() {
    let gateway = Gateway::start(&[]);
    let _alice = gateway.join("lobby", "alice");
    drop(gateway);
    assert_eq!(Gateway::start(&[]).rows().len(), 0);
}

#[test]
fn an_idle_connection_and_an_old_one_are_closed() {
    let gateway = Gateway::start(&["--idle-timeout", "1"]);
    let mut alice = gateway.join("lobby", "alice");
    assert_eq!(alice.closed().unwrap().code, CloseCode::Away);
    gateway.wait_for_line("code=1001 reason=Going away");
    eventually("$disconnect has run", || {
        gateway.rows().is_empty().then_some(())
    });

    let gateway = Gateway::start(&["--max-lifetime", "1"]);
    let mut alice = gateway.join("lobby", "alice");
    // Traffic does not extend the lifetime.
    let closed = eventually("the end of its life", || {
        let sent = alice.socket.send(r#"{"action":"ping"}"#.into());
        match sent.and_then(|()| alice.read()) {
            Ok(tokio_tungstenite::tungstenite::Message::Close(frame)) => Some(frame),
            Ok(_) => None,
            Err(error) => panic!("no close frame: {error}"),
        }
    });
    assert_eq!(closed.unwrap().code, CloseCode::Away);
}

#[test]
fn idle_processes_are_ended_and_started_again_on_demand() {
    let gateway = Gateway::start(&["--reap-after", "1"]);
    let mut alice = gateway.join("lobby", "alice");
    assert!(!gateway.children().is_empty());
    eventually("no process is left", || {
        gateway.children().is_empty().then_some(())
    });
    assert_eq!(alice.publish(&json!("x"))["type"], "ack");
    eventually("a cold start is reported", || {
        gateway
            .output()
            .iter()
            .any(|line| line.contains("publish") && line.contains("Init Duration"))
            .then_some(())
    });
}

#[test]
fn who_is_still_connecting_at_the_end_is_told_too() {
    let probe = kit::root().join("local/tests/probe");
    let mut gateway = Gateway::start_with(&probe, &[]);
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| gateway.connect("/prod?do=sleep&seconds=1").closed());
        gateway.wait_for_line("SLEEPING");
        gateway.signal("-HUP");
        assert_eq!(connecting.join().unwrap().unwrap().code, CloseCode::Away);
    });
    assert!(gateway.wait().success());
    gateway.wait_for_line("DISCONNECTED 1001");
}

#[test]
fn a_terminal_that_has_stopped_does_not_stop_the_service() {
    let terraform = kit::root().join("terraform");
    let mut process = kit::command(&terraform, &["--env", "AWS_LAMBDA_LOG_FORMAT=JSON"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
    let url = lines.next().unwrap().unwrap();
    let url = url.split_whitespace().nth(1).unwrap().to_owned();
    // From here on the output is not read, and a pipe holds 64 KB.
    let (mut socket, _) =
        tokio_tungstenite::tungstenite::connect(format!("{url}?room=lobby")).unwrap();
    for _ in 0..200 {
        socket
            .send(r#"{"action":"publish","data":1}"#.into())
            .unwrap();
        assert!(socket.read().unwrap().to_text().unwrap().contains("ack"));
    }
    std::process::Command::new("kill")
        .args(["-INT", &process.id().to_string()])
        .status()
        .unwrap();
    let status = eventually("its end", || process.try_wait().unwrap());
    assert!(status.success());
}
