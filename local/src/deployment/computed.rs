//! The attributes that a provider computes from a resource's arguments, as far as others refer to them.

use std::path::Path;
use std::rc::Rc;

use crate::account::{ACCOUNT_ID, API_ID};
use crate::terraform::{Instance, Map, Value, render};

type Texts = Vec<(&'static str, String)>;
type Attributes = Vec<(&'static str, Value)>;

/// Returns the computed attributes of an instance. A WebSocket API is the served one unless `wanted` names another.
pub(super) fn attributes(instance: &Instance, region: &str, wanted: Option<&str>) -> Attributes {
    match instance.kind.as_str() {
        "data.aws_iam_policy_document" => vec![("json", policy_document(instance).into())],
        "data.template_file" | "template_file" => {
            let variables = match instance.get("vars") {
                Ok(Some(value)) => value
                    .entries()
                    .map(|map| Map::clone(map))
                    .unwrap_or_default(),
                _ => Map::new(),
            };
            let template = given(instance, "template").unwrap_or_default().to_owned();
            let rendered = render(&instance.address, template, &variables, Path::new("."));
            rendered.map_or_else(|_| Vec::new(), |text| vec![("rendered", text)])
        }
        "data.external" => match source_of(instance) {
            Some(source) => {
                let result = Map::from([("filename".to_owned(), source.into())]);
                vec![("result", result.into())]
            }
            None => Vec::new(),
        },
        _ => {
            let texts = texts(instance, region, wanted);
            let unknown = named_by(&instance.kind).and_then(|name| instance.unknown(name));
            let value = |text: String| match unknown {
                // A text made from an unknown name is unknown too.
                Some(problem) => Value::Unknown(Rc::clone(problem)),
                None => text.into(),
            };
            texts
                .into_iter()
                .map(|(name, text)| (name, value(text)))
                .collect()
        }
    }
}

/// The folder or file that the module `terraform-aws-modules/lambda` would zip. The gateway runs it unzipped.
fn source_of(instance: &Instance) -> Option<String> {
    let query = instance.get("query").ok()??.entries()?.clone();
    let source: serde_json::Value =
        serde_json::from_str(query.get("source_path")?.as_str()?).ok()?;
    let source = match &source {
        serde_json::Value::Array(sources) => sources.first()?,
        source => source,
    };
    let path = source.as_str().or_else(|| source["path"].as_str())?;
    Some(path.to_owned())
}

/// The argument that the computed attributes of a resource are made of.
fn named_by(kind: &str) -> Option<&'static str> {
    match kind {
        "aws_lambda_function" => Some("function_name"),
        "aws_lambda_layer_version" => Some("layer_name"),
        "aws_s3_bucket" => Some("bucket"),
        "aws_apigatewayv2_stage"
        | "aws_lambda_alias"
        | "aws_dynamodb_table"
        | "aws_cloudwatch_log_group"
        | "aws_sns_topic"
        | "aws_sqs_queue"
        | "aws_sfn_state_machine"
        | "aws_iam_role"
        | "aws_iam_policy"
        | "aws_ssm_parameter" => Some("name"),
        _ => None,
    }
}

/// A string argument, if it is there and known.
fn given<'a>(instance: &'a Instance, name: &str) -> Option<&'a str> {
    instance.get(name).ok().flatten().and_then(Value::as_str)
}

fn texts(instance: &Instance, region: &str, wanted: Option<&str>) -> Texts {
    let named = |argument: &str, make: &dyn Fn(&str) -> Texts| match given(instance, argument) {
        Some(name) => make(name),
        None if instance.unknown(argument).is_some() => make(""),
        None => Vec::new(),
    };
    let arn = |service: &str, resource: &str| {
        format!("arn:aws:{service}:{region}:{ACCOUNT_ID}:{resource}")
    };
    let with_arn = |service: &str, name: &str, resource: String| {
        vec![("id", name.to_owned()), ("arn", arn(service, &resource))]
    };
    match instance.kind.as_str() {
        "aws_apigatewayv2_api" => api(&api_id(instance, wanted), instance, region),
        "aws_apigatewayv2_stage" => named("name", &|name| {
            let api = given(instance, "api_id").unwrap_or(API_ID);
            vec![
                ("id", name.to_owned()),
                (
                    "arn",
                    format!("arn:aws:apigateway:{region}::/apis/{api}/stages/{name}"),
                ),
                (
                    "execution_arn",
                    arn("execute-api", &format!("{api}/{name}")),
                ),
                ("invoke_url", format!("wss://{}/{name}", host(api, region))),
            ]
        }),
        "aws_lambda_function" => named("function_name", &|name| {
            let own = arn("lambda", &format!("function:{name}"));
            let qualified = format!("{own}:$LATEST");
            vec![
                ("id", name.to_owned()),
                ("invoke_arn", invoke_arn(&own, region)),
                ("qualified_arn", qualified.clone()),
                ("qualified_invoke_arn", invoke_arn(&qualified, region)),
                ("version", "$LATEST".to_owned()),
                ("arn", own),
            ]
        }),
        "aws_lambda_alias" => named("name", &|name| {
            // The function is named, or given by its ARN.
            let function = given(instance, "function_name").unwrap_or_default();
            let function = function.split(":function:").last().unwrap_or_default();
            let own = arn("lambda", &format!("function:{function}:{name}"));
            vec![
                ("id", own.clone()),
                ("invoke_arn", invoke_arn(&own, region)),
                ("arn", own),
            ]
        }),
        "aws_lambda_layer_version" => named("layer_name", &|name| {
            let layer = arn("lambda", &format!("layer:{name}"));
            vec![
                ("id", format!("{layer}:1")),
                ("arn", format!("{layer}:1")),
                ("layer_arn", layer),
                ("version", "1".to_owned()),
            ]
        }),
        "aws_dynamodb_table" => named("name", &|name| {
            with_arn("dynamodb", name, format!("table/{name}"))
        }),
        "aws_cloudwatch_log_group" => named("name", &|name| {
            with_arn("logs", name, format!("log-group:{name}"))
        }),
        "aws_sns_topic" => named("name", &|name| {
            let own = arn("sns", name);
            vec![("id", own.clone()), ("arn", own)]
        }),
        "aws_sfn_state_machine" => named("name", &|name| {
            let own = arn("states", &format!("stateMachine:{name}"));
            vec![("id", own.clone()), ("arn", own)]
        }),
        "aws_sqs_queue" => named("name", &|name| vec![("arn", arn("sqs", name))]),
        "aws_s3_bucket" => named("bucket", &|name| {
            vec![
                ("id", name.to_owned()),
                ("arn", format!("arn:aws:s3:::{name}")),
                ("bucket_domain_name", format!("{name}.s3.amazonaws.com")),
                (
                    "bucket_regional_domain_name",
                    format!("{name}.s3.{region}.amazonaws.com"),
                ),
            ]
        }),
        "aws_s3_object" | "aws_s3_bucket_object" => {
            named("key", &|key| vec![("id", key.to_owned())])
        }
        "aws_iam_role" => named("name", &|name| global("iam", name, &format!("role/{name}"))),
        "aws_iam_policy" => named("name", &|name| {
            let own = format!("arn:aws:iam::{ACCOUNT_ID}:policy/{name}");
            vec![("id", own.clone()), ("arn", own)]
        }),
        "aws_ssm_parameter" => named("name", &|name| {
            with_arn(
                "ssm",
                name,
                format!("parameter/{}", name.trim_start_matches('/')),
            )
        }),
        "data.aws_region" => vec![
            ("id", region.to_owned()),
            ("name", region.to_owned()),
            ("region", region.to_owned()),
        ],
        "data.aws_caller_identity" => vec![
            ("id", ACCOUNT_ID.to_owned()),
            ("account_id", ACCOUNT_ID.to_owned()),
            ("arn", format!("arn:aws:iam::{ACCOUNT_ID}:root")),
        ],
        "data.aws_partition" => vec![
            ("id", "aws".to_owned()),
            ("partition", "aws".to_owned()),
            ("dns_suffix", "amazonaws.com".to_owned()),
            ("reverse_dns_prefix", "com.amazonaws".to_owned()),
        ],
        // The file is written by `terraform apply`; its content is an argument.
        "local_file" | "data.local_file" => {
            named("filename", &|name| vec![("id", name.to_owned())])
        }
        kind => drawn(kind, &instance.address),
    }
}

fn global(service: &str, name: &str, resource: &str) -> Texts {
    vec![
        ("id", name.to_owned()),
        ("arn", format!("arn:aws:{service}::{ACCOUNT_ID}:{resource}")),
    ]
}

fn invoke_arn(function: &str, region: &str) -> String {
    format!("arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{function}/invocations")
}

fn host(api: &str, region: &str) -> String {
    format!("{api}.execute-api.{region}.amazonaws.com")
}

/// The id of an API: that of the served one, or another of the same form.
fn api_id(instance: &Instance, wanted: Option<&str>) -> String {
    let is_websocket = super::is_websocket(instance);
    match wanted {
        Some(wanted) if is_websocket && super::is_called(instance, wanted) => API_ID.to_owned(),
        None if is_websocket => API_ID.to_owned(),
        _ => format!("local{:05}", hash(&instance.address, 90_000) + 10_000),
    }
}

fn api(id: &str, instance: &Instance, region: &str) -> Texts {
    let scheme = if given(instance, "protocol_type") == Some("HTTP") {
        "https"
    } else {
        "wss"
    };
    vec![
        ("id", id.to_owned()),
        ("arn", format!("arn:aws:apigateway:{region}::/apis/{id}")),
        (
            "execution_arn",
            format!("arn:aws:execute-api:{region}:{ACCOUNT_ID}:{id}"),
        ),
        ("api_endpoint", format!("{scheme}://{}", host(id, region))),
    ]
}

/// Texts that only have to be unique: identifiers within API Gateway, and the results of the `random` provider.
fn drawn(kind: &str, address: &str) -> Texts {
    let drawn = || (10_000_000 + hash(address, 90_000_000)).to_string();
    match kind {
        "random_id" => {
            let names = ["id", "hex", "dec", "b64_url", "b64_std"];
            names.into_iter().map(|name| (name, drawn())).collect()
        }
        "random_pet" => vec![("id", drawn())],
        "random_string" | "random_integer" | "random_password" | "random_uuid" => {
            vec![("id", drawn()), ("result", drawn())]
        }
        kind if kind.starts_with("aws_apigatewayv2_")
            || kind.starts_with("aws_api_gateway_")
            || !kind.starts_with("aws_") && !kind.starts_with("data.") =>
        {
            vec![("id", address.to_owned())]
        }
        // Only AWS knows the attributes of any other type.
        _ => Vec::new(),
    }
}

/// A number below `range` for a text: the same at each start, so that kept tables are found again.
fn hash(text: &str, range: u64) -> u64 {
    text.bytes()
        .fold(0, |hash, byte| (hash * 257 + u64::from(byte)) % range)
}

/// The statements of a policy as JSON. Only people read it, so unknown values are left out.
fn policy_document(instance: &Instance) -> String {
    let mut statements = Vec::new();
    for statement in instance.blocks("statement").unwrap_or_default() {
        let mut json = serde_json::Map::new();
        for (argument, key) in [("sid", "Sid"), ("effect", "Effect")] {
            if let Ok(Some(text)) = statement.optional_string(argument) {
                json.insert(key.to_owned(), text.into());
            }
        }
        json.entry("Effect").or_insert_with(|| "Allow".into());
        for (argument, key) in [
            ("actions", "Action"),
            ("not_actions", "NotAction"),
            ("resources", "Resource"),
        ] {
            let values = statement.list(argument).unwrap_or_default();
            let texts: Vec<String> = values.iter().filter_map(|v| v.text().ok()).collect();
            match texts.as_slice() {
                [] => {}
                [one] => drop(json.insert(key.to_owned(), one.clone().into())),
                _ => drop(json.insert(key.to_owned(), texts.into())),
            }
        }
        statements.push(serde_json::Value::from(json));
    }
    serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}
