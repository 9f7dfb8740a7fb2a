//! A value that a function would refuse at its start is refused by Terraform, with a sentence, and by the gateway in the same
//! words.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use chat::settings::{
    self, ConnectionsTable, Delivery, Handshakes, Live, MessagesTable, RateLimits, ReviewSettings,
    UsersTable,
};
use serde_json::{Value, json};

use kit::{Gateway, binaries, functions, root, token};

/// The Terraform folder with these values in `terraform.tfvars`.
fn folder_with(values: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root().join("terraform")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::write(folder.path().join("terraform.tfvars"), values).unwrap();
    folder
}

/// Starts the gateway, which ends in any case: its port is in use.
fn start(terraform: &Path) -> Output {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut gateway = Command::new(binaries().join("roomchat-local"));
    gateway
        .args(["--port", &port, "--terraform"])
        .arg(terraform)
        .arg("--functions")
        .arg(functions());
    gateway.output().unwrap()
}

/// Checks that these values stop the gateway with a sentence about the variable.
fn is_refused(values: &str, variable: &str) {
    let folder = folder_with(values);
    let output = start(folder.path());
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{values}: {sentence}");
    let begins = sentence.contains(&format!(": variable \"{variable}\": "));
    assert!(
        begins && sentence.lines().count() == 1,
        "{values}: {sentence}"
    );
}

/// The environment of a function in which one variable has this value.
fn read_all(name: &str, value: &str) -> Result<()> {
    let env = |asked: &str| {
        let other = match asked {
            _ if asked == name => value,
            "CONNECTIONS_TABLE" | "MESSAGES_TABLE" | "USERS_TABLE" => "table",
            "HISTORY_DAYS" | "AUDIT_DAYS" => "7",
            "AUTH_SETTINGS" => r#"{"issuer":"https://i","audience":["chat"]}"#,
            settings::MANAGEMENT_ENDPOINT => "https://api/prod",
            _ => return None,
        };
        Some(other.to_owned())
    };
    ConnectionsTable::read(&env)?;
    MessagesTable::read(&env)?;
    MessagesTable::read_audit(&env)?;
    UsersTable::read(&env)?;
    RateLimits::read(&env)?;
    Handshakes::read(&env)?;
    Delivery::read(&env)?;
    Live::read(&env)?;
    ReviewSettings::read(&env)?;
    authorizer::Settings::read(&env)?;
    Ok(())
}

/// The value of the variable `limits` with one of them changed.
fn limits(name: &str, value: Value) -> (String, &'static str, String, &'static str) {
    let mut all = json!({
        "per_user": 10, "per_room": 200, "window_seconds": 5, "frames_per_second": 20, "burst": 50, "close_after": 500,
    });
    let text = format!("limits = {{ {name} = {value} }}");
    all[name] = value;
    (text, "LIMITS", all.to_string(), "limits")
}

fn number(
    variable: &'static str,
    name: &'static str,
    value: f64,
) -> (String, &'static str, String, &'static str) {
    (
        format!("{variable} = {value}"),
        name,
        value.to_string(),
        variable,
    )
}

fn auth(name: &str, value: Value) -> (String, &'static str, String, &'static str) {
    let mut all = json!({"issuer": "https://i", "audience": ["chat"]});
    all[name] = value;
    (
        format!("auth = {all}"),
        "AUTH_SETTINGS",
        all.to_string(),
        "auth",
    )
}

fn review(name: &str, value: Value) -> (String, &'static str, String, &'static str) {
    let mut all = json!({
        "function_arn": "arn:aws:lambda:us-east-1:000000000000:function:filter", "rooms": ["*"], "timeout_ms": 1_000,
        "on_failure": "refuse",
    });
    all[name] = value;
    let text = all.to_string();
    (format!("review = {text}"), "REVIEW", text, "review")
}

#[test]
fn terraform_refuses_what_a_function_refuses() {
    assert!(read_all("", "").is_ok());
    let mut table = Vec::new();
    for (name, values) in [
        (
            "per_user",
            vec![json!(201), json!(1_000), json!(-1), json!(1.5)],
        ),
        ("per_room", vec![json!(201), json!(-1), json!(0.5)]),
        ("window_seconds", vec![json!(0), json!(61), json!(1.5)]),
        ("frames_per_second", vec![json!(-1), json!(0.1)]),
        ("burst", vec![json!(0), json!(-1), json!(1.5)]),
        ("close_after", vec![json!(-1), json!(0.5)]),
    ] {
        table.extend(values.into_iter().map(|value| limits(name, value)));
    }
    for (variable, name, values) in [
        (
            "history_days",
            "HISTORY_DAYS",
            vec![0.0, 3_651.0, 1.5, -1.0],
        ),
        ("audit_days", "AUDIT_DAYS", vec![0.0, 3_651.0, 1.5, -1.0]),
        (
            "fan_out_concurrency",
            "FAN_OUT_CONCURRENCY",
            vec![0.0, 513.0, 1.5, -1.0],
        ),
        (
            "live_max_members",
            "LIVE_MAX_MEMBERS",
            vec![1_001.0, 0.5, -1.0],
        ),
        (
            "max_connections_per_user",
            "MAX_CONNECTIONS_PER_USER",
            vec![0.0, 1.5, -1.0, 1e30],
        ),
    ] {
        table.extend(
            values
                .into_iter()
                .map(|value| number(variable, name, value)),
        );
    }
    let long = "a".repeat(97);
    let many: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("room-{n}"), json!([]))).collect();
    for (name, value) in [
        ("issuer", json!("")),
        ("issuer", json!("mine")),
        ("issuer", json!("http://i.example")),
        ("audience", json!([])),
        ("audience", json!([""])),
        ("jwks_url", json!("")),
        ("jwks_url", json!("http://i.example/k")),
        ("jwks_url", json!("http://localhost.example.com/k")),
        ("jwks", json!("")),
        ("jwks", json!("{}")),
        ("jwks", json!(r#"{"keys":[]}"#)),
        ("jwks", json!(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#)),
        (
            "jwks",
            json!(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#),
        ),
        (
            "jwks",
            json!(r#"{"keys":[{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}]}"#),
        ),
        (
            "jwks",
            json!(r#"{"keys":[{"kty":"OKP","crv":"Ed448","x":"AA"}]}"#),
        ),
        ("default_rooms", json!({"*": ["fly"]})),
        ("default_rooms", json!({"": ["join"]})),
        ("default_rooms", json!({(long.as_str()): ["join"]})),
        ("default_rooms", many.into()),
        ("anonymous", json!({"****": []})),
        ("anonymous", json!({"a": ["read"]})),
    ] {
        table.push(auth(name, value));
    }
    for (name, value) in [
        ("function_arn", json!("")),
        ("rooms", json!([])),
        ("rooms", json!([""])),
        ("rooms", json!([long.as_str()])),
        ("rooms", json!(["****"])),
        ("rooms", json!(vec!["a"; 33])),
        ("timeout_ms", json!(99)),
        ("timeout_ms", json!(20_001)),
        ("timeout_ms", json!(100.5)),
        ("on_failure", json!("ignore")),
    ] {
        table.push(review(name, value));
    }
    for (values, name, text, variable) in table {
        assert!(
            read_all(name, &text).is_err(),
            "a function accepts {name}={text}"
        );
        is_refused(&values, variable);
    }
    let secret = "s".repeat(31);
    let values =
        format!("auth = {{ issuer = \"i\", audience = [\"chat\"] }}\nauth_secret = \"{secret}\"");
    assert!(read_all("AUTH_SECRET", &secret).is_err());
    is_refused(&values, "auth_secret");
}

/// The variables that say who a client is. Their validations look at each other, so a run sets them together.
const IDENTITY: [&str; 3] = ["auth", "auth_secret", "authorizer_lambda_arn"];

/// The values that the real Terraform refuses in the tests of the deployment, those of each variable alone.
#[test]
fn the_gateway_refuses_what_terraform_refuses() {
    let tests = root().join("terraform/tests/validation.tftest.hcl");
    let tests = fs::read_to_string(tests).unwrap();
    let mut refused = 0;
    for run in tests.split("\nrun \"").skip(1) {
        let between = |from: &str, to: &str| {
            let (_, rest) = run.split_once(from).unwrap();
            rest.split_once(to).unwrap().0
        };
        // A value goes on in the lines that are indented further.
        let mut values: Vec<(&str, String)> = Vec::new();
        for line in between("variables {\n", "\n  }\n").lines() {
            let is_first = line.starts_with("    ") && !line.starts_with("     ");
            match line.trim().split_once('=') {
                Some((name, _)) if is_first => values.push((name.trim(), format!("{line}\n"))),
                _ => values.last_mut().unwrap().1.push_str(&format!("{line}\n")),
            }
        }
        for variable in between("expect_failures = [", "]").split(',') {
            let Some(variable) = variable.trim().strip_prefix("var.") else {
                continue;
            };
            let together = |name: &str| {
                name == variable || [name, variable].iter().all(|one| IDENTITY.contains(one))
            };
            let of = values.iter().filter(|(name, _)| together(name));
            let text: String = of.map(|(_, text)| text.as_str()).collect();
            is_refused(&text, variable);
            refused += 1;
        }
    }
    assert!(refused >= 90, "{refused}");
}

/// All functions start with the least and with the greatest values.
#[test]
fn the_functions_accept_what_terraform_accepts() {
    let least = "
        limits = { per_user = 1, per_room = 1, window_seconds = 1, frames_per_second = 1, burst = 1, close_after = 1 }
        history_days = 1
        audit_days = 1
        fan_out_concurrency = 1
        live_max_members = 0
        max_connections_per_user = 1
        review = { function_arn = \"arn:aws:lambda:us-east-1:000000000000:function:filter\", rooms = [\"garden\"], timeout_ms = 100 }
    ";
    let greatest = r#"
        limits = {
          per_user = 200, per_room = 200, window_seconds = 60, frames_per_second = 10000, burst = 10000, close_after = 100000
        }
        history_days = 3650
        audit_days = 3650
        fan_out_concurrency = 512
        live_max_members = 1000
        max_connections_per_user = 10000
        review = {
          function_arn = "arn:aws:lambda:us-east-1:000000000000:function:filter:live"
          rooms        = [for n in range(32) : "garden-${n}-*"]
          timeout_ms   = 20000
          on_failure   = "allow"
        }
        allowed_origins = [for n in range(60) : "https://app-${n}.chat.example"]
    "#;
    for values in [least, greatest] {
        let identity = format!(
            "{values}\nauth = {{ issuer = \"roomchat\", audience = [\"roomchat\"] }}\nauth_secret = \"{}\"",
            kit::SECRET
        );
        let folder = folder_with(&identity);
        // A flag of this name would replace the limits above.
        let gateway = Gateway::start_with(folder.path(), &["--env", "limits=-"]);
        let token = token(
            "alice",
            &json!({"*": ["join", "history", "publish", "moderate"]}),
            600,
        );
        let mut alice = gateway.connect(&format!("/prod?room=lobby&token={token}"));
        for frame in [
            json!({"action": "join", "room": "lobby"}),
            json!({"action": "publish", "data": 1}),
            json!({"action": "history"}),
            json!({"action": "members", "room": "lobby"}),
            json!({"action": "marks"}),
            json!({"action": "kick", "room": "lobby", "user": "bob"}),
            json!({"action": "leave", "room": "lobby"}),
        ] {
            let answer = alice.ask(&frame);
            assert!(
                !["error", "null"].contains(&answer["type"].as_str().unwrap_or("null")),
                "{frame}: {answer}"
            );
        }
        assert_eq!(
            alice.ask(&json!({"action": "dance"}))["name"],
            "unknown_action"
        );
        alice.send(&json!({"action": "signal", "room": "lobby", "kind": "typing"}));
        let admin = "/2015-03-31/functions/roomchat-prod-admin/invocations";
        let call = json!({"action": "bans"}).to_string();
        let (status, _, answer) = gateway.http("POST", admin, &call);
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains(r#""type":"bans""#), "{answer}");
        alice.leave();
    }
}
