# Functions that are invoked by Lambda's Invoke API, with and without settings for their asynchronous events.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "invoked"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

locals {
  functions = {
    usual     = {}
    once      = {}
    young     = {}
    throttled = { concurrency = 0 }
    caller    = { handler = "app.call" }
  }
}

resource "aws_lambda_function" "f" {
  for_each                       = local.functions
  function_name                  = each.key
  role                           = "arn:aws:iam::000000000000:role/lambda"
  runtime                        = "python3.12"
  handler                        = lookup(each.value, "handler", "app.handle")
  filename                       = "${path.module}/src"
  timeout                        = 30
  reserved_concurrent_executions = lookup(each.value, "concurrency", -1)
}

resource "aws_lambda_function_event_invoke_config" "once" {
  function_name          = aws_lambda_function.f["once"].function_name
  maximum_retry_attempts = 0

  destination_config {
    on_failure { destination = "arn:aws:sqs:us-east-1:000000000000:failures" }
  }
}

resource "aws_lambda_function_event_invoke_config" "young" {
  function_name                = aws_lambda_function.f["young"].arn
  maximum_event_age_in_seconds = 90
}

resource "aws_lambda_function_event_invoke_config" "young_live" {
  function_name          = aws_lambda_function.f["young"].function_name
  qualifier              = "live"
  maximum_retry_attempts = 1
}

resource "aws_lambda_function_event_invoke_config" "throttled" {
  function_name                = aws_lambda_function.f["throttled"].function_name
  maximum_event_age_in_seconds = 60
}

resource "aws_apigatewayv2_integration" "default" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f["usual"].invoke_arn
}

resource "aws_apigatewayv2_route" "default" {
  api_id    = aws_apigatewayv2_api.ws.id
  route_key = "$default"
  target    = "integrations/${aws_apigatewayv2_integration.default.id}"
}
