# Two WebSocket APIs, one of them with two stages, beside an HTTP and a REST API, all with one function.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "first"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

resource "aws_apigatewayv2_stage" "next" {
  api_id = aws_apigatewayv2_api.ws.id
  name   = "next"
}

resource "aws_apigatewayv2_api" "second" {
  name                       = "second"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.kind"
}

resource "aws_apigatewayv2_stage" "second" {
  api_id = aws_apigatewayv2_api.second.id
  name   = "only"
}

resource "aws_apigatewayv2_api" "http" {
  name          = "pages"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_stage" "http" {
  api_id = aws_apigatewayv2_api.http.id
  name   = "$default"
}

resource "aws_apigatewayv2_integration" "http" {
  api_id                 = aws_apigatewayv2_api.http.id
  integration_type       = "HTTP_PROXY"
  integration_method     = "GET"
  integration_uri        = "https://example.com"
  payload_format_version = "2.0"
}

resource "aws_apigatewayv2_route" "http" {
  api_id    = aws_apigatewayv2_api.http.id
  route_key = "GET /pages"
  target    = "integrations/${aws_apigatewayv2_integration.http.id}"
}

resource "aws_api_gateway_rest_api" "old" {
  name = "old"
}

resource "aws_lambda_function" "f" {
  function_name = "f"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"

  environment {
    variables = {
      APP_NAME = "apis"
    }
  }
}

resource "aws_apigatewayv2_integration" "first" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f.invoke_arn
}

resource "aws_apigatewayv2_route" "first" {
  api_id                              = aws_apigatewayv2_api.ws.id
  route_key                           = "$default"
  target                              = "integrations/${aws_apigatewayv2_integration.first.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "first" {
  api_id             = aws_apigatewayv2_api.ws.id
  route_id           = aws_apigatewayv2_route.first.id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_integration" "second" {
  api_id           = aws_apigatewayv2_api.second.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f.invoke_arn
}

resource "aws_apigatewayv2_route" "second" {
  api_id                              = aws_apigatewayv2_api.second.id
  route_key                           = "other"
  target                              = "integrations/${aws_apigatewayv2_integration.second.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "second" {
  api_id             = aws_apigatewayv2_api.second.id
  route_id           = aws_apigatewayv2_route.second.id
  route_response_key = "$default"
}
