# Everything that invokes functions and is not a WebSocket API.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "events"
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
      APP_TOPIC   = aws_sns_topic.news.arn
      APP_MACHINE = aws_sfn_state_machine.pinger.arn
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

resource "aws_sqs_queue" "work" {
  name = "work"
}

resource "aws_lambda_event_source_mapping" "work" {
  event_source_arn = aws_sqs_queue.work.arn
  function_name    = aws_lambda_function.worker.arn
}

resource "aws_sfn_state_machine" "pinger" {
  name       = "pinger"
  role_arn   = "arn:aws:iam::000000000000:role/states"
  definition = jsonencode({ StartAt = "Done", States = { Done = { Type = "Succeed" } } })
}

resource "aws_sns_topic" "news" {
  name = "news"
}

resource "aws_sns_topic_subscription" "news" {
  topic_arn = aws_sns_topic.news.arn
  protocol  = "lambda"
  endpoint  = aws_lambda_function.f.arn
}

resource "aws_cloudwatch_event_rule" "hourly" {
  name                = "hourly"
  schedule_expression = "rate(1 hour)"
}

resource "aws_cloudwatch_event_target" "hourly" {
  rule = aws_cloudwatch_event_rule.hourly.name
  arn  = aws_lambda_function.image.arn
}

resource "aws_lambda_function" "worker" {
  function_name = "worker"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "java21"
  handler       = "example.Worker::handle"
  filename      = "target/worker.jar"
  environment { variables = { QUEUE = aws_sqs_queue.work.url } }
}

resource "aws_lambda_function" "image" {
  function_name = "image"
  role          = "arn:aws:iam::000000000000:role/lambda"
  package_type  = "Image"
  image_uri     = "${aws_ecr_repository.images.repository_url}:latest"
}

resource "aws_ecr_repository" "images" {
  name = "images"
}
