//! Limits of size and of concurrency.

use serde_json::json;

use super::probe;
use kit::{Client, eventually};

#[test]
fn limits_of_frames_and_messages() {
    let gateway = probe(&[]);
    let closes = |send: &dyn Fn(&mut Client)| {
        let mut client = gateway.connect("/prod");
        send(&mut client);
        u16::from(client.closed().unwrap().code)
    };
    let frame = |bytes: usize| {
        let head = r#"{"action":"probe","x":""#;
        format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
    };
    let mut client = gateway.connect("/prod");
    client.send_text(&frame(32_768));
    assert_eq!(client.receive()["body"], frame(32_768));
    // Only the answer of the function is too large.
    client.send_fragmented(&frame(4 * 32_768), 32_768);
    assert_eq!(client.receive()["message"], "Internal server error");
    gateway.wait_for_line("message bytes=131072 error=Internal server error");

    assert_eq!(closes(&|client| client.send_text(&frame(32_769))), 1009);
    assert_eq!(
        closes(&|client| client.send_fragmented(&frame(4 * 32_768 + 1), 32_768)),
        1009
    );
    gateway.wait_for_line("DISCONNECTED 1009 ''");
    assert_eq!(
        client.ask(&json!({"action": "probe"}))["body"],
        r#"{"action":"probe"}"#
    );
}

#[test]
fn at_the_concurrency_limit_lambda_refuses() {
    let gateway = probe(&["--var", "concurrency=1", "--var", "probe_timeout=60"]);
    let mut client = gateway.connect("/prod");
    // The invocation of $connect may still run: its process has not asked for the next event yet.
    let mut refused = 0;
    eventually("the function hangs", || {
        let hangs = gateway.output().iter().any(|line| line.contains("HANGING"));
        if !hangs {
            client.send(&json!({"action": "probe", "do": "hang"}));
            refused += 1;
        }
        hangs.then_some(())
    });
    // All except the one that hangs.
    for _ in 1..refused {
        assert!(client.receive_text().contains("Internal server error"));
    }
    client.send(&json!({"action": "probe"}));
    assert!(client.receive_text().contains("Internal server error"));
    assert_eq!(gateway.try_connect("/prod").err(), Some(500));
    gateway.end_at_once();
}

#[test]
fn beyond_the_processes_of_this_machine_invocations_wait() {
    let gateway = probe(&["--processes", "2", "--var", "probe_timeout=20"]);
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect("/prod")).collect();
    for client in &mut clients {
        for _ in 0..5 {
            client.send(&json!({"action": "probe", "do": "sleep", "seconds": 0.01}));
        }
    }
    let mut processes: Vec<String> = clients
        .iter_mut()
        .flat_map(|client| (0..5).map(|_| client.receive_text()).collect::<Vec<_>>())
        .collect();
    processes.sort();
    processes.dedup();
    assert!(processes.len() <= 2, "{processes:?}");
}
