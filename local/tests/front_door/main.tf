# An API whose front door has everything that can stand there: an authorizer, an API key, mocks with templates. The
# gateway's tests run it; nothing here knows of chat.

variable "authorization" {
  type    = string
  default = "CUSTOM"
}

variable "key_required" {
  type    = bool
  default = false
}

variable "key_source" {
  type    = string
  default = "$request.header.x-api-key"
}

# "function" or "mock"
variable "connect" {
  type    = string
  default = "function"
}

variable "stage_variables" {
  type    = map(string)
  default = {}
}

provider "aws" {
  region = "eu-central-1"
}

resource "aws_apigatewayv2_api" "main" {
  name                         = "front-door"
  protocol_type                = "WEBSOCKET"
  route_selection_expression   = "$request.body.action"
  api_key_selection_expression = var.key_source
}

resource "aws_lambda_function" "main" {
  for_each = toset(["authorizer", "echo"])

  function_name = each.key
  role          = "arn:aws:iam::000000000000:role/front-door"
  runtime       = "provided.al2023"
  handler       = "some.handler"
  filename      = "${path.module}/function"
  timeout       = 5
}

resource "aws_apigatewayv2_authorizer" "main" {
  api_id           = aws_apigatewayv2_api.main.id
  name             = "front-door"
  authorizer_type  = "REQUEST"
  authorizer_uri   = aws_lambda_function.main["authorizer"].invoke_arn
  identity_sources = ["route.request.header.X-Who", "route.request.querystring.do"]
}

resource "aws_apigatewayv2_integration" "echo" {
  api_id             = aws_apigatewayv2_api.main.id
  integration_type   = "AWS_PROXY"
  integration_method = "POST"
  integration_uri    = aws_lambda_function.main["echo"].invoke_arn
}

resource "aws_apigatewayv2_integration" "mock" {
  api_id                        = aws_apigatewayv2_api.main.id
  integration_type              = "MOCK"
  template_selection_expression = "\\$default"
  passthrough_behavior          = "NEVER"

  request_templates = {
    "$default" = <<-VTL
      #set($status = $input.path('$.status'))
      #if($context.routeKey == '$connect') #set($status = $stageVariables.status) #end
      { "statusCode": $status, "items": $input.json('$.items') }
    VTL
  }
}

resource "aws_apigatewayv2_integration_response" "ok" {
  api_id                   = aws_apigatewayv2_api.main.id
  integration_id           = aws_apigatewayv2_integration.mock.id
  integration_response_key = "/2\\d\\d/"

  response_templates = {
    "$default" = <<-VTL
      {"to":"$context.authorizer.principalId","sum":"#foreach($item in $input.path('$.items'))$item#if($foreach.hasNext)+#end#end"}
    VTL
  }
}

resource "aws_apigatewayv2_integration_response" "teapot" {
  api_id                        = aws_apigatewayv2_api.main.id
  integration_id                = aws_apigatewayv2_integration.mock.id
  integration_response_key      = "/418/"
  template_selection_expression = "$${integration.response.statuscode}"
  response_templates            = { "418" = "short and stout" }
}

resource "aws_apigatewayv2_route" "connect" {
  api_id             = aws_apigatewayv2_api.main.id
  route_key          = "$connect"
  target             = "integrations/${var.connect == "mock" ? aws_apigatewayv2_integration.mock.id : aws_apigatewayv2_integration.echo.id}"
  authorization_type = var.authorization
  authorizer_id      = var.authorization == "CUSTOM" ? aws_apigatewayv2_authorizer.main.id : null
  api_key_required   = var.key_required
}

resource "aws_apigatewayv2_route" "disconnect" {
  api_id    = aws_apigatewayv2_api.main.id
  route_key = "$disconnect"
  target    = "integrations/${aws_apigatewayv2_integration.echo.id}"
}

resource "aws_apigatewayv2_route" "two_way" {
  for_each = { echo = aws_apigatewayv2_integration.echo.id, mock = aws_apigatewayv2_integration.mock.id }

  api_id                              = aws_apigatewayv2_api.main.id
  route_key                           = each.key
  target                              = "integrations/${each.value}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "two_way" {
  for_each = aws_apigatewayv2_route.two_way

  api_id             = aws_apigatewayv2_api.main.id
  route_id           = each.value.id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_route" "quiet" {
  api_id    = aws_apigatewayv2_api.main.id
  route_key = "quiet"
  target    = "integrations/${aws_apigatewayv2_integration.mock.id}"
}

resource "aws_apigatewayv2_stage" "main" {
  api_id          = aws_apigatewayv2_api.main.id
  name            = "prod"
  auto_deploy     = true
  stage_variables = var.stage_variables
}

resource "aws_api_gateway_api_key" "main" {
  for_each = { good = "a-key-of-twenty-chars", disabled = "another-key-of-twenty", planless = "a-key-without-a-plan" }

  name    = each.key
  value   = each.value
  enabled = each.key != "disabled"
}

resource "aws_api_gateway_usage_plan" "main" {
  name = "front-door"

  api_stages {
    api_id = aws_apigatewayv2_api.main.id
    stage  = aws_apigatewayv2_stage.main.name
  }
}

resource "aws_api_gateway_usage_plan_key" "main" {
  for_each = toset(["good", "disabled"])

  key_id        = aws_api_gateway_api_key.main[each.key].id
  key_type      = "API_KEY"
  usage_plan_id = aws_api_gateway_usage_plan.main.id
}
