locals {
  # One statement per `access` of the map in locals.tf, on the resource it names, plus what every function needs.
  statements = {
    for key, function in local.functions : key => concat(
      [
        {
          Sid      = "Logs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["${aws_cloudwatch_log_group.function[key].arn}:*"]
        },
      ],
      [
        for target, actions in function.access : {
          Sid    = join("", [for word in split("_", target) : title(word)])
          Effect = "Allow"
          Action = target == "clients" ? ["execute-api:ManageConnections"] : [for action in actions : "dynamodb:${action}"]
          Resource = {
            connections = [aws_dynamodb_table.connections.arn]
            messages    = [aws_dynamodb_table.messages.arn]
            room_index  = ["${aws_dynamodb_table.connections.arn}/index/room-index"]
            # One action for all methods: the resource tells posting from looking and from cutting off. Made from the
            # stage's name, not from the stage, or every change of it would leave the policies unknown until the apply.
            clients = [
              for method in actions : "${aws_apigatewayv2_api.main.execution_arn}/${var.stage}/${method}/@connections/*"
            ]
          }[target]
        }
      ],
      # X-Ray has no resources to name.
      [
        for enabled in [var.xray] : {
          Sid      = "Trace"
          Effect   = "Allow"
          Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
          Resource = ["*"]
        } if enabled
      ],
      # Tables and environment under a customer's key are read with the function's own rights on that key.
      [
        for arn in compact([var.kms_key_arn]) : {
          Sid      = "Decrypt"
          Effect   = "Allow"
          Action   = ["kms:Decrypt"]
          Resource = [arn]
        }
      ],
    )
  }
}

resource "aws_iam_role" "function" {
  for_each = local.functions

  name        = "${local.prefix}-${each.key}"
  description = "What the function ${each.key} may do"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "sts:AssumeRole"
        Principal = { Service = "lambda.amazonaws.com" }
      },
    ]
  })
}

resource "aws_iam_role_policy" "function" {
  for_each = local.functions

  name = "access"
  role = aws_iam_role.function[each.key].id
  # jsonencode rather than a policy document's data source: that is unknown under the mocks of tests/.
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements[each.key] })
}

# API Gateway writes its logs with one role per account and region, whoever sets it last. Destroying this stack leaves
# the setting behind under provider 5.x and clears it under 6.x: var.manage_api_gateway_account says no to both.
resource "aws_api_gateway_account" "main" {
  count = var.manage_api_gateway_account ? 1 : 0

  cloudwatch_role_arn = aws_iam_role.api_gateway_logs[0].arn

  # Checked as it is set: the role must be able to log by then.
  depends_on = [aws_iam_role_policy_attachment.api_gateway_logs]
}

resource "aws_iam_role" "api_gateway_logs" {
  count = var.manage_api_gateway_account ? 1 : 0

  name        = "${local.prefix}-api-gateway-logs"
  description = "Lets API Gateway write logs, for every API of the account in this region"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "sts:AssumeRole"
        Principal = { Service = "apigateway.amazonaws.com" }
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "api_gateway_logs" {
  count = var.manage_api_gateway_account ? 1 : 0

  role = aws_iam_role.api_gateway_logs[0].name
  # API Gateway tries the role on groups of its own before it accepts it, so a narrower policy of ours would not do.
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

data "aws_partition" "current" {}
