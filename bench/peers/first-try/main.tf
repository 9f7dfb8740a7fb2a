# A chat as people write it first, behind our gateway: bench/functions/src/bin/first-try.rs.

variable "publish" {
  type        = string
  description = "How a message reaches the room: one-scan or one-by-one."
}

provider "aws" {
  region = "us-east-1"
}

locals {
  routes = { connect = "$connect", disconnect = "$disconnect", publish = "publish" }
}

resource "aws_dynamodb_table" "connections" {
  name         = "connections"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "connectionId"

  attribute {
    name = "connectionId"
    type = "S"
  }

  attribute {
    name = "room"
    type = "S"
  }

  global_secondary_index {
    name            = "room-index"
    hash_key        = "room"
    projection_type = "ALL"
  }
}

resource "aws_apigatewayv2_api" "main" {
  name                       = "first-try"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_lambda_function" "main" {
  for_each = local.routes

  function_name = each.key
  role          = "arn:aws:iam::000000000000:role/first-try"
  runtime       = "provided.al2023"
  handler       = each.key == "publish" ? var.publish : each.key
  filename      = "${each.key}.zip"
  memory_size   = 1769
  timeout       = 28

  environment {
    variables = { TABLE = aws_dynamodb_table.connections.name }
  }
}

resource "aws_apigatewayv2_integration" "main" {
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.main.id
  integration_type   = "AWS_PROXY"
  integration_method = "POST"
  integration_uri    = aws_lambda_function.main[each.key].invoke_arn
}

resource "aws_apigatewayv2_route" "main" {
  for_each = local.routes

  api_id                              = aws_apigatewayv2_api.main.id
  route_key                           = each.value
  target                              = "integrations/${aws_apigatewayv2_integration.main[each.key].id}"
  route_response_selection_expression = each.key == "publish" ? "$default" : null
}

resource "aws_apigatewayv2_route_response" "publish" {
  api_id             = aws_apigatewayv2_api.main.id
  route_id           = aws_apigatewayv2_route.main["publish"].id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_stage" "main" {
  api_id      = aws_apigatewayv2_api.main.id
  name        = "prod"
  auto_deploy = true
}
