//! Terraform folders in the shapes in which others write them, each started and used. The folders are in
//! `local/tests/strangers`; docs/local.md lists what is read and what is not.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use kit::{Gateway, command, root};

use crate::declaration::edit;

fn folder(name: &str) -> PathBuf {
    root().join("local/tests/strangers").join(name)
}

fn start(name: &str, flags: &[&str]) -> Gateway {
    Gateway::start_with(&folder(name), flags)
}

/// A copy that may be changed.
fn copy(name: &str) -> TempDir {
    fn copy_into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_into(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let copy = tempfile::tempdir().unwrap();
    copy_into(&folder(name), copy.path());
    copy
}

/// The one sentence with which a start is refused.
fn refusal(folder: &Path, flags: &[&str]) -> String {
    let output = command(folder, flags).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    text.trim()
        .trim_start_matches("roomchat-local: ")
        .to_owned()
}

/// The answer of a route whose function shows the variables of its environment that begin with `APP_`.
fn ask(gateway: &Gateway, action: &str) -> Value {
    gateway.connect("/live").ask(&json!({ "action": action }))
}

fn has_line(gateway: &Gateway, text: &str) -> bool {
    gateway.output().iter().any(|line| line.contains(text))
}

#[test]
fn modules_within_modules() {
    let gateway = start("modules", &[]);
    let answer = ask(&gateway, "shout");
    let url = gateway.url("/live").replacen("ws:", "wss:", 1);
    assert_eq!(
        answer,
        json!({
            "route": "shout",
            "env": { "APP_URL": url, "APP_OTHERS": "fallback,greet", "APP_MODULE": "modules/function" },
        })
    );
    assert_eq!(ask(&gateway, "anything")["route"], "$default");
}

#[test]
fn modules_that_init_has_fetched() {
    let folder = copy("fetched");
    // The module with the routes is missing before `terraform init`.
    let sentence = refusal(folder.path(), &[]);
    assert_eq!(
        sentence,
        "the WebSocket API has no route here, and main.tf:29: module.routes is not here: run `terraform init`, which \
         fetches example/websocket-routes/aws"
    );
    let modules = folder.path().join(".terraform/modules");
    fs::create_dir_all(&modules).unwrap();
    fs::rename(folder.path().join("fetched/routes"), modules.join("routes")).unwrap();
    let manifest = json!({ "Modules": [
        { "Key": "", "Source": "", "Dir": "." },
        { "Key": "routes", "Source": "registry.terraform.io/example/websocket-routes/aws", "Version": "1.2.3",
          "Dir": ".terraform/modules/routes" },
    ]});
    fs::write(modules.join("modules.json"), manifest.to_string()).unwrap();
    let gateway = Gateway::start_with(folder.path(), &[]);
    let answer = ask(&gateway, "ping");
    assert_eq!(answer["route"], "ping");
    assert_eq!(answer["env"]["APP_ROUTES"], "$default,ping");
    // The other module has nothing to do with the API.
    gateway.wait_for_line("main.tf:38: module.site is not here: run `terraform init`");
}

#[test]
fn addresses_in_every_spelling_lead_here() {
    let gateway = start("addresses", &[]);
    let mut client = gateway.connect("/live");
    client.send(&json!({}));
    for name in ["BY_HAND", "ELSEWHERE", "HOST", "REPLACED", "URL"] {
        assert_eq!(client.receive(), json!({ "by": format!("APP_{name}") }));
    }
}

#[test]
fn hosts_that_code_has_built_lead_here() {
    let gateway = start("hosts", &["--check-signatures"]);
    // The posts here have no signature. This gateway refuses each of them, and no other gateway gets them.
    let mut client = gateway.connect("/live");
    client.send(&json!({}));
    gateway.wait_for_line("HTTP Error 403");
    drop(gateway);
    let gateway = start("hosts", &[]);
    let mut client = gateway.connect("/live");
    client.send(&json!({}));
    assert_eq!(
        [client.receive(), client.receive()],
        ["us-east-1", "eu-north-1"]
    );
    client.send(&json!({ "action": "node" }));
    assert_eq!([client.receive(), client.receive()], ["https", "fetch"]);
    assert_eq!(client.receive(), json!({ "TableNames": ["hosts-notes"] }));
}

#[test]
fn several_apis_and_stages() {
    let folder = folder("apis");
    let sentence = refusal(&folder, &[]);
    assert!(
        sentence.contains("more than one WebSocket API"),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("name it with --api: first, second"),
        "{sentence}"
    );
    let sentence = refusal(&folder, &["--api", "first"]);
    assert!(
        sentence.ends_with("name it with --stage: live, next"),
        "{sentence}"
    );
    let sentence = refusal(&folder, &["--api", "third"]);
    assert!(
        sentence.contains("--api third: there is no such WebSocket API, but first, second"),
        "{sentence}"
    );
    let gateway = start("apis", &["--api", "first", "--stage", "next"]);
    let mut client = gateway.connect("/next");
    assert_eq!(client.ask(&json!({}))["route"], "$default");
    for notice in [
        "main.tf:20: the WebSocket API second is not served.",
        "main.tf:31: the HTTP API pages is not served.",
        "main.tf:55: the REST API old is not served.",
    ] {
        assert!(has_line(&gateway, notice), "{:?}", gateway.output());
    }
    drop(gateway);
    let gateway = start("apis", &["--api", "second"]);
    let mut client = gateway.connect("/only");
    assert_eq!(client.ask(&json!({ "kind": "other" }))["route"], "other");
}

#[test]
fn layers_of_the_folder() {
    let gateway = start("layers", &[]);
    assert_eq!(ask(&gateway, "python"), json!({ "layer": "hello" }));
    assert_eq!(ask(&gateway, "node"), json!({ "layer": 42 }));
    assert!(has_line(
        &gateway,
        "layer:insights:14 of function python is not made in this folder"
    ));
}

#[test]
fn what_invokes_functions_and_is_not_here() {
    let gateway = start("events", &[]);
    assert_eq!(
        ask(&gateway, "x")["env"],
        json!({
            "APP_TOPIC": "arn:aws:sns:us-east-1:000000000000:news",
            "APP_MACHINE": "arn:aws:states:us-east-1:000000000000:stateMachine:pinger",
        })
    );
    for notice in [
        "aws_lambda_event_source_mapping.work does not run here; `aws lambda invoke --endpoint-url http://127.0.0.1:PORT --function-name worker`",
        "aws_sns_topic_subscription.news does not run here; `aws lambda invoke --endpoint-url http://127.0.0.1:PORT --function-name f`",
        "aws_cloudwatch_event_target.hourly does not run here; `aws lambda invoke --endpoint-url http://127.0.0.1:PORT --function-name image`",
        "QUEUE of function worker needs aws_sqs_queue.work.url, which only AWS knows",
        "function image: is a container image, which does not run here",
    ] {
        assert!(
            has_line(&gateway, notice),
            "{notice}: {:?}",
            gateway.output()
        );
    }
}

#[test]
fn a_function_is_invoked_without_a_route() {
    let gateway = start("events", &[]);
    let event = json!({ "requestContext": { "routeKey": "by hand" } }).to_string();
    let path = |name: &str| format!("/2015-03-31/functions/{name}/invocations");
    let (status, _, answer) = gateway.http("POST", &path("f"), &event);
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(
        answer["body"].as_str().unwrap().contains("by hand"),
        "{answer}"
    );
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3Alive";
    assert_eq!(gateway.http("POST", &path(arn), &event).0, 200);
    // The handler fails: that is an answer, too.
    let (status, _, answer) = gateway.http("POST", &path("f"), "{}");
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["errorType"], "KeyError");
    let (status, kind, answer) = gateway.http("POST", &path("nobody"), "{}");
    assert_eq!((status, kind.as_str()), (404, "ResourceNotFoundException"));
    assert!(
        answer
            .contains("Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody")
    );
    let (status, kind, _) = gateway.http("POST", &path("f"), "{");
    assert_eq!(
        (status, kind.as_str()),
        (400, "InvalidRequestContentException")
    );
    assert_eq!(gateway.http("GET", &path("f"), "").0, 403);
    // Another operation of Lambda's API, as an SDK calls it.
    let (status, kind, _) = gateway.http("GET", "/2015-03-31/functions/f", "");
    assert_eq!((status, kind.as_str()), (404, "UnknownOperationException"));
}

#[test]
fn settings_from_files_templates_and_patterns() {
    let gateway = start("expressions", &[]);
    let answer = ask(&gateway, "two");
    assert_eq!(answer["route"], "two");
    assert_eq!(
        answer["env"],
        json!({
            "APP_CONFIG": "word one\nword two\nsizes {\"small\":1,\"usual\":3}\n",
            "APP_FILES": "config/app.json,config/words.txt",
            "APP_HASH": "96507e12",
            "APP_MAJOR": "4",
            "APP_SAFE": "no",
            "APP_SLUG": "my-app-live-",
        })
    );
    drop(gateway);
    let flags = ["--var", "overrides={ usual = { size = \"7\" } }"];
    let answer = ask(&start("expressions", &flags), "one");
    let config = answer["env"]["APP_CONFIG"].as_str().unwrap();
    assert!(config.ends_with("sizes {\"usual\":7}\n"), "{config}");
}

#[test]
fn data_sources_and_an_alias() {
    let gateway = start("sources", &[]);
    let answer = ask(&gateway, "x");
    assert_eq!(
        answer["env"],
        json!({
            "APP_ARN": "arn:aws:iam::000000000000:role/x",
            "APP_GREETING": "hello world",
            "APP_REGION": "ap-southeast-2",
            "APP_ROLE": "arn:aws:iam::000000000000:role/sources",
        })
    );
    assert_eq!(ask(&gateway, "versioned")["route"], "versioned");
}

#[test]
fn a_route_response_that_is_not_selected() {
    let gateway = start("responses", &[]);
    let mut client = gateway.connect("/live");
    client.send(&json!({ "action": "forgotten" }));
    gateway.wait_for_line("route=forgotten status=200");
    // The next answer is the other route's.
    assert_eq!(client.ask(&json!({}))["route"], "$default");
    assert!(has_line(
        &gateway,
        "main.tf:54: route forgotten has a route response and no route_response_selection_expression"
    ));
    assert!(!has_line(&gateway, "route $default has a route response"));
}

#[test]
fn a_route_without_a_target_is_not_served() {
    let folder = copy("responses");
    let target = "  target    = \"integrations/${aws_apigatewayv2_integration.forgotten.id}\"\n";
    edit(&folder.path().join("main.tf"), target, "");
    let gateway = Gateway::start_with(folder.path(), &[]);
    assert_eq!(ask(&gateway, "forgotten")["route"], "$default");
    assert!(has_line(
        &gateway,
        "main.tf:54: route forgotten has no target: it is served as if it were not declared."
    ));
}

#[test]
fn an_unknown_memory_size_does_not_stop_the_start() {
    let folder = copy("responses");
    let file = folder.path().join("main.tf");
    edit(
        &file,
        "  runtime ",
        "  memory_size = local.memory\n  runtime ",
    );
    let gateway = Gateway::start_with(folder.path(), &[]);
    assert_eq!(ask(&gateway, "x")["route"], "$default");
    assert!(has_line(
        &gateway,
        "main.tf:18: `memory_size` of aws_lambda_function.f cannot be evaluated: there is no local.memory (in \
         `local.memory`). 128 MB are assumed."
    ));
}

#[test]
fn what_an_api_lacks_is_named_with_its_place() {
    let folder = copy("responses");
    let file = folder.path().join("main.tf");
    let refused = |expected: &str| assert_eq!(refusal(folder.path(), &[]), expected);
    edit(
        &file,
        "\"forgotten\" {\n  api_id           = aws_apigatewayv2_api.ws.id\n  integration_type = \"AWS_PROXY\"",
        "\"forgotten\" {\n  api_id           = aws_apigatewayv2_api.ws.id\n  integration_type = \"HTTP_PROXY\"",
    );
    refused(
        "main.tf:50: integration_type HTTP_PROXY does not run here, and route forgotten needs it: give the route an \
         integration of type AWS_PROXY, with a function, or MOCK",
    );
    edit(
        &file,
        "\"aws_apigatewayv2_stage\" \"live\"",
        "\"aws_iam_role\" \"live\"",
    );
    refused(
        "main.tf:3: aws_apigatewayv2_api.ws has no stage here: declare an aws_apigatewayv2_stage with its api_id",
    );
}

#[test]
fn a_table_is_reached_by_its_arn() {
    let gateway = start("tables", &[]);
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/app-users";
    let item = json!({ "id": { "S": "one" } });
    gateway.dynamodb("PutItem", &json!({ "TableName": arn, "Item": item }));
    let keys = json!({ arn: { "Keys": [item] } });
    let found = gateway.dynamodb("BatchGetItem", &json!({ "RequestItems": keys }));
    assert_eq!(found["Responses"]["app-users"], json!([item]));
}

#[test]
fn functions_that_name_their_tables_call_the_engine_itself() {
    /// Returns the URL of the tables that the function finds, and the printed one.
    fn urls(flags: &[&str]) -> (String, String) {
        let gateway = start("tables", flags);
        let env = &ask(&gateway, "x")["env"];
        let found = env["AWS_ENDPOINT_URL_DYNAMODB"].as_str().unwrap();
        (found.to_owned(), gateway.dynamodb.clone())
    }
    let named = ["--env", "APP_USERS=app-users"];
    let (found, printed) = urls(&named);
    assert_ne!(found, printed);
    let port = found.strip_prefix("http://127.").unwrap();
    assert!(port.rsplit_once(':').unwrap().1.parse::<u16>().is_ok());

    // The declared variable holds an ARN, which only the front knows. A function that does not name a table in its
    // variables may build an ARN.
    let unnamed = ["--env", "APP_USERS=app", "--env", "APP_ITEMS=app"];
    for flags in [&[][..], &unnamed] {
        let (found, printed) = urls(flags);
        assert_eq!(found, printed, "{flags:?}");
    }
    // Counts and fault rules need the front.
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    fs::write(&rules, "[]").unwrap();
    for watched in [["--admin-port", "0"], ["--faults", rules.to_str().unwrap()]] {
        let (found, printed) = urls(&[named, watched].concat());
        assert_eq!(found, printed, "{watched:?}");
    }
}

#[test]
fn functions_made_with_count_are_told_apart() {
    let gateway = start("counted", &[]);
    let mut client = gateway.connect("/live");
    for (action, line) in [("left", "index 1"), ("right", "index 2")] {
        client.send(&json!({ "action": action }));
        let line = gateway.wait_for_line(line);
        assert!(line.contains(&format!("counted-{action}")), "{line}");
        gateway.wait_for_line(&format!("route={action} status=418"));
    }
    // Although the processes go on, and the line has no end.
    gateway.wait_for_line("half a line");
}

#[test]
fn what_only_aws_knows_is_named_and_can_be_given() {
    let folder = folder("unknown");
    let refused = |flags: &[&str], expected: &str| assert_eq!(refusal(&folder, flags), expected);
    refused(
        &[],
        "main.tf:25: APP_QUEUE of function f needs aws_sqs_queue.work.url, which only AWS knows (in `\"queue at \
         ${aws_sqs_queue.work.url}\"`); give --env APP_QUEUE=…",
    );
    refused(
        &["--env", "APP_QUEUE=here"],
        "main.tf:39: APP_SECRET of function f needs the variable \"secret\", which has no value: give --var secret=…; or \
         --env APP_SECRET=…",
    );
    let gateway = start("unknown", &["--env", "APP_QUEUE=here", "--var", "secret=s"]);
    assert_eq!(
        ask(&gateway, "x")["env"],
        json!({ "APP_NAME": "unknown", "APP_QUEUE": "here", "APP_SECRET": "s" })
    );
}

#[test]
fn an_error_in_a_module_names_its_file_and_line() {
    let folder = copy("modules");
    let file = folder.path().join("modules/action/main.tf");
    edit(&file, "var.key\n", "upper(var.kee)\n");
    assert_eq!(
        refusal(folder.path(), &[]),
        "modules/action/main.tf:24: `route_key` of module.action[\"$connect\"].aws_apigatewayv2_route.this cannot be \
         evaluated: there is no variable \"kee\" (in `upper(var.kee)`)"
    );
}

#[test]
fn tables_from_a_map() {
    let gateway = start("tables", &[]);
    assert_eq!(ask(&gateway, "x")["env"]["APP_ITEMS"], "app-items");
    let described = gateway.dynamodb("DescribeTable", &json!({ "TableName": "app-users" }));
    let indexes = described["Table"]["GlobalSecondaryIndexes"]
        .as_array()
        .unwrap();
    let mut names: Vec<&str> = indexes
        .iter()
        .filter_map(|i| i["IndexName"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["by-email", "by-size", "by-team"]);
    let described = gateway.dynamodb("DescribeTable", &json!({ "TableName": "app-items" }));
    let index = &described["Table"]["LocalSecondaryIndexes"][0];
    assert_eq!(index["IndexName"], "by-size");
    assert_eq!(index["KeySchema"][0]["AttributeName"], "owner");
    assert_eq!(index["KeySchema"][1]["AttributeName"], "size");
}

#[test]
fn an_old_go_program_runs_as_its_handler() {
    let folder = copy("go");
    let package = folder.path().join("package");
    fs::create_dir_all(&package).unwrap();
    fs::copy(
        root().join("local/tests/probe/function/bootstrap"),
        package.join("main"),
    )
    .unwrap();
    let gateway = Gateway::start_with(folder.path(), &[]);
    let event = ask(&gateway, "x");
    assert_eq!(event["requestContext"]["routeKey"], "$default");
}
