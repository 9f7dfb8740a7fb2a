output "function_names" {
  description = "Name of each function, for `aws lambda` and the console."
  value       = { for key, function in aws_lambda_function.main : key => function.function_name }
}

output "log_groups" {
  description = "Log group of each function, for `aws logs tail`."
  value       = { for key, group in aws_cloudwatch_log_group.function : key => group.name }
}

output "management_endpoint" {
  description = "Endpoint of the @connections API, for `aws apigatewaymanagementapi --endpoint-url`."
  value       = "${replace(aws_apigatewayv2_api.main.api_endpoint, "wss://", "https://")}/${var.stage}"
}

output "table_names" {
  description = "Name of each table, for `aws dynamodb`."
  value       = { connections = aws_dynamodb_table.connections.name, messages = aws_dynamodb_table.messages.name }
}

output "websocket_url" {
  description = "Where clients connect: append ?room=…&user=…"
  value       = aws_apigatewayv2_stage.main.invoke_url
}
