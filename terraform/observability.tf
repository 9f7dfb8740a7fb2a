locals {
  # Not from a data source: its argument has another name in each major version of the provider.
  region = split(":", aws_apigatewayv2_api.main.execution_arn)[3]

  # Each request has one line, without message bodies: $context.error.message is a text of the gateway.
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

  api_metric    = ["ApiId", aws_apigatewayv2_api.main.id, "Stage", var.stage]
  api_dimension = { ApiId = aws_apigatewayv2_api.main.id, Stage = var.stage }

  function_names = { for key, function in aws_lambda_function.main : key => function.function_name }
  table_names = {
    connections = aws_dynamodb_table.connections.name
    messages    = aws_dynamodb_table.messages.name
    users       = aws_dynamodb_table.users.name
  }
}

resource "aws_cloudwatch_log_group" "access" {
  count = var.access_logs ? 1 : 0

  name              = "/aws/apigateway/${local.prefix}-access"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = local.tags
}


locals {
  # Each alarm on one metric. `users` tells that people get errors, the others that they will, or that money is at stake:
  # each kind has a composite alarm, which is what notifies, so that one outage is one notification.
  #
  # An alarm rings when 3 of 5 minutes reach the threshold. Without traffic there is no data, and that is not a fault.
  simple_alarms = { for key, alarm in merge(
    {
      integration-errors = {
        users       = true
        description = "Clients get \"Internal server error\" frames. The log of the function that fails names the cause."
        metric      = ["AWS/ApiGateway", "IntegrationError", local.api_dimension]
        threshold   = 1
      }
      internal = {
        users       = true
        description = "The service answers with the error internal. Search the logs of the functions for level ERROR."
        metric      = ["Roomchat", "Internal", { Stack = local.prefix }]
        threshold   = 1
      }
      partial = {
        users       = true
        description = "Messages are acknowledged before all members were tried: rooms are too large, or posts too slow."
        metric      = ["Roomchat", "Partial", { Stack = local.prefix }]
        threshold   = 1
      }
      traffic = {
        users       = false
        description = "More messages a minute than alarm_messages_per_minute, in and out: each million costs a dollar."
        metric      = ["AWS/ApiGateway", "MessageCount", local.api_dimension]
        threshold   = var.alarm_messages_per_minute
      }
      connections = {
        users       = false
        description = "More new connections a minute than alarm_connections_per_minute: everybody comes back, or somebody floods."
        metric      = ["AWS/ApiGateway", "ConnectCount", local.api_dimension]
        threshold   = var.alarm_connections_per_minute
      }
    },
    # Not of the authorizer: a handshake without a token is an error of it, since only an error makes API Gateway answer 401.
    {
      for key in keys(local.functions) : "${key}-errors" => {
        users       = true
        description = "The function ${key} fails. Its log names the cause."
        metric      = ["AWS/Lambda", "Errors", { FunctionName = local.function_names[key] }]
        threshold   = 1
      } if key != "authorize"
    },
    {
      for key in keys(local.functions) : "${key}-throttles" => {
        users       = true
        description = "Invocations of the function ${key} are refused: raise the account's Lambda concurrency, or reserved_concurrency."
        metric      = ["AWS/Lambda", "Throttles", { FunctionName = local.function_names[key] }]
        threshold   = 1
      }
    },
    {
      for key, function in local.functions : "${key}-duration" => {
        users       = false
        description = "Invocations of the function ${key} take more than 80 % of its time limit of ${function.timeout_seconds} s."
        metric      = ["AWS/Lambda", "Duration", { FunctionName = local.function_names[key] }]
        statistic   = "p99"
        threshold   = function.timeout_seconds * 1000 * 0.8
      } if key != "deliver" # it runs for as long as a room is busy
    },
    {
      for key, alarm in {
        undelivered = {
          users       = true
          description = "Messages of busy rooms are delivered more than 5 s late: the posts are throttled, or paced.posts_per_second is too small."
          metric      = ["Roomchat", "OldestUndelivered", { Stack = local.prefix }]
          statistic   = "p100"
          threshold   = 5000
        }
        takeovers = {
          users       = false
          description = "The function deliver dies while a room is busy. Its log names the cause; its members get messages late and twice."
          metric      = ["Roomchat", "Takeovers", { Stack = local.prefix }]
          threshold   = 1
        }
      } : key => alarm if var.paced != null
    },
    {
      for filter in aws_cloudwatch_log_metric_filter.keys_unavailable : "keys-unavailable" => {
        users       = true
        description = "Nobody can connect: the issuer's keys cannot be fetched. See the log of the function authorize for the reason."
        metric      = ["Roomchat", filter.name, {}]
        threshold   = 1
      }
    },
  ) : key => alarm if var.observability }

  # Each alarm on an expression over several metrics.
  expression_alarms = { for key, alarm in merge(
    {
      failed-deliveries = {
        users       = true
        description = "More than 5 % of the posts to members fail. The line \"published\" of the log of publish has the first cause."
        threshold   = 5
        # A few posts that fail at night are not an outage.
        expression = "IF(delivered + failed > 100, 100 * failed / (delivered + failed), 0)"
        metrics = {
          delivered = ["Roomchat", "Delivered", { Stack = local.prefix }, "Sum"]
          failed    = ["Roomchat", "Failed", { Stack = local.prefix }, "Sum"]
        }
      }
      concurrency = {
        users       = false
        description = "Lambda runs more than 80 % of the invocations at once that the account's quota allows. Raise the quota."
        threshold   = 80
        expression  = "100 * used / SERVICE_QUOTA(used)"
        metrics = {
          used = ["AWS/Usage", "ResourceCount", local.lambda_quota, "Maximum"]
        }
      }
    },
    # ThrottledRequests has a value for each operation, these two have one for the table: their sum misses no operation.
    # SUM(METRICS()) and not reads + writes, which has no value while one of the metrics has none. Without identity
    # nothing reads the table of users.
    {
      for key, name in local.table_names : "${key}-table-throttles" => {
        users       = true
        description = "DynamoDB refuses requests to the table ${key}: a room is too busy for its partition, or table_units_per_second is reached."
        threshold   = 1
        expression  = "SUM(METRICS())"
        metrics = {
          reads  = ["AWS/DynamoDB", "ReadThrottleEvents", { TableName = name }, "Sum"]
          writes = ["AWS/DynamoDB", "WriteThrottleEvents", { TableName = name }, "Sum"]
        }
      } if key != "users" || local.identity
    },
  ) : key => alarm if var.observability }

  lambda_quota = { Service = "Lambda", Type = "Resource", Resource = "ConcurrentExecutions", Class = "None" }

  composites = {
    users = { alarm = "users-affected", description = "People get errors. The alarms that it names in the console say which." }
    risk  = { alarm = "at-risk", description = "Nobody gets errors yet: something is slow, near its quota, or costs more than usual." }
  }
}

resource "aws_cloudwatch_metric_alarm" "simple" {
  for_each = local.simple_alarms

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.metric[0]
  metric_name         = each.value.metric[1]
  dimensions          = each.value.metric[2]
  statistic           = lookup(each.value, "statistic", null) == null ? "Sum" : null
  extended_statistic  = lookup(each.value, "statistic", null)
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"

  tags = local.tags
}

resource "aws_cloudwatch_metric_alarm" "expression" {
  for_each = local.expression_alarms

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = each.value.description
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "result"
    expression  = each.value.expression
    label       = each.key
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.metrics

    content {
      id = metric_query.key

      metric {
        namespace   = metric_query.value[0]
        metric_name = metric_query.value[1]
        dimensions  = metric_query.value[2]
        stat        = metric_query.value[3]
        period      = 60
      }
    }
  }

  tags = local.tags
}

resource "aws_cloudwatch_composite_alarm" "main" {
  for_each = var.observability ? local.composites : {}

  alarm_name        = "${local.prefix}-${each.value.alarm}"
  alarm_description = each.value.description
  alarm_rule = join(" OR ", [
    for key, alarm in merge(local.simple_alarms, local.expression_alarms) :
    "ALARM(\"${local.prefix}-${key}\")" if alarm.users == (each.key == "users")
  ])
  alarm_actions = compact([var.alarm_topic_arn])
  ok_actions    = compact([var.alarm_topic_arn])

  tags = local.tags

  # The rule names the alarms, and AWS refuses a name that is not there.
  depends_on = [aws_cloudwatch_metric_alarm.simple, aws_cloudwatch_metric_alarm.expression]
}

# A handshake fails whose token cannot be checked: the authorizer has no keys, and the issuer does not answer.
resource "aws_cloudwatch_log_metric_filter" "keys_unavailable" {
  count = var.observability && contains(keys(local.functions), "authorize") ? 1 : 0

  name           = "${local.prefix}-keys-unavailable"
  log_group_name = aws_cloudwatch_log_group.function["authorize"].name
  pattern        = "\"the issuer does not answer\""

  metric_transformation {
    name      = "${local.prefix}-keys-unavailable"
    namespace = "Roomchat"
    value     = "1"
  }
}

locals {
  # The dashboard's rows, in the order in which an operator asks.
  chat_metric = ["Stack", local.prefix]
  dashboard = concat([
    {
      question = "Are people served?"
      widgets = [
        {
          title   = "Messages stored and delivered"
          stat    = "Sum"
          metrics = [for name in ["Published", "Delivered", "Failed", "Gone", "FalselyGone"] : concat(["Roomchat", name], local.chat_metric)]
        },
        {
          title   = "Connections and joins"
          stat    = "Sum"
          metrics = [for name in ["Connected", "JoinsFresh", "JoinsRecovered", "JoinsLost"] : concat(["Roomchat", name], local.chat_metric)]
        },
        { title = "Our failures", stat = "Sum", metrics = concat(
          [for name in ["Internal", "Partial"] : concat(["Roomchat", name], local.chat_metric)],
          [for name in ["IntegrationError", "ExecutionError"] : concat(["AWS/ApiGateway", name], local.api_metric)],
        ) },
      ]
    },
    {
      question = "How fast?"
      widgets = [
        {
          title   = "Publish to ack, p99 by size of room"
          stat    = "p99"
          metrics = [for name in ["FanOutTo10", "FanOutTo100", "FanOutTo1000", "FanOutAbove1000"] : concat(["Roomchat", name], local.chat_metric)]
        },
        {
          title   = "Duration of functions, p99"
          stat    = "p99"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "Duration", "FunctionName", name]]
        },
        {
          title   = "Invocations at once"
          stat    = "Maximum"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", name]]
        },
      ]
    },
    {
      question = "What is refused?"
      widgets = [
        {
          title   = "Errors that clients are told"
          stat    = "Sum"
          metrics = [for name in ["SlowDown", "Forbidden", "Refused"] : concat(["Roomchat", name], local.chat_metric)]
        },
        {
          title   = "Throttles of functions"
          stat    = "Sum"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "Throttles", "FunctionName", name]]
        },
        {
          title = "Throttles of tables"
          stat  = "Sum"
          metrics = [
            for pair in setproduct(["ReadThrottleEvents", "WriteThrottleEvents"], values(local.table_names)) :
            ["AWS/DynamoDB", pair[0], "TableName", pair[1]]
          ]
        },
      ]
    },
    {
      question = "What does it cost?"
      widgets = [
        {
          title   = "Messages, in and out"
          stat    = "Sum"
          metrics = [concat(["AWS/ApiGateway", "MessageCount"], local.api_metric)]
        },
        {
          title   = "Invocations"
          stat    = "Sum"
          metrics = [for name in values(local.function_names) : ["AWS/Lambda", "Invocations", "FunctionName", name]]
        },
        {
          title = "Units of tables"
          stat  = "Sum"
          metrics = [
            for pair in setproduct(["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"], values(local.table_names)) :
            ["AWS/DynamoDB", pair[0], "TableName", pair[1]]
          ]
        },
      ]
    },
    ], [
    for row in [{
      question = "How are busy rooms?"
      widgets = [
        {
          title   = "Age of the oldest message when it is delivered"
          stat    = "Maximum"
          metrics = [concat(["Roomchat", "OldestUndelivered"], local.chat_metric)]
        },
        { title = "Messages in a batch", stat = "Sum", metrics = [
          concat(["Roomchat", "Batched"], local.chat_metric, [{ id = "batched", visible = false }]),
          concat(["Roomchat", "Batches"], local.chat_metric, [{ id = "batches", visible = false }]),
          [{ expression = "batched / batches", label = "Messages in a batch" }],
        ] },
        {
          title   = "Takeovers"
          stat    = "Sum"
          metrics = [concat(["Roomchat", "Takeovers"], local.chat_metric)]
        },
      ]
    }] : row if var.paced != null
  ])
}

resource "aws_cloudwatch_dashboard" "main" {
  count = var.observability ? 1 : 0

  dashboard_name = local.prefix
  dashboard_body = jsonencode({
    widgets = flatten([
      for row, section in local.dashboard : concat(
        [{
          type       = "text"
          x          = 0
          y          = row * 7
          width      = 24
          height     = 1
          properties = { markdown = "## ${section.question}" }
        }],
        [
          for column, widget in section.widgets : {
            type       = "metric"
            x          = column * 8
            y          = row * 7 + 1
            width      = 8
            height     = 6
            properties = merge(widget, { view = "timeSeries", region = local.region, period = 60 })
          }
        ],
      )
    ])
  })
}
