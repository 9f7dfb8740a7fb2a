resource "aws_lambda_function" "main" {
  for_each = local.functions

  function_name    = "${local.prefix}-${each.key}"
  role             = aws_iam_role.function[each.key].arn
  runtime          = "provided.al2023"
  handler          = each.key # the program of all functions reads it in _HANDLER
  architectures    = [var.architecture]
  filename         = each.value.package
  source_code_hash = fileexists(each.value.package) ? filebase64sha256(each.value.package) : null
  memory_size      = each.value.memory_mib
  timeout          = each.value.timeout_seconds
  kms_key_arn      = var.kms_key_arn

  reserved_concurrent_executions = var.reserved_concurrency == null ? -1 : var.reserved_concurrency

  environment {
    # A function gets the names of the resources that it may use, and no others.
    variables = merge(
      contains(keys(each.value.access), "connections") ? { CONNECTIONS_TABLE = aws_dynamodb_table.connections.name } : {},
      contains(keys(each.value.access), "messages") ? {
        MESSAGES_TABLE = aws_dynamodb_table.messages.name
        HISTORY_DAYS   = tostring(var.history_days)
      } : {},
      contains(keys(each.value.access), "users") ? { USERS_TABLE = aws_dynamodb_table.users.name } : {},
      contains(keys(each.value.access), "review") ? { REVIEW = jsonencode(var.review) } : {},
      # A variable of the AWS SDK, so that the code sets no endpoint.
      contains(keys(each.value.access), "clients") ? { AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = local.management_endpoint } : {},
      # Those that tell members of something.
      alltrue([for target in ["clients", "room_index"] : contains(keys(each.value.access), target)]) ? {
        LIVE_MAX_MEMBERS = tostring(var.live_max_members)
      } : {},
      # The name under which the function's metrics are found; without it there are none. docs/operations.md lists them.
      var.observability && each.key != "authorize" ? { METRICS_STACK = local.prefix } : {},
      local.identity && each.key != "authorize" ? { AUTH_MODE = "required" } : {},
      local.identity && each.key != "authorize" && !var.direct_messages ? { DIRECT_MESSAGES = "off" } : {},
      each.key == "authorize" && nonsensitive(var.auth_secret != null) ? { AUTH_SECRET = var.auth_secret } : {},
      # Functions that answer frames.
      contains(keys(local.answered_routes), each.key) ? { LIMITS = jsonencode(var.limits) } : {},
      each.value.answers_unknown ? { ACTIONS = join(",", local.actions) } : {},
      each.value.environment,
    )
  }

  logging_config {
    log_format            = "JSON"
    application_log_level = "INFO"
    system_log_level      = "INFO"
    # This reference also makes the group first. Otherwise the first invocation makes a group that never expires.
    log_group = aws_cloudwatch_log_group.function[each.key].name
  }

  tracing_config {
    mode = var.xray ? "Active" : "PassThrough"
  }

  tags = local.tags

  lifecycle {
    precondition {
      condition     = fileexists(each.value.package)
      error_message = "${each.value.package} is missing: run scripts/build.sh first."
    }

    # scripts/build.sh writes the processor of its package into the file beside it.
    precondition {
      condition     = try(trimspace(file("${dirname(each.value.package)}/architecture")), var.architecture) == var.architecture
      error_message = "${each.value.package} is not built for ${var.architecture}: run scripts/build.sh --arch ${var.architecture}."
    }
  }

  # The rights first: otherwise the first invocation can fail.
  depends_on = [aws_iam_role_policy.function]
}

# Needs signed requests of a principal with both lambda:InvokeFunctionUrl and lambda:InvokeFunction.
resource "aws_lambda_function_url" "admin" {
  count = var.admin_url ? 1 : 0

  function_name      = aws_lambda_function.main["admin"].function_name
  authorization_type = "AWS_IAM"
}

# A permission for each route, so that no other API and no other stage can invoke the function.
resource "aws_lambda_permission" "route" {
  for_each = local.function_routes

  statement_id  = "route-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.main[each.value.function].function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.main.execution_arn}/${var.stage}/${each.value.route_key}"
}

# Only this authorizer of this API. API Gateway answers 500 to every handshake without it.
resource "aws_lambda_permission" "authorizer" {
  count = local.identity ? 1 : 0

  statement_id  = "${local.prefix}-authorizer"
  action        = "lambda:InvokeFunction"
  function_name = var.auth != null ? aws_lambda_function.main["authorize"].function_name : var.authorizer_lambda_arn
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.main.execution_arn}/authorizers/${aws_apigatewayv2_authorizer.main[0].id}"
}

resource "aws_cloudwatch_log_group" "function" {
  for_each = local.functions

  name              = "/aws/lambda/${local.prefix}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = local.tags
}
