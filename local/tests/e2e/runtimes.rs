//! Functions for Lambda's Node.js and Python runtimes, without an SDK. The tests of the examples use the SDKs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use kit::{Client, Gateway, eventually};

/// An API with a two-way route for each function. A function is given by its name, its runtime and its handler.
const TERRAFORM: &str = r#"
locals {
  functions = { FUNCTIONS }
}

resource "aws_apigatewayv2_api" "api" {
  name                       = "runtimes"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "api" {
  api_id = aws_apigatewayv2_api.api.id
  name   = "prod"
}

data "archive_file" "package" {
  type        = "zip"
  source_dir  = "${path.module}/source"
  output_path = "${path.module}/package.zip"
}

resource "aws_iam_role" "function" {
  name               = "runtimes"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [] })
}

resource "aws_lambda_function" "function" {
  for_each         = local.functions
  function_name    = "runtimes-${each.key}"
  role             = aws_iam_role.function.arn
  filename         = data.archive_file.package.output_path
  source_code_hash = data.archive_file.package.output_base64sha256
  runtime          = each.value[0]
  handler          = each.value[1]
  timeout          = 5
  MORE
}

resource "aws_apigatewayv2_integration" "function" {
  for_each         = local.functions
  api_id           = aws_apigatewayv2_api.api.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.function[each.key].invoke_arn
}

resource "aws_apigatewayv2_route" "function" {
  for_each                            = local.functions
  api_id                              = aws_apigatewayv2_api.api.id
  route_key                           = each.key
  target                              = "integrations/${aws_apigatewayv2_integration.function[each.key].id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "function" {
  for_each           = local.functions
  api_id             = aws_apigatewayv2_api.api.id
  route_id           = aws_apigatewayv2_route.function[each.key].id
  route_response_key = "$default"
}

resource "aws_lambda_permission" "function" {
  for_each      = local.functions
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.function[each.key].function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.api.execution_arn}/*/*"
}
"#;

pub(crate) struct Deployment {
    pub(crate) folder: TempDir,
}

impl Deployment {
    pub(crate) fn new(functions: &[(&str, &str, &str)], more: &str) -> Deployment {
        let functions: Vec<String> = functions
            .iter()
            .map(|(name, runtime, handler)| format!(r#"{name} = ["{runtime}", "{handler}"]"#))
            .collect();
        let text = TERRAFORM
            .replace("FUNCTIONS", &functions.join(", "))
            .replace("MORE", more);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("main.tf"), text).unwrap();
        fs::create_dir(folder.path().join("source")).unwrap();
        Deployment { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Deployment {
        let path = self.path().join("source").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn start(&self, flags: &[&str]) -> Gateway {
        Gateway::start_with(self.path(), flags)
    }
}

pub(crate) fn ask(client: &mut Client, function: &str) -> Value {
    client.ask(&json!({ "action": function }))
}

/// Checks that the function fails, and that the gateway's log reports it.
fn fails(gateway: &Gateway, client: &mut Client, function: &str, expected: &str) {
    let answer = ask(client, function);
    assert_eq!(answer["message"], "Internal server error", "{function}");
    eventually(&format!("{function}: {expected}"), || {
        let output = gateway.output();
        let line = |line: &String| line.contains(function) && line.contains(expected);
        output.iter().any(line).then_some(())
    });
}

/// The answer of every handler here.
const NODE_ANSWER: &str =
    "const answer = (value) => ({ statusCode: 200, body: JSON.stringify(value) });";

#[test]
fn node_handlers_of_every_form() {
    let deployment = Deployment::new(
        &[
            ("async", "nodejs20.x", "async.handler"),
            ("callback", "nodejs20.x", "callback.handler"),
            ("patient", "nodejs20.x", "callback.patient"),
            ("promise", "nodejs20.x", "callback.promise"),
            ("succeed", "nodejs20.x", "callback.succeed"),
            ("folder", "nodejs20.x", "deeper/still/index.handler"),
            ("nested", "nodejs20.x", "callback.a.b.handler"),
            ("common", "nodejs20.x", "common.handler"),
            ("returned", "nodejs24.x", "callback.returned"),
        ],
        "",
    )
    .file(
        "async.mjs",
        &format!("{NODE_ANSWER} export const handler = async (event) => answer(event.requestContext.routeKey);"),
    )
    .file(
        "callback.js",
        &format!(
            r#"{NODE_ANSWER}
            exports.handler = (event, context, callback) => {{ callback(null, answer("called")); callback("twice"); }};
            exports.patient = (event, context, callback) => {{
                let done = 0;
                setTimeout(() => {{ done = 1; }}, 100);
                const value = answer("waited");
                callback(null, {{ ...value, get body() {{ return JSON.stringify(done); }} }});
            }};
            exports.promise = () => new Promise((resolve) => setTimeout(resolve, 10, answer("promised")));
            exports.succeed = (event, context) => {{ context.succeed(answer("succeeded")); }};
            exports.a = {{ b: {{ handler: async () => answer("nested") }} }};
            exports.returned = () => answer("returned");"#
        ),
    )
    .file("deeper/package.json", r#"{"type": "module"}"#)
    .file("deeper/value.js", "export const value = await Promise.resolve('module');")
    .file(
        "deeper/still/index.js",
        &format!("import {{ value }} from '../value.js'; {NODE_ANSWER} export const handler = async () => answer(value);"),
    )
    .file("common.cjs", &format!("{NODE_ANSWER} exports.handler = async () => answer(require('path').basename(__dirname));"));
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    for (function, expected) in [
        ("async", json!("async")),
        ("callback", json!("called")),
        // The answer is sent when the event loop is empty, so after the timer.
        ("patient", json!(1)),
        ("promise", json!("promised")),
        ("succeed", json!("succeeded")),
        ("folder", json!("module")),
        ("nested", json!("nested")),
        ("common", json!("source")),
        ("returned", json!("returned")),
    ] {
        // The second time in a warm process.
        for _ in 0..2 {
            assert_eq!(ask(&mut client, function), expected, "{function}");
        }
    }
}

#[test]
fn node_handlers_that_fail() {
    let deployment = Deployment::new(
        &[
            ("throws", "nodejs20.x", "index.throws"),
            ("rejects", "nodejs20.x", "index.rejects"),
            ("calledback", "nodejs20.x", "index.calledback"),
            ("unhandled", "nodejs20.x", "index.unhandled"),
            ("uncaught", "nodejs20.x", "index.uncaught"),
            ("forgets", "nodejs20.x", "index.forgets"),
            ("exits", "nodejs20.x", "index.exits"),
            ("circles", "nodejs20.x", "index.circles"),
            ("ignored", "nodejs20.x", "index.ignored"),
            ("hangs", "nodejs20.x", "index.hangs"),
            ("absent", "nodejs20.x", "index.absent"),
            ("number", "nodejs20.x", "index.number"),
            ("nofile", "nodejs20.x", "nofile.handler"),
            ("nodot", "nodejs20.x", "index"),
            ("outside", "nodejs20.x", "../index.handler"),
            ("nosdk", "nodejs20.x", "sdk.handler"),
            ("syntax", "nodejs20.x", "syntax.handler"),
            ("toplevel", "nodejs20.x", "toplevel.handler"),
            ("removed", "nodejs24.x", "index.calledback"),
            ("undeclared", "nodejs20.x", "undeclared.handler"),
        ],
        "",
    )
    .file(
        "index.js",
        r#"exports.throws = async () => { throw new TypeError("not today"); };
        exports.rejects = () => Promise.reject("just text");
        exports.calledback = (event, context, callback) => callback(new RangeError("too far"));
        exports.unhandled = async () => { Promise.reject(new Error("nobody looks")); await new Promise((r) => setTimeout(r, 1000)); };
        exports.uncaught = async () => { setTimeout(() => { throw new Error("in a timer"); }); await new Promise((r) => setTimeout(r, 1000)); };
        exports.forgets = async () => { await new Promise(() => {}); };
        exports.exits = async () => process.exit(3);
        exports.circles = async () => { const circle = {}; circle.circle = circle; return circle; };
        exports.ignored = () => ({ statusCode: 200, body: "nobody's answer" });
        exports.hangs = async () => { setInterval(() => {}, 1000); await new Promise(() => {}); };
        exports.number = 1;"#,
    )
    .file("sdk.mjs", "import '@aws-sdk/client-nonsense'; export const handler = async () => {};")
    .file("syntax.js", "exports.handler = async () => {")
    .file("toplevel.js", "throw new Error('in the module');")
    // On Lambda a .js file is an ES module only if package.json declares it.
    .file("undeclared.js", "export const handler = async () => ({ statusCode: 200, body: '1' });");
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    for (function, expected) in [
        ("throws", "Error: TypeError: not today"),
        ("rejects", "Error: string: just text"),
        ("calledback", "Error: RangeError: too far"),
        (
            "unhandled",
            "Error: Runtime.UnhandledPromiseRejection: Error: nobody looks",
        ),
        ("uncaught", "Error: Error: in a timer"),
        ("forgets", "Error: Runtime.NodeJsExit:"),
        (
            "exits",
            "Error: Runtime.ExitError: Runtime exited: exit status: 3",
        ),
        ("circles", "Error: Error: Unable to stringify response body"),
        ("ignored", "malformed response"),
        ("hangs", "Sandbox.Timedout"),
        (
            "absent",
            "Runtime.HandlerNotFound\tError: index.absent is undefined or not exported",
        ),
        (
            "number",
            "Runtime.HandlerNotFound\tError: index.number is not a function",
        ),
        (
            "nofile",
            "Runtime.ImportModuleError\tError: Error: Cannot find module",
        ),
        ("nodot", "Runtime.MalformedHandlerName\tError: Bad handler"),
        ("outside", "Runtime.MalformedHandlerName"),
        ("nosdk", "here `npm install @aws-sdk/client-nonsense`"),
        (
            "syntax",
            "Runtime.UserCodeSyntaxError\tError: SyntaxError: Unexpected end of input",
        ),
        ("toplevel", "Error Type: Error\tError: in the module"),
        ("removed", "Runtime.CallbackHandlerDeprecated"),
        ("undeclared", "Runtime.UserCodeSyntaxError"),
    ] {
        fails(&gateway, &mut client, function, expected);
    }
    // A process whose handler threw is used again. One with an uncaught error is not.
    fails(&gateway, &mut client, "unhandled", "nobody looks");
    let starts = |function: &str| {
        let output = gateway.output();
        let reports = output.iter().filter(|line| line.contains(function));
        reports
            .filter(|line| line.contains("Init Duration"))
            .count()
    };
    fails(&gateway, &mut client, "throws", "not today");
    eventually("both invocations' reports", || {
        (starts("unhandled") == 2).then_some(())
    });
    assert_eq!(starts("throws"), 1);
    // The log shows the stack trace.
    gateway.wait_for_line("at exports.throws");
}

#[test]
fn what_node_handlers_are_told() {
    let deployment = Deployment::new(
        &[("told", "nodejs22.x", "told.handler")],
        "environment {\n variables = { NODE_OPTIONS = \"--stack-trace-limit=5\", GREETING = \"hello\" }\n }",
    )
    .file(
        "told.mjs",
        r#"import path from "node:path";
        export const handler = async (event, context) => {
            const { getRemainingTimeInMillis, ...rest } = context;
            const answer = { ...rest, remaining: getRemainingTimeInMillis(), env: process.env, cwd: path.basename(process.cwd()) };
            answer.limit = Error.stackTraceLimit;
            return { statusCode: 200, body: JSON.stringify(answer) };
        };"#,
    );
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    let told = ask(&mut client, "told");
    for (name, value) in [
        ("functionName", "runtimes-told"),
        ("functionVersion", "$LATEST"),
        ("memoryLimitInMB", "128"),
        ("logGroupName", "/aws/lambda/runtimes-told"),
        ("logStreamName", "local"),
        (
            "invokedFunctionArn",
            "arn:aws:lambda:us-east-1:000000000000:function:runtimes-told",
        ),
        ("cwd", "source"),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert_eq!(told["awsRequestId"].as_str().unwrap().len(), 36);
    assert_eq!(told["callbackWaitsForEmptyEventLoop"], true);
    assert_eq!(told["limit"], 5);
    let remaining = told["remaining"].as_i64().unwrap();
    assert!((0..=5000).contains(&remaining), "{remaining}");
    let environment = &told["env"];
    for (name, value) in [
        ("AWS_EXECUTION_ENV", "AWS_Lambda_nodejs22.x"),
        ("_HANDLER", "told.handler"),
        ("GREETING", "hello"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    assert!(
        environment["_X_AMZN_TRACE_ID"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-")
    );
    assert!(
        environment["LAMBDA_TASK_ROOT"]
            .as_str()
            .unwrap()
            .ends_with("/source")
    );
}

#[test]
fn python_handlers_of_every_form() {
    let deployment = Deployment::new(
        &[
            ("plain", "python3.11", "plain.handler"),
            ("folder", "python3.11", "deeper/still/index.handler"),
            ("dotted", "python3.11", "deeper.still.index.handler"),
            ("told", "python3.12", "plain.told"),
            ("logs", "python3.11", "plain.logs"),
        ],
        "environment {\n variables = { GREETING = \"hello\" }\n }",
    )
    .file("value.py", "VALUE = 'of the package'")
    .file(
        "plain.py",
        r#"
import decimal, json, logging, os, sys
from value import VALUE

logger = logging.getLogger()
logger.setLevel(logging.INFO)

def handler(event, context):
    return {"statusCode": 200, "body": json.dumps([VALUE, event["requestContext"]["routeKey"]]), "isBase64Encoded": False}

def told(event, context):
    told = {name: getattr(context, name) for name in dir(context) if name[0] != "_" and not callable(getattr(context, name))}
    told["remaining"] = context.get_remaining_time_in_millis()
    told["environment"] = dict(os.environ)
    told["path"] = [os.path.basename(sys.path[0]), os.path.basename(os.getcwd())]
    return {"statusCode": 200, "headers": {"X-Count": decimal.Decimal("1.5")}, "body": json.dumps(told)}

def logs(event, context):
    logger.info("informed")
    logging.getLogger("quiet").debug("unheard")
    print("printed without an end of line and", end=" ")
    print("with ünicode")
    return {"statusCode": 200, "body": "1"}
"#,
    )
    .file("deeper/still/index.py", "from value import VALUE\ndef handler(event, context):\n    return {'statusCode': 200, 'body': '\"%s\"' % VALUE}");
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    for _ in 0..2 {
        assert_eq!(
            ask(&mut client, "plain"),
            json!(["of the package", "plain"])
        );
    }
    assert_eq!(ask(&mut client, "folder"), "of the package");
    assert_eq!(ask(&mut client, "dotted"), "of the package");
    let told = ask(&mut client, "told");
    for (name, value) in [
        ("function_name", json!("runtimes-told")),
        ("function_version", json!("$LATEST")),
        ("memory_limit_in_mb", json!("128")),
        ("log_group_name", json!("/aws/lambda/runtimes-told")),
        ("log_stream_name", json!("local")),
        (
            "invoked_function_arn",
            json!("arn:aws:lambda:us-east-1:000000000000:function:runtimes-told"),
        ),
        ("client_context", json!(null)),
        ("identity", json!(null)),
        ("path", json!(["source", "source"])),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert_eq!(told["aws_request_id"].as_str().unwrap().len(), 36);
    assert!((0..=5000).contains(&told["remaining"].as_i64().unwrap()));
    assert_eq!(
        told["environment"]["AWS_EXECUTION_ENV"],
        "AWS_Lambda_python3.12"
    );
    assert_eq!(told["environment"]["GREETING"], "hello");

    assert_eq!(ask(&mut client, "logs"), 1);
    let line = gateway.wait_for_line("informed");
    assert!(line.contains("[INFO]\t2"), "{line}");
    gateway.wait_for_line("printed without an end of line and with ünicode");
    assert!(!gateway.output().iter().any(|line| line.contains("unheard")));
    // A package is read-only on Lambda. Here nothing may be written to the developer's folder either.
    assert!(!deployment.path().join("source/__pycache__").exists());
}

#[test]
fn an_error_of_any_name_leaves_the_process_alive() {
    let deployment = Deployment::new(&[("named", "python3.11", "index.handler")], "").file(
        "index.py",
        "import json\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n    if n in (2, 3):\n        raise type(['Sandbox.Timedout', 'Runtime.ExitError'][n - 2], (Exception,), {})('mine')\n    return {'statusCode': 200, 'body': json.dumps({'n': n})}\n",
    );
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    assert_eq!(ask(&mut client, "named")["n"], 1);
    for _ in 0..2 {
        assert_eq!(
            ask(&mut client, "named")["message"],
            "Internal server error"
        );
    }
    // A new process would count from one.
    assert_eq!(ask(&mut client, "named")["n"], 4);
}

#[test]
fn python_handlers_that_fail() {
    let deployment = Deployment::new(
        &[
            ("throws", "python3.11", "index.throws"),
            ("exits", "python3.11", "index.exits"),
            ("marshals", "python3.11", "index.marshals"),
            ("hangs", "python3.11", "index.hangs"),
            ("absent", "python3.11", "index.absent"),
            ("nofile", "python3.11", "nofile.handler"),
            ("nodot", "python3.11", "index"),
            ("builtin", "python3.11", "sys.exit"),
            ("nosdk", "python3.11", "sdk.handler"),
            ("syntax", "python3.11", "syntax.handler"),
            ("toplevel", "python3.11", "toplevel.handler"),
        ],
        "",
    )
    .file(
        "index.py",
        r#"
import sys, time

def throws(event, context):
    return event["nothing of the kind"]

def exits(event, context):
    sys.exit(3)

async def marshals(event, context):
    return {"statusCode": 200}

def hangs(event, context):
    time.sleep(3600)
"#,
    )
    // A module that no test machine has.
    .file(
        "sdk.py",
        "raise ModuleNotFoundError(\"No module named 'boto3'\", name='boto3')",
    )
    .file("syntax.py", "def handler(:")
    .file("toplevel.py", "raise KeyError('in the module')");
    let gateway = deployment.start(&[]);
    let mut client = gateway.connect("/prod");
    for (function, expected) in [
        ("throws", "Error: KeyError: 'nothing of the kind'"),
        (
            "exits",
            "Error: Runtime.ExitError: Runtime exited: exit status: 3",
        ),
        (
            "marshals",
            "Error: Runtime.MarshalError: Unable to marshal response: Object of type coroutine is not JSON serializable",
        ),
        ("hangs", "Sandbox.Timedout"),
        (
            "absent",
            "Runtime.HandlerNotFound\tError: Handler 'absent' missing on module 'index'",
        ),
        (
            "nofile",
            "Runtime.ImportModuleError\tError: Unable to import module 'nofile': No module named 'nofile'",
        ),
        (
            "nodot",
            "Runtime.MalformedHandlerName\tError: Bad handler 'index'",
        ),
        ("builtin", "Runtime.BuiltInModuleConflict"),
        ("nosdk", "of a venv with boto3"),
        (
            "syntax",
            "Runtime.UserCodeSyntaxError\tError: Syntax error in module 'syntax'",
        ),
        ("toplevel", "Error Type: KeyError\tError: 'in the module'"),
    ] {
        fails(&gateway, &mut client, function, expected);
    }
    // The traceback shows the lines of the function, and not those of the bootstrap.
    gateway.wait_for_line("return event[\"nothing of the kind\"]");
    gateway.wait_for_line("raise KeyError('in the module')");
    for line in gateway.output() {
        let traced = line.contains("throws ") || line.contains("toplevel ");
        assert!(
            !traced || !(line.contains("bootstrap.py") || line.contains("importlib")),
            "{line}"
        );
    }
}
