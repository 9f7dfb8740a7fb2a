//! What a provider would compute from a resource's arguments, as far as others refer to it.

use hcl::Value;

use crate::account::{ACCOUNT_ID, API_ID};
use crate::terraform::Instance;

/// The computed attributes of an instance. `kind` is the resource's type, `data.TYPE` for a data source.
pub(super) fn attributes(
    kind: &str,
    instance: &Instance,
    region: &str,
) -> Vec<(&'static str, String)> {
    let text = |name| instance.get(name).ok().flatten().and_then(Value::as_str);
    let named = |make: &dyn Fn(&str) -> Vec<(&'static str, String)>, argument| {
        text(argument).map_or_else(Vec::new, make)
    };
    let execution_arn = format!("arn:aws:execute-api:{region}:{ACCOUNT_ID}:{API_ID}");
    let host = format!("{API_ID}.execute-api.{region}.amazonaws.com");
    match kind {
        "aws_apigatewayv2_api" => vec![
            ("id", API_ID.to_owned()),
            (
                "arn",
                format!("arn:aws:apigateway:{region}::/apis/{API_ID}"),
            ),
            ("execution_arn", execution_arn),
            ("api_endpoint", format!("wss://{host}")),
        ],
        "aws_apigatewayv2_stage" => named(
            &|name| {
                vec![
                    ("id", name.to_owned()),
                    ("execution_arn", format!("{execution_arn}/{name}")),
                    ("invoke_url", format!("wss://{host}/{name}")),
                ]
            },
            "name",
        ),
        "aws_lambda_function" => named(
            &|name| {
                let arn = format!("arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}");
                let path = format!(
                    "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations"
                );
                vec![("id", name.to_owned()), ("arn", arn), ("invoke_arn", path)]
            },
            "function_name",
        ),
        "aws_dynamodb_table" => named(
            &|name| {
                let arn = format!("arn:aws:dynamodb:{region}:{ACCOUNT_ID}:table/{name}");
                vec![("id", name.to_owned()), ("arn", arn)]
            },
            "name",
        ),
        "aws_cloudwatch_log_group" => named(
            &|name| {
                let arn = format!("arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:{name}");
                vec![("id", name.to_owned()), ("arn", arn)]
            },
            "name",
        ),
        "data.aws_region" => vec![("name", region.to_owned()), ("region", region.to_owned())],
        "data.aws_caller_identity" => vec![
            ("account_id", ACCOUNT_ID.to_owned()),
            ("arn", format!("arn:aws:iam::{ACCOUNT_ID}:root")),
        ],
        "data.aws_partition" => vec![
            ("partition", "aws".to_owned()),
            ("dns_suffix", "amazonaws.com".to_owned()),
        ],
        "random_id" => {
            let drawn = drawn(&instance.address);
            vec![
                ("id", drawn.clone()),
                ("hex", drawn.clone()),
                ("dec", drawn),
            ]
        }
        "random_pet" => vec![("id", drawn(&instance.address))],
        "random_string" | "random_integer" => vec![("result", drawn(&instance.address))],
        // Its output_path is an argument; other data sources tell what only AWS knows.
        kind if kind.starts_with("data.") => Vec::new(),
        // An identifier only has to be the instance's own.
        _ => vec![("id", instance.address.clone())],
    }
}

/// What a resource of the `random` provider has drawn: eight digits, which fit any name. The same ones at each start, so
/// that kept tables are found again, and its own, so that two names do not meet.
fn drawn(address: &str) -> String {
    const RANGE: u64 = 90_000_000;
    let hash = address
        .bytes()
        .fold(0, |hash, byte| (hash * 257 + u64::from(byte)) % RANGE);
    (10_000_000 + hash).to_string()
}
