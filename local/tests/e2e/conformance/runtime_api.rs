//! The environment of a function's process, and the Runtime API.

use serde_json::json;

use super::{ask, bare, id_of, probe, process_of};
use kit::eventually;

/// Limits each function to one process. A client gets its answer before the process asks for the next event, so otherwise
/// the next message might start another process.
const ONE_PROCESS: [&str; 4] = ["--processes", "1", "--admin-port", "0"];

#[test]
fn each_start_has_a_secret_of_its_own() {
    let secret = |flags: &[&str]| {
        let gateway = probe(flags);
        let seen = ask(&mut gateway.connect("/prod"), json!({"do": "environment"}));
        let secret = seen["environment"]["AWS_SECRET_ACCESS_KEY"].as_str();
        secret.unwrap().to_owned()
    };
    let secrets = [secret(&[]), secret(&[])];
    assert_ne!(secrets[0], secrets[1]);
    for secret in secrets {
        assert!(secret.len() == 32 && secret.chars().all(|c| c.is_ascii_hexdigit()));
    }
    assert_eq!(secret(&["--secret", "given"]), "given");
}

#[test]
fn a_function_finds_lambdas_environment() {
    let gateway = probe(&["--env", "EXTRA=1"]);
    let mut client = gateway.connect("/prod");
    let seen = ask(&mut client, json!({"do": "environment"}));
    let environment = &seen["environment"];
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "probe"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_REGION", "eu-central-1"),
        ("_HANDLER", "some.handler"),
        ("TZ", ":UTC"),
        ("GREETING", "hello from probe"),
        ("EXTRA", "1"),
        (
            "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI",
            &format!("http://127.0.0.1:{}/prod", gateway.port),
        ),
        ("AWS_ENDPOINT_URL_DYNAMODB", &gateway.dynamodb),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    // No variable of the developer's shell.
    assert_eq!(environment.get("HOME"), None);
    assert_eq!(seen["files"], 1024);
    assert_eq!(environment.get("CARGO"), None);
    assert!(
        seen["cwd"]
            .as_str()
            .unwrap()
            .ends_with("local/tests/probe/function")
    );
    let headers = &seen["headers"];
    assert_eq!(
        headers["lambda-runtime-aws-request-id"]
            .as_str()
            .unwrap()
            .len(),
        36
    );
    assert_eq!(
        headers["lambda-runtime-invoked-function-arn"],
        "arn:aws:lambda:eu-central-1:000000000000:function:probe"
    );
    assert!(
        headers["lambda-runtime-deadline-ms"]
            .as_str()
            .unwrap()
            .parse::<i64>()
            .is_ok()
    );
    assert!(
        headers["lambda-runtime-trace-id"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-")
    );
}

#[test]
fn a_function_that_takes_too_long_is_killed() {
    let gateway = probe(&["--var", "probe_timeout=1"]);
    let mut client = gateway.connect("/prod");
    let before = gateway.children();
    client.send(&json!({"action": "probe", "do": "hang"}));
    assert!(client.receive_text().contains("Internal server error"));
    let report = gateway.wait_for_line("Status: timeout");
    assert!(
        report.contains("Duration: 1") && report.contains("Memory Size: 256 MB"),
        "{report}"
    );
    gateway.wait_for_line("Task timed out after 1.00 seconds");
    eventually("the process is gone", || {
        before
            .iter()
            .all(|pid| !gateway.children().contains(pid))
            .then_some(())
    });
    // The next message gets a new process.
    id_of(&mut client);
}

#[test]
fn each_invocation_is_reported_as_by_lambda() {
    let gateway = probe(&[]);
    let _client = gateway.connect("/prod");
    let cold = gateway.wait_for_line("REPORT RequestId: ");
    let fields: Vec<&str> = cold
        .split_once("REPORT ")
        .unwrap()
        .1
        .split('\t')
        .map(|field| field.split(':').next().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "RequestId",
            "Duration",
            "Billed Duration",
            "Memory Size",
            "Max Memory Used",
            "Init Duration"
        ]
    );
    assert!(!cold.contains("Max Memory Used: 0 MB"), "{cold}");
}

#[test]
fn the_runtime_api_takes_one_answer_for_each_request() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    client.send(&json!({"action": "probe", "do": "twice"}));
    assert_eq!(client.receive_text(), "first");
    let line = gateway.wait_for_line("TWICE");
    assert!(
        line.contains("(202, '{\"status\":\"OK\"}') (400, ") && line.contains("InvalidRequestID"),
        "{line}"
    );
    let (status, body) =
        serde_json::from_value::<(u16, String)>(ask(&mut client, json!({"do": "stranger"})))
            .unwrap();
    assert_eq!(status, 400);
    assert_eq!(
        body,
        r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#
    );
}

#[test]
fn a_process_that_ends_in_the_middle_is_replaced() {
    let gateway = probe(&ONE_PROCESS);
    let mut client = gateway.connect("/prod");
    let first = process_of(&mut client);
    assert_eq!(process_of(&mut client), first);
    client.send(&json!({"action": "probe", "do": "exit"}));
    assert_eq!(client.receive()["message"], "Internal server error");
    gateway.wait_for_line("Error Type: Runtime.ExitError");
    assert_ne!(process_of(&mut client), first);
}

#[test]
fn an_error_is_an_error_whatever_its_report_says() {
    let gateway = probe(&ONE_PROCESS);
    let mut client = gateway.connect("/prod");
    let process = process_of(&mut client);
    for report in ["", "{", "[]", "null", r#"{"errorType":5}"#, "\u{1b}[31m\n"] {
        client.send(&json!({"action": "probe", "do": "report", "raw": report}));
        assert_eq!(
            client.receive()["message"],
            "Internal server error",
            "{report}"
        );
    }
    gateway.wait_for_line("REPORTED 202");
    // The invocation has failed, but the process still runs.
    assert_eq!(process_of(&mut client), process);
}

#[test]
fn a_response_may_have_six_mebibytes_and_a_hundred_bytes() {
    let gateway = probe(&["--var", "probe_timeout=60"]);
    let mut client = gateway.connect("/prod");
    const LIMIT: usize = 6 * 1024 * 1024 + 100;
    for (bytes, status) in [(LIMIT, 202), (LIMIT + 1, 413)] {
        client.send(&json!({"action": "oneway", "do": "fill", "bytes": bytes}));
        gateway.wait_for_line(&format!("FILLED {bytes} {status}"));
    }
    // The answer of a one-way route is not sent, but an error is.
    assert_eq!(client.receive()["message"], "Internal server error");
    gateway.wait_for_line("Error Type: Function.ResponseSizeTooLarge");
    id_of(&mut client);
}

#[test]
fn an_answer_after_the_integrations_limit_is_nobodys() {
    let gateway = probe(&[&ONE_PROCESS[..], &["--var", "probe_timeout=900"]].concat());
    let mut client = gateway.connect("/prod");
    let process = process_of(&mut client);
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    client.send(&json!({"action": "probe", "do": "gate", "path": gate}));
    gateway.wait_for_line("WAITING");
    gateway.pass(30);
    assert_eq!(client.receive()["message"], "Endpoint request timed out");
    std::fs::write(&gate, "").unwrap();
    // The process goes on, answers, and is used again.
    gateway.at_rest();
    assert_eq!(process_of(&mut client), process);
}

#[test]
fn a_runtime_may_ask_twice_for_its_next_event() {
    let gateway = probe(&ONE_PROCESS);
    let mut client = gateway.connect("/prod");
    for times in 1..=3 {
        client.send(&json!({"action": "probe", "do": "ask twice"}));
        let process = client.receive_text();
        eventually("it has asked", || {
            let output = gateway.output();
            let asked = output.iter().filter(|line| line.ends_with("ASKED TWICE"));
            (asked.count() == times).then_some(())
        });
        assert_eq!(process_of(&mut client), process);
    }
}

#[test]
fn a_process_without_work_waits_for_as_long_as_it_takes() {
    let gateway = probe(&[&ONE_PROCESS[..], &["--reap-after", "86400"]].concat());
    let mut client = gateway.connect("/prod");
    let process = process_of(&mut client);
    for _ in 0..8 {
        gateway.at_rest();
        gateway.pass(500);
        assert_eq!(process_of(&mut client), process);
    }
}

#[test]
fn an_init_that_fails_is_tried_once_more() {
    let gateway = bare(&["--admin-port", "0"]);
    let mut client = gateway.connect("/prod");
    let attempts = |how: &str| {
        let output = gateway.output();
        let wanted = format!("INITIALISING {how}");
        output.iter().filter(|line| line.ends_with(&wanted)).count()
    };
    for (how, error_type) in [("exit", "Runtime.ExitError"), ("error", "Probe.Init")] {
        let frame = client.ask(&json!({"action": format!("init-{how}")}));
        assert_eq!(frame["message"], "Internal server error", "{how}");
        eventually("two attempts", || (attempts(how) == 2).then_some(()));
        gateway.wait_for_line(error_type);
    }
    // The first Init has ten seconds, the second the function's timeout.
    client.send(&json!({"action": "init-hang"}));
    for (attempt, limit) in [(1, 10), (2, 5)] {
        eventually("it initialises", || {
            (attempts("hang") == attempt).then_some(())
        });
        gateway.pass(limit);
    }
    assert_eq!(client.receive()["message"], "Internal server error");
    gateway.wait_for_line("Init took longer than 5.00 seconds");

    let gateway = probe(&["--env", "INIT=exit"]);
    assert_eq!(gateway.try_connect("/prod").err(), Some(502));
}
