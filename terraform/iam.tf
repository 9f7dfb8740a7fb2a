locals {
  # For each `access` of the map in locals.tf one statement, on the resource it names, and the rights of every function.
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
          Action = lookup(
            { clients = ["execute-api:ManageConnections"], invoke = ["lambda:InvokeFunction"], review = ["lambda:InvokeFunction"] },
            target, [for action in actions : "dynamodb:${action}"],
          )
          Resource = {
            connections = [aws_dynamodb_table.connections.arn]
            messages    = [aws_dynamodb_table.messages.arn]
            users       = [aws_dynamodb_table.users.arn]
            room_index  = ["${aws_dynamodb_table.connections.arn}/index/room-index"]
            review      = var.review == null ? [] : [var.review.function_arn]
            invoke      = actions
            # The action is the same for all methods; the resource distinguishes POST, GET and DELETE. It uses the name of
            # the stage and not the stage: otherwise each change of the stage makes the policies unknown until the apply.
            clients = [
              for method in actions : "${aws_apigatewayv2_api.main.execution_arn}/${var.stage}/${method}/@connections/*"
            ]
          }[target]
        }
      ],
      # X-Ray has no resources that a statement could name.
      [
        for enabled in [var.xray] : {
          Sid      = "Trace"
          Effect   = "Allow"
          Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
          Resource = ["*"]
        } if enabled
      ],
      # With a customer's key, reading tables and environment needs the function's own right to that key.
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

  name                 = "${local.prefix}-${each.key}"
  description          = "Rights of the function ${each.key}"
  permissions_boundary = var.permissions_boundary_arn

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

  tags = local.tags
}

resource "aws_iam_role_policy" "function" {
  for_each = local.functions

  name = "access"
  role = aws_iam_role.function[each.key].id
  # jsonencode and not the data source for policy documents, whose value the mocks of tests/ do not know.
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements[each.key] })
}

# API Gateway writes the logs of all APIs of an account and region with one role, the one that was set last. So the default
# does not touch it: another stack may have set it. A destroy of this stack deletes the role. The setting then names a
# role that does not exist with provider 5.x, and is cleared with 6.x; in both cases no API of the region can write logs.
resource "aws_api_gateway_account" "main" {
  count = var.manage_api_gateway_account ? 1 : 0

  cloudwatch_role_arn = aws_iam_role.api_gateway_logs[0].arn

  # API Gateway checks the role when it is set. By then the role must be able to write logs.
  depends_on = [aws_iam_role_policy_attachment.api_gateway_logs]
}

resource "aws_iam_role" "api_gateway_logs" {
  count = var.manage_api_gateway_account ? 1 : 0

  name                 = "${local.prefix}-api-gateway-logs"
  description          = "API Gateway writes the logs of all APIs of this account and region with this role"
  permissions_boundary = var.permissions_boundary_arn

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

  tags = local.tags
}

resource "aws_iam_role_policy_attachment" "api_gateway_logs" {
  count = var.manage_api_gateway_account ? 1 : 0

  role = aws_iam_role.api_gateway_logs[0].name
  # API Gateway tests the role with log groups of its own before it accepts it, so a narrower policy is not enough.
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

data "aws_partition" "current" {}
