//! Breaks the chat on one machine and finds the line of the metric that an alarm of terraform/observability.tf counts.

use serde_json::{Value, json};

use kit::{Gateway, eventually, root};

/// The gateway with the lines that its console leaves out, and with an admin endpoint.
fn gateway() -> Gateway {
    Gateway::start(&["--verbose", "--admin-port", "0"])
}

/// The lines of metrics, read as CloudWatch reads them: the values of the metrics that a line declares.
fn metrics(gateway: &Gateway) -> Vec<(String, f64)> {
    let mut values = Vec::new();
    for line in gateway.output() {
        let Some((_, text)) = line.split_once("{\"_aws\":") else {
            continue;
        };
        let line: Value = serde_json::from_str(&format!("{{\"_aws\":{text}")).unwrap();
        assert!(line["_aws"]["Timestamp"].as_i64() > Some(1_700_000_000_000));
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], "Roomchat");
            assert_eq!(directive["Dimensions"], json!([["Stack"]]));
            assert_eq!(line["Stack"], "roomchat-prod");
            for metric in directive["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                values.push((name.to_owned(), line[name].as_f64().unwrap()));
            }
        }
    }
    values
}

/// Waits for the sum of a metric.
fn counts(gateway: &Gateway, name: &str, expected: f64) {
    eventually(
        &format!("{name} {expected}: {:?}", metrics(gateway)),
        || {
            let all = metrics(gateway);
            let sum: f64 = all
                .iter()
                .filter(|(each, _)| each == name)
                .map(|(_, value)| value)
                .sum();
            (sum == expected).then_some(())
        },
    );
}

#[test]
fn a_conversation_is_counted() {
    let gateway = gateway();
    let (mut alice, mut bob) = (gateway.join("lobby", "alice"), gateway.join("lobby", "bob"));
    counts(&gateway, "Connected", 2.0);
    let message = json!({"action": "publish", "data": "hi", "id": "one"});
    alice.ask(&message);
    bob.receive();
    counts(&gateway, "Published", 1.0);
    counts(&gateway, "Delivered", 1.0);
    assert_eq!(alice.ask(&message)["duplicate"], true);
    // The first delivery might have died on the way.
    assert_eq!(bob.receive()["seq"], 1);
    counts(&gateway, "Duplicates", 1.0);
    counts(&gateway, "Published", 1.0);
    assert!(
        metrics(&gateway)
            .iter()
            .any(|(name, _)| name == "FanOutTo10")
    );

    bob.ask(&json!({"action": "join", "room": "tea"}));
    counts(&gateway, "JoinsFresh", 1.0);
    let joined = bob.ask(&json!({"action": "join", "room": "lobby", "since": {"seq": 1, "epoch": "01JZZZZZZZZZZZZZZZZZZZZZZZ"}}));
    assert_eq!(joined["recovered"], false, "{joined}");
    counts(&gateway, "JoinsLost", 1.0);
    let epoch = joined["epoch"].clone();
    bob.ask(&json!({"action": "join", "room": "lobby", "since": {"seq": 1, "epoch": epoch}}));
    counts(&gateway, "JoinsRecovered", 1.0);
    counts(&gateway, "JoinsLossless", 1.0);

    bob.ask(&json!({"action": "dance"}));
    bob.ask(&json!({"action": "publish", "data": 1, "room": "not-mine"}));
    counts(&gateway, "Refused", 2.0);
    for (name, _) in metrics(&gateway) {
        assert!(
            !["Internal", "Failed", "Partial", "SlowDown"].contains(&name.as_str()),
            "{name}"
        );
    }
}

#[test]
fn an_outage_of_the_tables_is_internal() {
    let gateway = gateway();
    let mut alice = gateway.join("lobby", "alice");
    let rule = json!({"on": "table", "function": "publish", "operation": "PutItem", "do": "status", "status": 500});
    gateway.admin("PUT", "/faults", &rule);
    let error = alice.ask(&json!({"action": "publish", "data": "hi"}));
    assert_eq!(error["name"], "internal", "{error}");
    counts(&gateway, "Internal", 1.0);
}

#[test]
fn a_throttled_table_is_slow_down() {
    let gateway = gateway();
    let mut alice = gateway.join("lobby", "alice");
    gateway.admin(
        "PUT",
        "/faults",
        &json!({"on": "table", "operation": "PutItem", "do": "throttle"}),
    );
    assert_eq!(
        alice.ask(&json!({"action": "publish", "data": "hi"}))["name"],
        "slow_down"
    );
    counts(&gateway, "SlowDown", 1.0);
}

#[test]
fn posts_that_fail_and_members_that_are_gone_are_counted() {
    let gateway = gateway();
    let (mut alice, bob) = (gateway.join("lobby", "alice"), gateway.join("lobby", "bob"));
    gateway.admin(
        "PUT",
        "/faults",
        &json!({"on": "post", "do": "status", "status": 500}),
    );
    assert_eq!(alice.publish(&json!("lost"))["failed"], 1);
    counts(&gateway, "Failed", 1.0);
    gateway.admin(
        "PUT",
        "/faults",
        &json!({"on": "post", "do": "gone", "false": true}),
    );
    assert_eq!(alice.publish(&json!("not gone"))["failed"], 1);
    counts(&gateway, "FalselyGone", 1.0);
    gateway.admin("DELETE", "/faults", &Value::Null);
    drop(bob);
    gateway.put_ghost("AAAAAAAAAAAAAAA=", "lobby", 600);
    eventually("the ghost is found", || {
        alice.publish(&json!("anybody?"));
        metrics(&gateway)
            .iter()
            .any(|(name, _)| name == "PrunedRows")
            .then_some(())
    });
    assert!(metrics(&gateway).iter().any(|(name, _)| name == "Gone"));
}

/// A fault of the injector, the metric that it moves, and the alarm on it. AWS's own metrics have a namespace.
const FAULTS: [(&str, &str, &str, &str); 19] = [
    (
        "`table` `status`, `hang`",
        r#"{"on": "table", "function": "publish", "operation": "PutItem", "do": "status", "status": 500}"#,
        "Internal",
        "internal",
    ),
    (
        "`table` `throttle`",
        r#"{"on": "table", "function": "publish", "operation": "PutItem", "do": "throttle"}"#,
        "SlowDown",
        "TABLE-table-throttles",
    ),
    (
        "`table` `delay`",
        r#"{"on": "table", "function": "publish", "operation": "PutItem", "do": "delay", "ms": 400}"#,
        "FanOutTo10",
        "NAME-duration",
    ),
    (
        "`table` `lag`",
        r#"{"on": "table", "do": "lag", "ms": 3000, "table": "roomchat-prod-connections"}"#,
        "IndexBehind",
        "",
    ),
    (
        "`post` `status`",
        r#"{"on": "post", "do": "status", "status": 500}"#,
        "Failed",
        "failed-deliveries",
    ),
    (
        "`post` `hang`",
        r#"{"on": "post", "do": "hang"}"#,
        "Failed",
        "failed-deliveries",
    ),
    (
        "`post` `gone`",
        r#"{"on": "post", "do": "gone"}"#,
        "Gone",
        "",
    ),
    (
        "`post` `gone`, `\"false\": true`",
        r#"{"on": "post", "do": "gone", "false": true}"#,
        "FalselyGone",
        "failed-deliveries",
    ),
    (
        "`post` `delay`, `reorder`",
        r#"{"on": "post", "do": "delay", "ms": 400}"#,
        "FanOutTo10",
        "NAME-duration",
    ),
    (
        "`post` `drop`, `duplicate`",
        r#"{"on": "post", "do": "drop"}"#,
        "none",
        "",
    ),
    (
        "`get` `status`, `hang`",
        r#"[{"on": "post", "do": "gone", "false": true}, {"on": "get", "do": "status", "status": 500}]"#,
        "Failed",
        "failed-deliveries",
    ),
    (
        "`delete` each",
        r#"{"on": "delete", "do": "status", "status": 500}"#,
        "none",
        "",
    ),
    (
        "`call` `kill`",
        r#"{"on": "call", "do": "kill", "when": "before", "function": "publish"}"#,
        "AWS/Lambda Errors",
        "NAME-errors",
    ),
    (
        "`message` `status`",
        r#"{"on": "message", "do": "status", "status": 500}"#,
        "AWS/ApiGateway IntegrationError",
        "integration-errors",
    ),
    (
        "`message` `duplicate`",
        r#"{"on": "message", "do": "duplicate"}"#,
        "Duplicates",
        "",
    ),
    (
        "`message` `drop`, `delay`, `reorder`, `cut`",
        r#"{"on": "message", "do": "delay", "ms": 100}"#,
        "none",
        "",
    ),
    (
        "`connect` `status`, `hang`",
        r#"{"on": "connect", "do": "status", "status": 500}"#,
        "AWS/ApiGateway IntegrationError",
        "integration-errors",
    ),
    (
        "`disconnect` `lose`",
        r#"{"on": "disconnect", "do": "lose"}"#,
        "PrunedRows",
        "",
    ),
    (
        "`frame` each",
        r#"{"on": "frame", "do": "duplicate"}"#,
        "none",
        "",
    ),
];

/// Each fault in turn moves the metric that docs/operations.md names.
#[test]
fn each_fault_moves_its_metric() {
    let documentation = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for (number, (fault, rules, metric, alarm)) in FAULTS.iter().enumerate() {
        let cell = |name: &str| match name {
            "" | "none" => "none".to_owned(),
            name => format!("`{name}`"),
        };
        let row = format!("| {fault} | {} | {} |", cell(metric), cell(alarm));
        assert!(
            documentation.contains(&row),
            "docs/operations.md lacks {row}"
        );

        let gateway = Gateway::start(&[
            "--verbose",
            "--admin-port",
            "0",
            "--env",
            "PRUNE_GRACE_SECONDS=0",
        ]);
        let (mut alice, bob) = (gateway.join("lobby", "alice"), gateway.join("lobby", "bob"));
        // Warm: the first message of a room takes longer and writes twice.
        alice.publish(&json!("warm"));
        gateway.admin("PUT", "/faults", &serde_json::from_str(rules).unwrap());
        let message =
            |n: usize| json!({"action": "publish", "data": "hi", "id": format!("{number}-{n}")});
        let place = rules.split('"').nth(3).unwrap();
        match *metric {
            "none" => {
                alice.send(&message(0));
                gateway.admin("DELETE", "/faults", &Value::Null);
                alice.send(&message(1));
                eventually("the second message", || {
                    let acks = gateway
                        .output()
                        .iter()
                        .filter(|line| line.contains(" published "))
                        .count();
                    (acks >= 3).then_some(())
                });
                for (name, _) in metrics(&gateway) {
                    let alarming = ["Internal", "Failed", "Partial", "SlowDown", "FalselyGone"];
                    assert!(!alarming.contains(&name.as_str()), "{fault}: {name}");
                }
            }
            "AWS/ApiGateway IntegrationError" if place == "connect" => {
                assert_eq!(
                    gateway.try_connect("/prod?room=lobby&user=carol").err(),
                    Some(500)
                );
            }
            "AWS/ApiGateway IntegrationError" => {
                assert_eq!(
                    alice.ask(&message(0))["message"],
                    "Internal server error",
                    "{fault}"
                );
            }
            "AWS/Lambda Errors" => {
                assert_eq!(
                    alice.ask(&message(0))["message"],
                    "Internal server error",
                    "{fault}"
                );
                let status = gateway.admin("GET", "/status", &Value::Null);
                let functions = status["functions"].as_object().unwrap();
                let errors = |pool: &Value| pool["errors"].as_u64() > Some(0);
                assert!(functions.values().any(errors), "{status}");
            }
            name => {
                // With lag, the row of a new member appears late.
                let mut speaker = if name == "IndexBehind" {
                    gateway.join("lobby", "carol")
                } else {
                    alice
                };
                if place == "disconnect" {
                    drop(bob);
                }
                let least = if name.starts_with("FanOut") {
                    400.0
                } else {
                    1.0
                };
                for n in 0.. {
                    speaker.send(&message(n));
                    speaker.receive();
                    let moved = |(each, value): &(String, f64)| each == name && *value >= least;
                    if metrics(&gateway).iter().any(moved) {
                        break;
                    }
                    assert!(n < 20, "{fault}: {:?}", metrics(&gateway));
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    }
    let (_, table) = documentation
        .split_once("| fault | metric | alarm |")
        .unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    assert_eq!(rows.count(), FAULTS.len());
}

#[test]
fn without_observability_there_is_no_metric() {
    let gateway = Gateway::start(&["--verbose", "--var", "observability=false"]);
    gateway.join("lobby", "alice").publish(&json!("hi"));
    assert_eq!(metrics(&gateway), []);
}

#[test]
fn the_console_of_the_gateway_leaves_them_out() {
    let gateway = Gateway::start(&[]);
    gateway.join("lobby", "alice").publish(&json!("hi"));
    gateway.wait_for_line("published");
    assert_eq!(metrics(&gateway), []);
}

/// An alarm on a metric that no function writes never rings.
#[test]
fn alarms_dashboard_and_documentation_name_the_metrics_that_exist() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let code = read("lambdas/chat/src/metrics.rs");
    let (_, list) = code.split_once("\nmetrics! {\n").unwrap();
    let (list, _) = list.split_once("\n}\n").unwrap();
    let written: Vec<&str> = list
        .lines()
        .filter(|line| !line.trim_start().starts_with("///"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let terraform = read("terraform/observability.tf");
    let mut named = Vec::new();
    for line in terraform
        .lines()
        .filter(|line| line.contains("\"Roomchat\""))
    {
        let words = line.split('"').skip(1).step_by(2);
        named.extend(
            words
                .filter(|word| {
                    word.starts_with(|c: char| c.is_ascii_uppercase())
                        && !word.contains(' ')
                        && *word != "Roomchat"
                        && !word.starts_with("AWS/")
                })
                .map(str::to_owned),
        );
    }
    assert!(named.len() > 10, "{named:?}");
    for name in &named {
        assert!(
            written.contains(&name.as_str()) || name == "Sum",
            "{name} is not written"
        );
    }
    let documentation = read("docs/operations.md");
    let documented: Vec<&str> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('-'))
        .collect();
    assert_eq!(documented, written);
}

/// The alarm keys-unavailable counts log lines by this pattern of a metric filter.
#[test]
fn an_issuer_without_an_answer_writes_the_line_that_the_filter_counts() {
    let terraform = std::fs::read_to_string(root().join("terraform/observability.tf")).unwrap();
    let (_, pattern) = terraform.split_once("  pattern        = \"\\\"").unwrap();
    let (pattern, _) = pattern.split_once("\\\"\"").unwrap();
    let gateway = Gateway::start(&[
        "--var",
        r#"auth={issuer="http://127.0.0.1:9",audience=["chat"]}"#,
    ]);
    let refused = gateway.try_connect(&format!("/prod?room=lobby&token={UNKNOWN_KEY}"));
    assert_eq!(refused.err(), Some(500));
    let counted = gateway.wait_for_line(pattern);
    assert!(counted.contains("ERROR"), "{counted}");
}

/// A token of that issuer, signed with a key that only the issuer could give.
const UNKNOWN_KEY: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjkiLCJhdWQiOiJjaGF0Iiwic3ViIjoiYWxpY2UiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6OTk5OTk5OTk5OX0.eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eA";
