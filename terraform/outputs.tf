output "admin_url" {
  description = "Function URL of the backend's function, or null without admin_url."
  value       = var.admin_url ? aws_lambda_function_url.admin[0].function_url : null
}

output "backend_policy" {
  description = "IAM policy document that a backend needs to call the service: see docs/backend.md."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Chat"
        Effect   = "Allow"
        Action   = concat(["lambda:InvokeFunction"], var.admin_url ? ["lambda:InvokeFunctionUrl"] : [])
        Resource = [aws_lambda_function.main["admin"].arn]
      },
    ]
  })
}

output "function_names" {
  description = "Name of each function, for `aws lambda` and the console."
  value       = local.function_names
}

output "log_groups" {
  description = "Log group of each function and, with access_logs, of the access log, for `aws logs tail`."
  value = merge(
    { for key, group in aws_cloudwatch_log_group.function : key => group.name },
    { for group in aws_cloudwatch_log_group.access : "access" => group.name },
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

output "web_url" {
  description = "URL of the page, or null without web."
  value       = var.web == null ? null : "https://${aws_cloudfront_distribution.web["main"].domain_name}"
}

output "websocket_url" {
  description = "URL that clients connect to. Append ?room=…&user=…"
  value       = local.websocket_url
}
