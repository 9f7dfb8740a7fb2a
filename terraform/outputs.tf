output "function_names" {
  description = "Name of each function, for `aws lambda` and the console."
  value       = local.function_names
}

output "log_groups" {
  description = "Log group of each function and of the access log, for `aws logs tail`."
  value = merge(
    { for key, group in aws_cloudwatch_log_group.function : key => group.name },
    { access = aws_cloudwatch_log_group.access.name },
  )
}

output "management_endpoint" {
  description = "Endpoint of the @connections API, for `aws apigatewaymanagementapi --endpoint-url`."
  value       = local.management_endpoint
}

output "table_names" {
  description = "Name of each table, for `aws dynamodb`."
  value       = local.table_names
}

output "websocket_url" {
  description = "URL that clients connect to. Append ?room=…&user=…"
  value       = var.custom_domain == null ? aws_apigatewayv2_stage.main.invoke_url : "wss://${var.custom_domain.name}"
}
