locals {
  # One line per request, without message bodies: $context.error.message is a text of the gateway.
  access_log_format = jsonencode({
    requestId          = "$context.requestId"
    requestTime        = "$context.requestTime"
    eventType          = "$context.eventType"
    routeKey           = "$context.routeKey"
    connectionId       = "$context.connectionId"
    sourceIp           = "$context.identity.sourceIp"
    status             = "$context.status"
    integrationStatus  = "$context.integrationStatus"
    integrationLatency = "$context.integrationLatency"
    integrationError   = "$context.integrationErrorMessage"
    error              = "$context.error.message"
  })

  alarm_actions = compact([var.alarm_topic_arn])
  api_metric    = ["ApiId", aws_apigatewayv2_api.main.id, "Stage", var.stage]
  api_dimension = { ApiId = aws_apigatewayv2_api.main.id, Stage = var.stage }
  observed      = var.observability ? local.functions : {}

  function_names = { for key, function in aws_lambda_function.main : key => function.function_name }
  table_names = {
    connections = aws_dynamodb_table.connections.name
    messages    = aws_dynamodb_table.messages.name
    users       = aws_dynamodb_table.users.name
  }
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/apigateway/${local.prefix}-access"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# Counts functions that fail as a whole, do not answer in time or may not be invoked.
resource "aws_cloudwatch_metric_alarm" "integration_errors" {
  count = var.observability ? 1 : 0

  alarm_name          = "${local.prefix}-integration-errors"
  alarm_description   = "Clients get \"Internal server error\" frames. The access log names the route, the log of its function the cause."
  namespace           = "AWS/ApiGateway"
  metric_name         = "IntegrationError"
  dimensions          = local.api_dimension
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  # Without traffic there is no data, and that is not a fault. The same holds for all alarms below.
  treat_missing_data = "notBreaching"
  alarm_actions      = local.alarm_actions
  ok_actions         = local.alarm_actions
}

# Not of the authorizer: a handshake without a token is an error of it, since only an error makes API Gateway answer 401.
resource "aws_cloudwatch_metric_alarm" "function_errors" {
  for_each = { for key, function in local.observed : key => function if key != "authorize" }

  alarm_name          = "${local.prefix}-${each.key}-errors"
  alarm_description   = "The function ${each.key} fails. Its log names the cause."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = local.function_names[each.key] }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

# Nobody can connect: the authorizer has no keys, and the issuer does not answer.
resource "aws_cloudwatch_log_metric_filter" "keys_unavailable" {
  count = contains(keys(local.observed), "authorize") ? 1 : 0

  name           = "${local.prefix}-keys-unavailable"
  log_group_name = aws_cloudwatch_log_group.function["authorize"].name
  pattern        = "\"the issuer does not answer\""

  metric_transformation {
    name      = "${local.prefix}-keys-unavailable"
    namespace = "Roomchat"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "keys_unavailable" {
  count = length(aws_cloudwatch_log_metric_filter.keys_unavailable)

  alarm_name          = "${local.prefix}-keys-unavailable"
  alarm_description   = "Nobody can connect: the issuer's keys cannot be fetched. See the log of the function authorize for the reason."
  namespace           = "Roomchat"
  metric_name         = "${local.prefix}-keys-unavailable"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "function_throttles" {
  for_each = local.observed

  alarm_name          = "${local.prefix}-${each.key}-throttles"
  alarm_description   = "Invocations of the function ${each.key} are refused: raise the account's Lambda concurrency, or reserved_concurrency."
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  dimensions          = { FunctionName = local.function_names[each.key] }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "function_duration" {
  for_each = local.observed

  alarm_name          = "${local.prefix}-${each.key}-duration"
  alarm_description   = "Invocations of the function ${each.key} take more than 80 % of its time limit of ${each.value.timeout_seconds} s."
  namespace           = "AWS/Lambda"
  metric_name         = "Duration"
  dimensions          = { FunctionName = local.function_names[each.key] }
  extended_statistic  = "p99"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = each.value.timeout_seconds * 1000 * 0.8
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "table_throttles" {
  # Without identity nothing reads the table of users.
  for_each = { for key, name in local.table_names : key => name if var.observability && (key != "users" || local.identity) }

  alarm_name          = "${each.value}-throttles"
  alarm_description   = "DynamoDB refuses requests to the table ${each.key}: one room or connection is too busy for its partition."
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  # ThrottledRequests has a value for each operation, these two have one for the table: their sum misses no operation.
  # SUM(METRICS()) and not reads + writes, which has no value while one of the metrics has none.
  metric_query {
    id          = "throttles"
    expression  = "SUM(METRICS())"
    label       = "Throttled reads and writes"
    return_data = true
  }

  metric_query {
    id = "reads"

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ReadThrottleEvents"
      dimensions  = { TableName = each.value }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "writes"

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "WriteThrottleEvents"
      dimensions  = { TableName = each.value }
      stat        = "Sum"
      period      = 60
    }
  }
}

resource "aws_cloudwatch_dashboard" "main" {
  count = var.observability ? 1 : 0

  dashboard_name = local.prefix
  dashboard_body = jsonencode({
    widgets = [
      for position, widget in [
        {
          title   = "Messages and connections"
          stat    = "Sum"
          metrics = [for metric in ["MessageCount", "ConnectCount"] : concat(["AWS/ApiGateway", metric], local.api_metric)]
        },
        {
          title   = "What clients were refused"
          stat    = "Sum"
          metrics = [for metric in ["ClientError", "IntegrationError", "ExecutionError"] : concat(["AWS/ApiGateway", metric], local.api_metric)]
        },
        {
          title   = "Function duration, p99"
          stat    = "p99"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "Duration", "FunctionName", name]]
        },
        {
          title   = "Function errors"
          stat    = "Sum"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "Errors", "FunctionName", name]]
        },
        {
          title   = "Functions at once"
          stat    = "Maximum"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", name]]
        },
        {
          title = "Table units"
          stat  = "Sum"
          metrics = [
            for pair in setproduct(["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"], values(local.table_names)) :
            ["AWS/DynamoDB", pair[0], "TableName", pair[1]]
          ]
        },
        ] : {
        type       = "metric"
        x          = position % 2 * 12
        y          = floor(position / 2) * 6
        width      = 12
        height     = 6
        properties = merge(widget, { view = "timeSeries", region = var.region, period = 60 })
      }
    ]
  })
}
