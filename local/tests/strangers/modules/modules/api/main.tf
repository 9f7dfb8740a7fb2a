variable "name" { type = string }

variable "stage" {
  type = object({ name = string, deploys = optional(bool, true) })
}

variable "extra_logs" { type = bool }

resource "aws_apigatewayv2_api" "this" {
  name                       = var.name
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "this" {
  api_id      = aws_apigatewayv2_api.this.id
  name        = var.stage.name
  auto_deploy = var.stage.deploys
}

resource "aws_cloudwatch_log_group" "access" {
  count = var.extra_logs ? 1 : 0
  name  = "/access/${var.name}"
}

output "id" { value = aws_apigatewayv2_api.this.id }
output "url" { value = aws_apigatewayv2_stage.this.invoke_url }
output "logs" { value = one(aws_cloudwatch_log_group.access[*].name) }
