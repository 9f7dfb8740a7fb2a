//! Terraform is the only declaration of routes, functions and tables.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use kit::{Gateway, root};

/// A copy of terraform/ that a test may change.
pub(crate) fn copy_of_terraform() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root().join("terraform")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Replaces a text in a file. The file must contain it.
pub(crate) fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.contains(from),
        "{} does not hold {from}",
        path.display()
    );
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Adds one line to the map of routes.
fn add_route(terraform: &Path, line: &str) {
    edit(
        &terraform.join("locals.tf"),
        "\n    connect = {\n",
        &format!("\n    {line}\n    connect = {{\n"),
    );
}

fn probe_package() -> String {
    root()
        .join("local/tests/probe/function")
        .display()
        .to_string()
}

#[test]
fn one_line_in_the_map_of_routes_makes_a_route() {
    let terraform = copy_of_terraform();
    add_route(
        terraform.path(),
        r#"shout = { route_key = "shout", function = "publish" }"#,
    );
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    let ack = alice.ask(&json!({"action": "shout", "data": "HI"}));
    assert_eq!(
        (&ack["type"], &ack["delivered"]),
        (&json!("ack"), &json!(1))
    );
    assert_eq!(bob.receive()["data"], "HI");
    // The list of actions contains it.
    let error = alice.ask(&json!({"action": "whisper"}));
    assert!(
        error["message"].as_str().unwrap().contains("shout"),
        "{error}"
    );
}

#[test]
fn one_line_puts_a_function_of_another_language_behind_it() {
    let terraform = copy_of_terraform();
    let package = probe_package();
    add_route(
        terraform.path(),
        &format!(r#"probe = {{ route_key = "probe", package = "{package}" }}"#),
    );
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let mut alice = gateway.join("lobby", "alice");
    let event = alice.ask(&json!({"action": "probe", "x": 1}));
    assert_eq!(event["requestContext"]["routeKey"], "probe");
    assert_eq!(event["body"], r#"{"action":"probe","x":1}"#);
}

#[test]
fn a_zip_runs_as_well_as_a_folder() {
    let terraform = copy_of_terraform();
    let package = terraform.path().join("probe.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&package).unwrap());
    let executable = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("bootstrap", executable).unwrap();
    let bootstrap = fs::read(root().join("local/tests/probe/function/bootstrap")).unwrap();
    std::io::Write::write_all(&mut zip, &bootstrap).unwrap();
    zip.finish().unwrap();

    let package = package.display();
    add_route(
        terraform.path(),
        &format!(r#"probe = {{ route_key = "probe", package = "{package}" }}"#),
    );
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let mut alice = gateway.join("lobby", "alice");
    assert_eq!(
        alice.ask(&json!({"action": "probe"}))["requestContext"]["routeKey"],
        "probe"
    );
}

#[test]
fn a_removed_route_is_not_served() {
    let terraform = copy_of_terraform();
    let locals = terraform.path().join("locals.tf");
    edit(
        &locals,
        r#"sendmessage = { route_key = "sendmessage", function = "publish" }"#,
        "",
    );
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let mut alice = gateway.join("lobby", "alice");
    assert_eq!(
        alice.ask(&json!({"action": "sendmessage", "data": 1}))["name"],
        "unknown_action"
    );
    assert_eq!(alice.publish(&json!(1))["type"], "ack");
}

#[test]
fn variables_name_the_stage_and_the_tables() {
    let gateway = Gateway::start(&["--var", "stage=dev", "--var", "name=talk"]);
    let mut alice = gateway.connect("/dev?room=lobby&user=alice");
    assert_eq!(alice.publish(&json!(1))["type"], "ack");
    assert_eq!(gateway.try_connect("/prod").err(), Some(403));
    let tables = gateway.dynamodb("ListTables", &json!({}));
    assert_eq!(
        tables["TableNames"],
        json!([
            "talk-dev-connections",
            "talk-dev-messages",
            "talk-dev-users"
        ])
    );
}

#[test]
fn the_tables_are_those_declared() {
    let gateway = Gateway::start(&[]);
    let describe = |name: &str| {
        gateway.dynamodb("DescribeTable", &json!({"TableName": name}))["Table"].clone()
    };
    let connections = describe("roomchat-prod-connections");
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    assert_eq!(
        connections["KeySchema"],
        json!([key("connectionId", "HASH"), key("room", "RANGE")])
    );
    let index = &connections["GlobalSecondaryIndexes"][0];
    assert_eq!(index["IndexName"], "room-index");
    assert_eq!(
        index["KeySchema"],
        json!([key("room", "HASH"), key("connectionId", "RANGE")])
    );
    assert_eq!(index["Projection"]["ProjectionType"], "INCLUDE");
    assert_eq!(
        describe("roomchat-prod-messages")["KeySchema"],
        json!([key("room", "HASH"), key("seq", "RANGE")])
    );
    for name in ["roomchat-prod-connections", "roomchat-prod-messages"] {
        let ttl = gateway.dynamodb("DescribeTimeToLive", &json!({"TableName": name}));
        assert_eq!(
            ttl["TimeToLiveDescription"],
            json!({"AttributeName": "expiresAt", "TimeToLiveStatus": "ENABLED"})
        );
    }
}

#[test]
fn a_package_that_is_named_is_what_runs() {
    let terraform = copy_of_terraform();
    let package = probe_package();
    edit(
        &terraform.path().join("locals.tf"),
        r#"{ route_key = "$default", "#,
        &format!(r#"{{ route_key = "$default", package = "{package}", "#),
    );
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let mut alice = gateway.join("lobby", "alice");
    // A program of that name exists too.
    let event = alice.ask(&json!({"action": "dance"}));
    assert_eq!(event["requestContext"]["routeKey"], "$default");
}

#[test]
fn terraform_as_it_is_found_elsewhere() {
    let terraform = tempfile::tempdir().unwrap();
    let package = probe_package();
    let text = fs::read_to_string(root().join("local/tests/probe/main.tf")).unwrap();
    let text = text
        .replace("\"${path.module}/function\"", "data.archive_file.probe.output_path")
        .replace("memory_size                    = 256", "memory_size = \"256\"")
        .replace(
            "format(\"hello from %s\", aws_apigatewayv2_api.probe.name)",
            "\"${data.aws_region.current.name} ${data.aws_caller_identity.current.account_id} ${aws_apigatewayv2_stage.probe.invoke_url} ${random_id.suffix.hex == random_id.other.hex} ${length(random_id.suffix.hex)}\"",
        );
    let more = format!(
        r#"
data "aws_region" "current" {{}}
data "aws_caller_identity" "current" {{}}
resource "random_id" "suffix" {{ byte_length = 4 }}
resource "random_id" "other" {{ byte_length = 4 }}
data "archive_file" "probe" {{
  type        = "zip"
  source_dir  = "somewhere"
  output_path = "{package}"
}}
"#
    );
    fs::write(terraform.path().join("main.tf"), text + &more).unwrap();
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let mut client = gateway.connect("/prod");
    let seen = client.ask(&json!({"action": "probe", "do": "environment"}));
    // The stage's address is the gateway's own.
    let stage = gateway.url("/prod").replacen("ws:", "wss:", 1);
    assert_eq!(
        seen["environment"]["GREETING"],
        format!("eu-central-1 000000000000 {stage} false 8")
    );
    assert_eq!(
        seen["environment"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"],
        "256"
    );
}

#[test]
fn what_is_not_checked_here_is_said() {
    let terraform = copy_of_terraform();
    edit(
        &terraform.path().join("api.tf"),
        "resource \"aws_apigatewayv2_route\" \"main\" {",
        "resource \"aws_apigatewayv2_route\" \"main\" {\n  api_key_required = each.key == \"publish\"",
    );
    let gateway = Gateway::start_with(terraform.path(), &[]);
    let line = gateway.wait_for_line("open to everybody");
    assert!(line.contains("route publish"), "{line}");
    assert_eq!(
        gateway
            .output()
            .iter()
            .filter(|line| line.contains("open to everybody"))
            .count(),
        1
    );
}
