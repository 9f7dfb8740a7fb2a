# Data sources that need no cloud, and an alias of a function.

variable "region" { default = "ap-southeast-2" }

provider "aws" {
  alias  = "other"
  region = "us-west-1"
}

provider "aws" {
  region = var.region
}

resource "aws_apigatewayv2_api" "ws" {
  name                       = "sources"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

data "aws_region" "here" {}
data "aws_caller_identity" "me" {}
data "aws_partition" "this" {}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "f" {
  name               = "sources"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "template_file" "greeting" {
  template = "hello $${who}"
  vars     = { who = "world" }
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.f.function_name
  function_version = aws_lambda_function.f.version
}

resource "aws_lambda_function" "f" {
  function_name = "f"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"

  environment {
    variables = {
      APP_ARN      = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.me.account_id}:role/x"
      APP_GREETING = data.template_file.greeting.rendered
      APP_REGION   = data.aws_region.here.name
      APP_ROLE     = aws_iam_role.f.arn
    }
  }
}

resource "aws_apigatewayv2_integration" "default" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_alias.live.invoke_arn
}

resource "aws_apigatewayv2_route" "default" {
  api_id                              = aws_apigatewayv2_api.ws.id
  route_key                           = "$default"
  target                              = "integrations/${aws_apigatewayv2_integration.default.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "default" {
  api_id             = aws_apigatewayv2_api.ws.id
  route_id           = aws_apigatewayv2_route.default.id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_integration" "versioned" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f.qualified_invoke_arn
}

resource "aws_apigatewayv2_route" "versioned" {
  api_id                              = aws_apigatewayv2_api.ws.id
  route_key                           = "versioned"
  target                              = "integrations/${aws_apigatewayv2_integration.versioned.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "versioned" {
  api_id             = aws_apigatewayv2_api.ws.id
  route_id           = aws_apigatewayv2_route.versioned.id
  route_response_key = "$default"
}
