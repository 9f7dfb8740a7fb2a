//! Errors of the command line: one sentence, exit code 2, and nothing is started.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use kit::{Gateway, blocks, command, root};

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
    check(
        &terraform,
        &["--idle-timeout", "18446744073709551615"],
        "invalid value '18446744073709551615'",
    );
    check(&terraform, &["--env", "novalue"], "must be NAME=VALUE");
    check(
        &terraform,
        &["--var", "colour=red"],
        "declares no variable of that name",
    );
    check(
        &terraform,
        &["--var", "limits={ per_user = 1000 }"],
        ": variable \"limits\": limits.per_user and limits.per_room must be whole numbers of messages, 0 to 200.",
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
    check(folder.path(), &[], "declares no WebSocket API");
    std::fs::write(folder.path().join("main.tf"), "resource \"x\" {").unwrap();
    check(folder.path(), &[], "main.tf:1: not valid HCL");
}

#[test]
fn what_only_aws_could_tell() {
    let unknown = |from: &str, to: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("local/tests/probe/main.tf")).unwrap();
        assert!(text.contains(from));
        std::fs::write(folder.path().join("main.tf"), text.replacen(from, to, 1)).unwrap();
        check(folder.path(), &[], expected);
    };
    let route = "resource \"aws_apigatewayv2_route\" \"probe\" {";
    unknown(
        route,
        &format!("{route}\n  for_each = toset([aws_apigatewayv2_api.probe.description])"),
        "the number of aws_apigatewayv2_route.probe needs aws_apigatewayv2_api.probe.description, which only AWS knows",
    );
    unknown(
        "= \"probe\"\n  protocol_type",
        "= \"probe\"\n  description = data.aws_ami.x.id\n  protocol_type",
        "neither a native program",
    );
    unknown(
        "function_name                  = \"probe\"",
        "function_name = data.aws_ssm_parameter.name.value",
        "there is no data.aws_ssm_parameter.name (in `data.aws_ssm_parameter.name.value`)",
    );
}

#[test]
fn two_gateways_on_one_data_folder() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--data", data.path().to_str().unwrap()];
    let _gateway = Gateway::start(&flags);
    check(
        &root().join("terraform"),
        &flags,
        "another gateway uses that folder",
    );
}

#[test]
fn the_documentation_names_every_flag_and_no_other() {
    let output = run(&root().join("terraform"), &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    let documentation = std::fs::read_to_string(root().join("docs/local.md")).unwrap();
    // Other programs' flags stand there too, in their own commands.
    let table = documentation.split("## Watching").next().unwrap();
    assert_eq!(long_flags(table), long_flags(&help));
}

fn long_flags(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
        .filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .collect()
}

#[test]
fn the_fault_rules_of_the_documentation_are_rules() {
    let folder = tempfile::tempdir().unwrap();
    let examples = blocks("docs/local.md", "json rules");
    assert!(examples.len() >= 3);
    for (line, block) in examples {
        let file = folder.path().join(format!("line-{line}.json"));
        std::fs::write(&file, block.join("\n")).unwrap();
        let gateway = Gateway::start(&["--faults", file.to_str().unwrap()]);
        gateway.wait_for_line("Faults ");
    }
}

#[test]
fn fault_rules_that_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.json");
    let path = file.to_str().unwrap();
    let terraform = root().join("terraform");
    let flags = ["--faults", path];
    check(
        &terraform,
        &flags,
        &format!("cannot read {path} (--faults): "),
    );
    for (text, expected) in [
        ("{", "not valid JSON: "),
        (
            r#"[{"name": "slow", "on": "frame", "do": "hang"}]"#,
            r#"rule "slow": "do": "hang" is not possible on "frame": expected one of delay, reorder"#,
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        check(
            &terraform,
            &flags,
            &format!("{path} (--faults): {expected}"),
        );
    }
    check(&terraform, &["--seed", "-1"], "'-1'");
}
