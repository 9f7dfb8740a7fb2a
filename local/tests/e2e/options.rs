//! What the command line answers when something is wrong: one sentence, exit code 2, nothing started.

use std::path::Path;
use std::process::Output;

use crate::harness::{Gateway, command, root};

fn run(terraform: &Path, flags: &[&str]) -> Output {
    command(terraform, flags).output().unwrap()
}

fn check(terraform: &Path, flags: &[&str], expected: &str) {
    let output = run(terraform, flags);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
    assert!(stderr.contains(expected), "{flags:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{flags:?}: {stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{flags:?}");
}

#[test]
fn wrong_flags() {
    let terraform = root().join("terraform");
    check(
        &terraform,
        &["--frobnicate"],
        "unexpected argument '--frobnicate'",
    );
    check(
        &terraform,
        &["--port", "seventy"],
        "invalid value 'seventy' for '--port",
    );
    check(&terraform, &["--port", "70000"], "70000");
    check(&terraform, &["--processes", "0"], "invalid value '0'");
    check(&terraform, &["--env", "novalue"], "it must be NAME=VALUE");
    check(
        &terraform,
        &["--var", "colour=red"],
        "declares no variable of that name",
    );
}

#[test]
fn a_port_in_use() {
    let gateway = Gateway::start(&[]);
    let port = gateway.port.to_string();
    check(
        &root().join("terraform"),
        &["--port", &port],
        &format!("port {port} is in use"),
    );
    let dynamodb = gateway.dynamodb.rsplit(':').next().unwrap();
    check(
        &root().join("terraform"),
        &["--dynamodb-port", dynamodb],
        &format!("port {dynamodb} is in use"),
    );
}

#[test]
fn a_missing_binary() {
    let empty = tempfile::tempdir().unwrap();
    let copy = crate::declaration::copy_of_terraform();
    check(
        copy.path(),
        &["--functions", empty.path().to_str().unwrap()],
        "build it first",
    );
}

#[test]
fn a_data_folder_that_cannot_be_used() {
    let terraform = root().join("terraform");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    check(
        &terraform,
        &["--data", file.to_str().unwrap()],
        "cannot keep a database there",
    );
    std::fs::write(
        folder.path().join("dynamodb.sqlite"),
        "not a database, whatever its name says",
    )
    .unwrap();
    check(
        &terraform,
        &["--data", folder.path().to_str().unwrap()],
        "cannot keep a database there",
    );
}

#[test]
fn a_terraform_folder_that_says_nothing_useful() {
    let folder = tempfile::tempdir().unwrap();
    check(
        &folder.path().join("nowhere"),
        &[],
        "cannot read the Terraform folder",
    );
    check(folder.path(), &[], "declares no aws_apigatewayv2_api");
    std::fs::write(folder.path().join("main.tf"), "resource \"x\" {").unwrap();
    check(folder.path(), &[], "main.tf is not valid HCL");
}

#[test]
fn help_names_every_flag() {
    let output = run(&root().join("terraform"), &["--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for flag in [
        "--terraform",
        "--functions",
        "--port",
        "--dynamodb-port",
        "--data",
        "--var",
        "--env",
        "--processes",
    ] {
        assert!(text.contains(flag), "{flag}");
    }
}
