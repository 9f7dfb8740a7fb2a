# Three routes with a route response; one of them does not select it.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "responses"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

resource "aws_lambda_function" "f" {
  function_name = "f"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"

  environment {
    variables = {
      APP_X = "1"
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

resource "aws_apigatewayv2_integration" "forgotten" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f.invoke_arn
}

resource "aws_apigatewayv2_route" "forgotten" {
  api_id    = aws_apigatewayv2_api.ws.id
  route_key = "forgotten"
  target    = "integrations/${aws_apigatewayv2_integration.forgotten.id}"
}

resource "aws_apigatewayv2_route_response" "forgotten" {
  api_id             = aws_apigatewayv2_api.ws.id
  route_id           = aws_apigatewayv2_route.forgotten.id
  route_response_key = "$default"
}
