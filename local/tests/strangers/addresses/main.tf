# The management endpoint in every spelling, none of which may leave the machine.

provider "aws" { region = local.region }

locals { region = "eu-west-3" }

resource "aws_apigatewayv2_api" "ws" {
  name                       = "addresses"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

resource "aws_lambda_function" "poster" {
  function_name = "poster"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"

  environment {
    variables = {
      APP_BY_HAND   = "https://${aws_apigatewayv2_api.ws.id}.execute-api.${local.region}.amazonaws.com/live"
      APP_ELSEWHERE = "https://${aws_apigatewayv2_api.ws.id}.execute-api.us-east-1.amazonaws.com/${aws_apigatewayv2_stage.live.name}/"
      APP_HOST      = replace(aws_apigatewayv2_api.ws.api_endpoint, "/^wss?:\\/\\//", "")
      APP_REPLACED  = replace(aws_apigatewayv2_stage.live.invoke_url, "wss", "https")
      APP_URL       = aws_apigatewayv2_stage.live.invoke_url
    }
  }
}

resource "aws_apigatewayv2_integration" "default" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.poster.invoke_arn
}

resource "aws_apigatewayv2_route" "default" {
  api_id    = aws_apigatewayv2_api.ws.id
  route_key = "$default"
  target    = "integrations/${aws_apigatewayv2_integration.default.id}"
}
