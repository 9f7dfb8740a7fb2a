//! `scripts/bench.sh --url` against the address of the local gateway.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use kit::{Gateway, IDENTITY, bench, root, token};

/// Runs the load, with nobody at the keyboard.
fn load(gateway: &Gateway, arguments: &[&str]) -> Output {
    Command::new(bench())
        .current_dir(root())
        .args(["stage", "--url", &gateway.url("/prod")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.as_slice(), err].concat()).into_owned()
}

#[test]
fn nothing_starts_without_a_yes() {
    let gateway = Gateway::start(&[]);
    let refused = load(&gateway, &["--members", "3"]);
    let text = said(&refused);
    assert!(!refused.status.success(), "{text}");
    assert!(
        text.contains("Estimate: ") && text.contains("Ceiling: 1 USD"),
        "{text}"
    );
    assert!(text.contains("nothing was started"), "{text}");
    assert_eq!(gateway.rows(), Vec::<Value>::new());
}

#[test]
fn a_load_ends_at_its_ceiling() {
    let gateway = Gateway::start(&[]);
    let few = ["--yes", "--members", "3", "--rate", "50", "--seconds", "1"];
    let whole = load(&gateway, &few);
    let text = said(&whole);
    assert!(whole.status.success(), "{text}");
    assert!(
        text.contains("50 messages, 100 deliveries, 0 of them twice."),
        "{text}"
    );
    // Three connections cost 0.0000115 USD, a message in a room of three 0.0000055.
    let cut = load(&gateway, &[&few[..], &["--max-usd", "0.00005"]].concat());
    let text = said(&cut);
    assert!(cut.status.success(), "{text}");
    assert!(text.contains("\n7 messages, 14 deliveries"), "{text}");
    assert!(text.contains("It has ended at the ceiling."), "{text}");
}

#[test]
fn tokens_come_from_a_file_or_a_command() {
    let gateway = Gateway::start(&IDENTITY);
    let few = [
        "--yes",
        "--members",
        "3",
        "--rate",
        "50",
        "--seconds",
        "1",
        "--max-usd",
        "0.00005",
    ];
    let without = load(&gateway, &few);
    assert!(said(&without).contains("401"), "{}", said(&without));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = ["ann", "bea"].map(|user| token(user, &Value::Null, 600));
    fs::write(&file, tokens.join("\n") + "\n").unwrap();
    let file = file.to_str().unwrap();
    for source in [
        ["--token-file", file],
        [
            "--token-command",
            &format!("sed -n $((ROOMCHAT_MEMBER % 2 + 1))p {file}"),
        ],
    ] {
        let loaded = load(&gateway, &[&few[..], &source].concat());
        let text = said(&loaded);
        assert!(loaded.status.success(), "{text}");
        assert!(text.contains("7 messages, 14 deliveries"), "{text}");
        assert!(
            tokens.iter().all(|token| !text.contains(token)),
            "a token is printed"
        );
    }
    let failing = load(
        &gateway,
        &[&few[..], &["--token-command", "exit 3"]].concat(),
    );
    assert!(
        said(&failing).contains("the token command gives no token"),
        "{}",
        said(&failing)
    );
}

#[test]
fn a_stage_is_reached_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    let gateway = Gateway::start(&["--ca-file", authority.to_str().unwrap()]);
    let run = |trusted: &str| {
        Command::new(bench())
            .current_dir(root())
            .env("SSL_CERT_FILE", trusted)
            .args(["stage", "--yes", "--members", "3", "--seconds", "1"])
            .args(["--url", &format!("wss://127.0.0.1:{}/prod", gateway.port)])
            .output()
            .unwrap()
    };
    let loaded = run(authority.to_str().unwrap());
    assert!(
        said(&loaded).contains("2 messages, 4 deliveries"),
        "{}",
        said(&loaded)
    );
    assert!(!run("/dev/null").status.success());
}
