# A layer from a zipped folder for Python, one in place for Node.js, and one of another account.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "layers"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

data "archive_file" "words" {
  type        = "zip"
  source_dir  = "${path.module}/words"
  output_path = "${path.module}/build/words.zip"
}

resource "aws_lambda_layer_version" "words" {
  layer_name = "words"
  filename   = data.archive_file.words.output_path
}

resource "aws_lambda_layer_version" "numbers" {
  layer_name = "numbers"
  filename   = "numbers"
}

resource "aws_lambda_function" "python" {
  function_name = "python"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"
  layers        = [aws_lambda_layer_version.words.arn, "arn:aws:lambda:us-east-1:123456789012:layer:insights:14"]
  environment {
    variables = {
      APP_X = "1"
    }
  }
}

resource "aws_lambda_function" "node" {
  function_name = "node"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "nodejs22.x"
  handler       = "app.handler"
  filename      = "${path.module}/src"
  layers        = [aws_lambda_layer_version.numbers.arn]
  environment {
    variables = {
      APP_X = "1"
    }
  }
}

resource "aws_apigatewayv2_integration" "python" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.python.invoke_arn
}

resource "aws_apigatewayv2_route" "python" {
  api_id                              = aws_apigatewayv2_api.ws.id
  route_key                           = "$default"
  target                              = "integrations/${aws_apigatewayv2_integration.python.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "python" {
  api_id             = aws_apigatewayv2_api.ws.id
  route_id           = aws_apigatewayv2_route.python.id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_integration" "node" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.node.invoke_arn
}

resource "aws_apigatewayv2_route" "node" {
  api_id                              = aws_apigatewayv2_api.ws.id
  route_key                           = "node"
  target                              = "integrations/${aws_apigatewayv2_integration.node.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "node" {
  api_id             = aws_apigatewayv2_api.ws.id
  route_id           = aws_apigatewayv2_route.node.id
  route_response_key = "$default"
}
