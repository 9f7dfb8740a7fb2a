variable "api" { type = map(string) }
variable "key" {}
variable "name" {}
variable "labels" { type = set(string) }

module "function" {
  source = "../function"
  count  = 1
  name   = var.name
  environment = {
    APP_URL    = var.api.url
    APP_OTHERS = join(",", var.labels)
  }
}

resource "aws_apigatewayv2_integration" "this" {
  api_id           = var.api["id"]
  integration_type = "AWS_PROXY"
  integration_uri  = module.function[0].invoke_arn
}

resource "aws_apigatewayv2_route" "this" {
  api_id                              = var.api.id
  route_key                           = var.key
  target                              = "integrations/${aws_apigatewayv2_integration.this.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "this" {
  api_id             = var.api.id
  route_id           = aws_apigatewayv2_route.this.id
  route_response_key = "$default"
}
