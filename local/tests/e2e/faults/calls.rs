//! Faults of the calls that functions make, and the reproducibility of a run by its seed.

use serde_json::{Value, json};

use super::{applied, fault, id_of, start};
use kit::{Client, Gateway, eventually};

/// Starts the repository's own chat, whose functions sign their calls with the SDK.
fn chat(rule: &Value) -> Gateway {
    start("terraform", &json!([rule]), &[])
}

/// Publishes a message whose function is killed.
fn publish_in_vain(gateway: &Gateway, client: &mut Client) {
    let answer = client.ask(&json!({"action": "publish", "data": "hi"}));
    assert_eq!(answer["message"], "Internal server error", "{answer}");
    let line = fault(gateway, "kill");
    assert!(line.contains(" function=publish ") && line.contains(" operation=PostToConnection "));
    gateway.wait_for_line("Runtime.ExitError: Runtime exited: signal: 9");
}

/// Counts the clients that have a message before the answer to a ping.
fn reached(members: &mut [Client]) -> usize {
    members
        .iter_mut()
        .filter_map(|member| {
            let next = member.ask(&json!({"action": "ping"}));
            (next["type"] == "message").then(|| assert_eq!(member.receive()["type"], "pong"))
        })
        .count()
}

#[test]
fn a_function_is_killed_before_a_call_has_an_effect() {
    let gateway = chat(&json!({
        "on": "call", "function": "publish", "operation": "PostToConnection", "do": "kill", "when": "before", "nth": 1,
    }));
    let mut alice = gateway.join("lobby", "alice");
    let mut members = [gateway.join("lobby", "bob")];
    publish_in_vain(&gateway, &mut alice);
    assert_eq!(reached(&mut members), 0);
    // The next process is not affected.
    assert_eq!(alice.publish(&json!("again"))["delivered"], 1);
}

#[test]
fn a_function_is_killed_after_a_call_has_had_its_effect() {
    let gateway = chat(&json!({
        "on": "call", "function": "roomchat-prod-publish", "do": "kill", "when": "after", "nth": 1,
        "per": "invocation", "operation": "PostToConnection",
    }));
    let mut alice = gateway.join("lobby", "alice");
    let mut members = [gateway.join("lobby", "bob"), gateway.join("lobby", "carol")];
    // One post is made first, alone, and each invocation counts from one again.
    for _ in 0..2 {
        publish_in_vain(&gateway, &mut alice);
        assert_eq!(reached(&mut members), 1);
    }
    assert_eq!(applied(&gateway).len(), 2);
}

#[test]
fn a_call_that_waits_and_one_that_hangs() {
    let gateway = start(
        "local/tests/probe",
        &json!([
            {"name": "slow", "on": "call", "function": "probe", "per": "invocation", "nth": 2, "do": "delay", "ms": 60},
            {"name": "never", "on": "call", "query": {"name": "hang"}, "do": "hang"},
        ]),
        &[],
    );
    let mut client = gateway.connect("/prod");
    let mut call = |to: &str, times: u64| {
        client.ask(&json!({"action": "probe", "do": "call", "to": to, "times": times}))
    };
    let mut target = gateway.connect("/prod?name=fine");
    let id = id_of(&mut target);
    for _ in 0..2 {
        assert_eq!(call(&id, 3), json!([200, 200, 200]));
    }
    // A caller that is not a process of the gateway is not a function.
    assert_eq!(gateway.management("POST", &id, "x").0, 200);
    let mut target = gateway.connect("/prod?name=hang");
    let id = id_of(&mut target);
    // The function waits until Lambda stops it.
    assert_eq!(call(&id, 1)["message"], "Internal server error");
    let applied: Vec<String> = applied(&gateway)
        .iter()
        .map(|line| {
            line.split(' ')
                .find(|part| part.starts_with("rule="))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(applied, ["rule=slow", "rule=slow", "rule=never"]);
}

/// The faults of 60 posts with a seed: the lines of the log without connections, and the received frames.
fn run(seed: &str) -> (Vec<String>, Vec<String>) {
    let gateway = start(
        "local/tests/probe",
        &json!([
            {"name": "lossy", "on": "post", "do": "drop", "probability": 0.3},
            {"name": "jitter", "on": "post", "do": "delay", "ms": [0, 5], "probability": 0.5},
        ]),
        &["--seed", seed],
    );
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    for n in 0..60 {
        assert_eq!(gateway.management("POST", &id, &n.to_string()).0, 200);
    }
    let received: Vec<String> = {
        client.send(&json!({"action": "probe", "do": "say", "text": "end"}));
        std::iter::from_fn(|| Some(client.receive_text()).filter(|text| text != "end")).collect()
    };
    let dropped = 60 - received.len();
    let applied = eventually("the log", || {
        let applied = applied(&gateway);
        let drops = applied.iter().filter(|line| line.contains("do=drop"));
        (drops.count() == dropped).then_some(applied)
    });
    (applied, received)
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let (applied, received) = run("11");
    assert!(!received.is_empty() && received.len() < 60, "{received:?}");
    assert!(applied.iter().all(|line| line.ends_with("seed=11")));
    assert_eq!(run("11"), (applied.clone(), received.clone()));
    assert_ne!(run("12"), (applied, received));
}
