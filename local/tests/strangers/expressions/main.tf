# Settings that are computed from files, templates and patterns.

resource "aws_apigatewayv2_api" "ws" {
  name                       = "expressions"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.ws.id
  name        = "live"
  auto_deploy = true
}

variable "overrides" {
  type = map(object({ size = optional(number, 3), on = optional(bool) }))
  default = {
    small = { size = 1 }
    usual = {}
  }
}

locals {
  config  = jsondecode(file("${path.module}/config/app.json"))
  version = try(local.config.version.full, local.config.version, "0.0.0")
  parts   = regex("^(?P<major>\\d+)\\.(?P<minor>\\d+)", local.version)
  words   = [for line in split("\n", trimspace(file("config/words.txt"))) : trimspace(line) if line != ""]
}

resource "aws_lambda_function" "f" {
  function_name = "f"
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = "${path.module}/src"

  environment {
    variables = {
      APP_CONFIG = templatefile("${path.module}/config/settings.tpl", { words = local.words, sizes = { for name, o in var.overrides : name => o.size } })
      APP_FILES  = join(",", fileset(path.module, "config/*.{json,txt}"))
      APP_HASH   = substr(sha256(local.version), 0, 8)
      APP_MAJOR  = local.parts.major
      APP_SAFE   = can(local.config.missing) ? "yes" : "no"
      APP_SLUG   = replace(lower("My App: Live!"), "/[^a-z]+/", "-")
    }
  }
}

resource "aws_apigatewayv2_integration" "all" {
  api_id           = aws_apigatewayv2_api.ws.id
  integration_type = "AWS_PROXY"
  integration_uri  = aws_lambda_function.f.invoke_arn
}

resource "aws_apigatewayv2_route" "all" {
  for_each  = toset(concat(["$default"], local.words))
  api_id    = aws_apigatewayv2_api.ws.id
  route_key = each.value
  target    = format("integrations/%s", aws_apigatewayv2_integration.all.id)

  route_response_selection_expression = "$default"
}

resource "aws_apigatewayv2_route_response" "all" {
  for_each           = aws_apigatewayv2_route.all
  api_id             = each.value.api_id
  route_id           = each.value.id
  route_response_key = "$default"
}
