# Functions made with count, which share a label.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "counted"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

locals { routes = ["$default", "left", "right"] }

resource "aws_lambda_function" "worker" {
  count         = length(local.routes)
  function_name = "counted-${trimprefix(local.routes[count.index], "$")}"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "./src"
  environment { variables = { APP_INDEX = count.index } }
}

resource "aws_apigatewayv2_integration" "worker" {
  count            = length(local.routes)
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.worker.*.invoke_arn[count.index]
}

resource "aws_apigatewayv2_route" "worker" {
  count     = length(local.routes)
  api_id    = aws_apigatewayv2_api.ws.id
  route_key = local.routes[count.index]
  target    = "integrations/${aws_apigatewayv2_integration.worker[count.index].id}"
}
