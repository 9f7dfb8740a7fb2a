# Code that builds the host of the management API by itself, from the id of the API.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "hosts"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id = aws_apigatewayv2_api.ws.id
  name   = "live"
}

resource "aws_dynamodb_table" "notes" {
  name     = "hosts-notes"
  hash_key = "id"

  attribute {
    name = "id"
    type = "S"
  }
}

locals {
  functions = {
    "$default" = { runtime = "python3.12", handler = "python.handler" }
    node       = { runtime = "nodejs20.x", handler = "node.handler" }
  }
}

resource "aws_lambda_function" "all" {
  for_each      = local.functions
  function_name = "hosts-${trimprefix(each.key, "$")}"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = each.value.runtime
  handler       = each.value.handler
  filename      = "src"
  environment { variables = { API_ID = aws_apigatewayv2_api.ws.id } }
}

resource "aws_apigatewayv2_integration" "all" {
  for_each         = aws_lambda_function.all
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = each.value.invoke_arn
}

resource "aws_apigatewayv2_route" "all" {
  for_each  = aws_apigatewayv2_integration.all
  api_id    = aws_apigatewayv2_api.ws.id
  route_key = each.key
  target    = "integrations/${each.value.id}"
}
