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
