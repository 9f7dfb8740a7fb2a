//! Notices about declared resources that do not run here, with their replacements.

use super::is_websocket;
use crate::account::API_ID;
use crate::terraform::{Instance, Module};

/// Resource types that invoke a function on AWS and do not run here, with the argument that names the function.
const TRIGGERS: [(&str, &str); 8] = [
    ("aws_lambda_event_source_mapping", "function_name"),
    ("aws_sns_topic_subscription", "endpoint"),
    ("aws_cloudwatch_event_target", "arn"),
    ("aws_cloudwatch_log_subscription_filter", "destination_arn"),
    ("aws_lambda_function_url", "function_name"),
    ("aws_scheduler_schedule", "target"),
    ("aws_pipes_pipe", "target"),
    ("aws_s3_bucket_notification", "lambda_function"),
];

/// A notice for each thing.
pub(super) fn of(module: &Module) -> Vec<String> {
    let mut notices = Vec::new();
    let called = |one: &Instance| one.string("name").unwrap_or_else(|_| one.address.clone());
    for api in module.instances("aws_apigatewayv2_api") {
        let is_served = matches!(api.get("id"), Ok(Some(id)) if id.as_str() == Some(API_ID));
        if !is_served {
            let kind = if is_websocket(api) {
                "WebSocket"
            } else {
                "HTTP"
            };
            notices.push(format!(
                "{}: the {kind} API {} is not served.",
                api.place,
                called(api)
            ));
        }
    }
    for api in module.instances("aws_api_gateway_rest_api") {
        notices.push(format!(
            "{}: the REST API {} is not served.",
            api.place,
            called(api)
        ));
    }
    for (kind, argument) in TRIGGERS {
        for trigger in module.instances(kind) {
            if let Some(function) = triggered(module, trigger, argument) {
                notices.push(format!(
                    "{}: {} does not run here; `aws lambda invoke --endpoint-url http://127.0.0.1:PORT --function-name {function}` stands in for it.",
                    trigger.place, trigger.address
                ));
            }
        }
    }
    notices
}

/// The function that a trigger invokes, if it is a function.
fn triggered(module: &Module, trigger: &Instance, argument: &str) -> Option<String> {
    let target = match trigger.optional_string(argument) {
        Ok(Some(target)) => target,
        // The function stands in a block.
        Ok(None) => {
            let block = trigger.blocks(argument).ok()?.into_iter().next()?;
            let names = ["arn", "lambda_function_arn"];
            names
                .into_iter()
                .find_map(|name| block.optional_string(name).ok().flatten())?
        }
        Err(_) => return None,
    };
    let name = target.split(":function:").last().unwrap_or_default();
    let name = name.split([':', '/']).next().unwrap_or_default();
    let is_declared = module
        .instances("aws_lambda_function")
        .any(|f| matches!(f.optional_string("function_name"), Ok(Some(own)) if own == name));
    is_declared.then(|| name.to_owned())
}
