locals {
  # The URL at which functions post to connections. Not made from the domainName of an event: with a custom domain, that is
  # the name that clients use, and a post to it fails.
  management_endpoint = "${replace(aws_apigatewayv2_api.main.api_endpoint, "wss://", "https://")}/${var.stage}"
}

resource "aws_apigatewayv2_api" "main" {
  name                       = local.prefix
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.action"

  tags = local.tags
}

resource "aws_apigatewayv2_integration" "function" {
  for_each = local.route_functions

  api_id             = aws_apigatewayv2_api.main.id
  integration_type   = "AWS_PROXY"
  integration_method = "POST"
  integration_uri    = aws_lambda_function.main[each.key].invoke_arn
}

# A mock runs no function: the request template gives a status, the status selects the integration response, and the
# template of that response is the frame. "200" is the name of a template, which the constant selection expression selects;
# it is not a content type, since WebSocket messages have none. The frame is constant: AWS does not document that a
# response template can read the request, for instance to echo an id.
resource "aws_apigatewayv2_integration" "mock" {
  for_each = local.mocks

  api_id                        = aws_apigatewayv2_api.main.id
  integration_type              = "MOCK"
  template_selection_expression = "200"
  request_templates             = { "200" = jsonencode({ statusCode = 200 }) }
}

resource "aws_apigatewayv2_integration_response" "mock" {
  for_each = local.mocks

  api_id                        = aws_apigatewayv2_api.main.id
  integration_id                = aws_apigatewayv2_integration.mock[each.key].id
  integration_response_key      = "/200/"
  template_selection_expression = "200"
  response_templates            = { "200" = each.value }
}

resource "aws_apigatewayv2_route" "main" {
  for_each = local.routes

  api_id    = aws_apigatewayv2_api.main.id
  route_key = each.value.route_key
  target = format("integrations/%s", contains(keys(local.mocks), each.key)
    ? aws_apigatewayv2_integration.mock[each.key].id
    : aws_apigatewayv2_integration.function[local.function_routes[each.key].function].id
  )

  # Only $connect can have an authorizer. Its context comes with every later event of the connection.
  authorization_type = local.identity && each.value.route_key == "$connect" ? "CUSTOM" : null
  authorizer_id      = local.identity && each.value.route_key == "$connect" ? aws_apigatewayv2_authorizer.main[0].id : null

  # Without this and the route response below, the return value of a function never reaches the client.
  route_response_selection_expression = contains(keys(local.answered_routes), each.key) ? "$default" : null
}

# Without identity sources: a token comes in one of three places, and API Gateway would demand all that are listed.
resource "aws_apigatewayv2_authorizer" "main" {
  count = local.identity ? 1 : 0

  api_id          = aws_apigatewayv2_api.main.id
  name            = "${local.prefix}-authorize"
  authorizer_type = "REQUEST"
  authorizer_uri = var.auth != null ? aws_lambda_function.main["authorize"].invoke_arn : format(
    "arn:%s:apigateway:%s:lambda:path/2015-03-31/functions/%s/invocations",
    split(":", var.authorizer_lambda_arn)[1], split(":", var.authorizer_lambda_arn)[3], var.authorizer_lambda_arn,
  )
}

resource "aws_apigatewayv2_route_response" "main" {
  for_each = local.answered_routes

  api_id             = aws_apigatewayv2_api.main.id
  route_id           = aws_apigatewayv2_route.main[each.key].id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_stage" "main" {
  api_id = aws_apigatewayv2_api.main.id
  name   = var.stage

  # Instead of a deployment resource: Terraform would make the new deployment before it destroys a removed route. The
  # snapshot would keep that route, without its function.
  auto_deploy = true

  default_route_settings {
    # For a settings block without throttles the provider sends 0 and 0, and then every message is refused.
    throttling_burst_limit = var.throttle_burst
    throttling_rate_limit  = var.throttle_rate
    logging_level          = "OFF"
    # Data traces would write the messages into the logs.
    data_trace_enabled       = false
    detailed_metrics_enabled = false
  }

  dynamic "route_settings" {
    for_each = local.shares

    content {
      route_key = local.routes[route_settings.key].route_key
      # At least 1: with 0 every message is refused.
      throttling_burst_limit   = max(1, floor(var.throttle_burst * route_settings.value))
      throttling_rate_limit    = max(1, floor(var.throttle_rate * route_settings.value))
      logging_level            = "OFF"
      data_trace_enabled       = false
      detailed_metrics_enabled = false
    }
  }

  dynamic "access_log_settings" {
    for_each = aws_cloudwatch_log_group.access

    content {
      destination_arn = access_log_settings.value.arn
      format          = local.access_log_format
    }
  }

  tags = local.tags

  # The stage is deployed when it is made. By then it needs all routes, and the role with which API Gateway writes logs.
  depends_on = [
    aws_api_gateway_account.main,
    aws_apigatewayv2_integration_response.mock,
    aws_apigatewayv2_route.main,
    aws_apigatewayv2_route_response.main,
  ]
}

resource "aws_apigatewayv2_domain_name" "main" {
  count = var.custom_domain == null ? 0 : 1

  domain_name = var.custom_domain.name

  domain_name_configuration {
    certificate_arn = var.custom_domain.certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }

  tags = local.tags
}

# Without a mapping key the domain belongs to this one stage, and clients connect to it without a path.
resource "aws_apigatewayv2_api_mapping" "main" {
  count = var.custom_domain == null ? 0 : 1

  api_id      = aws_apigatewayv2_api.main.id
  domain_name = aws_apigatewayv2_domain_name.main[0].id
  stage       = aws_apigatewayv2_stage.main.id
}

resource "aws_route53_record" "main" {
  count = try(var.custom_domain.zone_id, null) == null ? 0 : 1

  zone_id = var.custom_domain.zone_id
  name    = aws_apigatewayv2_domain_name.main[0].domain_name
  type    = "A"

  alias {
    name                   = aws_apigatewayv2_domain_name.main[0].domain_name_configuration[0].target_domain_name
    zone_id                = aws_apigatewayv2_domain_name.main[0].domain_name_configuration[0].hosted_zone_id
    evaluate_target_health = false
  }
}
