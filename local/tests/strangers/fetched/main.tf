# The routes come from a module of a registry, and one more module has nothing to do with the API.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "fetched"
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
      APP_ROUTES = join(",", module.routes.keys)
    }
  }
}

module "routes" {
  source  = "example/websocket-routes/aws"
  version = "1.2.3"

  api_id     = aws_apigatewayv2_api.ws.id
  invoke_arn = aws_lambda_function.f.invoke_arn
  keys       = ["$default", "ping"]
}

module "site" {
  source = "git::https://example.com/static-site.git?ref=v2"
  folder = "site"
}
