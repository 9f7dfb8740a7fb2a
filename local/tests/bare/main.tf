# The probe behind an API that has nothing it need not have: no $connect, no $disconnect, no stage variables. Every
# route answers. Some functions never get as far as their first event.

locals {
  routes = {
    "$default"   = "answers"
    "join"       = "answers"
    "5"          = "answers"
    "true"       = "answers"
    "init-exit"  = "exit"
    "init-error" = "error"
    "init-hang"  = "hang"
  }
  init = {
    answers = ""
    exit    = "exit"
    error   = "error"
    hang    = "hang"
  }
}

provider "aws" {
  region = "eu-central-1"
}

resource "aws_apigatewayv2_api" "bare" {
  name                       = "bare"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_lambda_function" "bare" {
  for_each = local.init

  function_name = "bare-${each.key}"
  role          = "arn:aws:iam::000000000000:role/bare"
  runtime       = "provided.al2023"
  handler       = "some.handler"
  filename      = "${path.module}/../probe/function"
  timeout       = 5

  environment {
    variables = {
      INIT = each.value
    }
  }
}

resource "aws_apigatewayv2_integration" "bare" {
  for_each = local.init

  api_id           = aws_apigatewayv2_api.bare.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.bare[each.key].invoke_arn
}

resource "aws_apigatewayv2_route" "bare" {
  for_each = local.routes

  api_id                              = aws_apigatewayv2_api.bare.id
  route_key                           = each.key
  target                              = "integrations/${aws_apigatewayv2_integration.bare[each.value].id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "bare" {
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.bare.id
  route_id           = aws_apigatewayv2_route.bare[each.key].id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_stage" "bare" {
  api_id      = aws_apigatewayv2_api.bare.id
  name        = "prod"
  auto_deploy = true
}
