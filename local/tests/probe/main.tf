# An API written as people write them, one resource after the other, with a function in another language. The gateway's
# conformance tests run it; nothing here knows of chat.

variable "stage" {
  type    = string
  default = "prod"
}

variable "probe_timeout" {
  type    = number
  default = 2
}

variable "integration_timeout" {
  type    = number
  default = 29000
}

variable "probe_rate" {
  type    = number
  default = 100
}

variable "probe_burst" {
  type    = number
  default = 50
}

variable "concurrency" {
  type    = number
  default = -1
}

provider "aws" {
  region = "eu-central-1"
}

resource "aws_apigatewayv2_api" "probe" {
  name                       = "probe"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_lambda_function" "probe" {
  function_name                  = "probe"
  role                           = "arn:aws:iam::000000000000:role/probe"
  runtime                        = "provided.al2023"
  handler                        = "some.handler"
  filename                       = "${path.module}/function"
  memory_size                    = 256
  timeout                        = var.probe_timeout
  reserved_concurrent_executions = var.concurrency

  environment {
    variables = {
      GREETING = format("hello from %s", aws_apigatewayv2_api.probe.name)
    }
  }
}

resource "aws_apigatewayv2_integration" "probe" {
  api_id               = aws_apigatewayv2_api.probe.id
  integration_type     = "AWS_PROXY"
  integration_method   = "POST"
  integration_uri      = aws_lambda_function.probe.invoke_arn
  timeout_milliseconds = var.integration_timeout
}

resource "aws_apigatewayv2_route" "connect" {
  api_id    = aws_apigatewayv2_api.probe.id
  route_key = "$connect"
  target    = "integrations/${aws_apigatewayv2_integration.probe.id}"
}

resource "aws_apigatewayv2_route" "disconnect" {
  api_id    = aws_apigatewayv2_api.probe.id
  route_key = "$disconnect"
  target    = "integrations/${aws_apigatewayv2_integration.probe.id}"
}

# Answers its caller.
resource "aws_apigatewayv2_route" "probe" {
  api_id                              = aws_apigatewayv2_api.probe.id
  route_key                           = "probe"
  target                              = "integrations/${aws_apigatewayv2_integration.probe.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "probe" {
  api_id             = aws_apigatewayv2_api.probe.id
  route_id           = aws_apigatewayv2_route.probe.id
  route_response_key = "$default"
}

# Does not: it has no route response.
resource "aws_apigatewayv2_route" "oneway" {
  api_id    = aws_apigatewayv2_api.probe.id
  route_key = "oneway"
  target    = "integrations/${aws_apigatewayv2_integration.probe.id}"
}

resource "aws_apigatewayv2_stage" "probe" {
  api_id      = aws_apigatewayv2_api.probe.id
  name        = var.stage
  auto_deploy = true

  stage_variables = {
    colour = "green"
  }

  route_settings {
    route_key              = "probe"
    throttling_rate_limit  = var.probe_rate
    throttling_burst_limit = var.probe_burst
  }
}
