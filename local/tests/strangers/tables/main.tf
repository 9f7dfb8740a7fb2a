# Tables from a map, with dynamic blocks and a local index.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "tables"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

locals {
  tables = {
    users = { key = "id", indexes = ["email", "team"] }
    items = { key = "owner", sort = "at", indexes = [] }
  }
}

resource "aws_dynamodb_table" "all" {
  for_each     = local.tables
  name         = "app-${each.key}"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = each.value.key
  range_key    = lookup(each.value, "sort", null)

  dynamic "attribute" {
    for_each = compact(concat([each.value.key, lookup(each.value, "sort", ""), "size"], each.value.indexes))
    content {
      name = attribute.value
      type = attribute.value == "at" ? "N" : "S"
    }
  }

  dynamic "global_secondary_index" {
    for_each = toset(concat(each.value.indexes, can(each.value.sort) ? [] : ["size"]))
    iterator = index
    content {
      name            = "by-${index.key}"
      projection_type = "ALL"

      key_schema {
        attribute_name = index.value
        key_type       = "HASH"
      }
    }
  }

  dynamic "local_secondary_index" {
    for_each = can(each.value.sort) ? ["size"] : []
    content {
      name            = "by-${local_secondary_index.value}"
      range_key       = local_secondary_index.value
      projection_type = "KEYS_ONLY"
    }
  }
}

resource "aws_lambda_function" "f" {
  function_name = "f"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"

  environment {
    variables = {
      APP_ITEMS = aws_dynamodb_table.all["items"].name
      APP_USERS = aws_dynamodb_table.all["users"].arn
    }
  }
}

resource "aws_apigatewayv2_integration" "default" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f.invoke_arn
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
