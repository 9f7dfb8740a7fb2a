variable "api_id" { type = string }
variable "invoke_arn" { type = string }
variable "keys" { type = list(string) }

resource "aws_apigatewayv2_integration" "all" {
  api_id           = var.api_id
  integration_type = "AWS_PROXY"
  integration_uri  = var.invoke_arn
}

resource "aws_apigatewayv2_route" "all" {
  count                               = length(var.keys)
  api_id                              = var.api_id
  route_key                           = element(var.keys, count.index)
  target                              = "integrations/${aws_apigatewayv2_integration.all.id}"
  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "all" {
  count              = length(var.keys)
  api_id             = var.api_id
  route_id           = aws_apigatewayv2_route.all[count.index].id
  route_response_key = "$default"
}

output "keys" { value = aws_apigatewayv2_route.all[*].route_key }
