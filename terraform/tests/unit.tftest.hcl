# The configuration against a mocked AWS: seconds, no account. Each run guards what broke somebody's stack before.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_apigatewayv2_api" {
    defaults = {
      id            = "a1b2c3d4e5"
      api_endpoint  = "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"
      execution_arn = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5"
    }
  }
  mock_resource "aws_apigatewayv2_stage" {
    defaults = { invoke_url = "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod" }
  }
  mock_resource "aws_cloudfront_distribution" {
    defaults = {
      arn         = "arn:aws:cloudfront::123456789012:distribution/E1A2B3C4D5"
      domain_name = "d1a2b3c4d5.cloudfront.net"
    }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:group" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/role" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::page" }
  }
  mock_resource "aws_lambda_function" {
    defaults = {
      arn        = "arn:aws:lambda:us-east-1:123456789012:function:function"
      invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:function/invocations"
    }
  }

  override_resource {
    target = aws_dynamodb_table.connections
    values = { arn = "arn:aws:dynamodb:us-east-1:123456789012:table/connections" }
  }
  override_resource {
    target = aws_apigatewayv2_authorizer.main
    values = { id = "who" }
  }
  override_resource {
    target = aws_dynamodb_table.messages
    values = { arn = "arn:aws:dynamodb:us-east-1:123456789012:table/messages" }
  }
  override_resource {
    target = aws_dynamodb_table.users
    values = { arn = "arn:aws:dynamodb:us-east-1:123456789012:table/users" }
  }
  override_resource {
    target = aws_apigatewayv2_integration.function["publish"]
    values = { id = "for-publish" }
  }
  override_resource {
    target = aws_apigatewayv2_integration.function["join"]
    values = { id = "for-join" }
  }
  override_resource {
    target = aws_apigatewayv2_integration.function["default"]
    values = { id = "for-default" }
  }
  override_resource {
    target = aws_apigatewayv2_integration.mock["ping"]
    values = { id = "for-ping" }
  }
  override_resource {
    target = aws_apigatewayv2_domain_name.main
    values = {
      domain_name_configuration = {
        target_domain_name = "d-a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"
        hosted_zone_id     = "Z1UJRXOUMOOFQ8"
      }
    }
  }
}

run "needs_no_variable" {
  command = plan

  assert {
    condition     = output.websocket_url == "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
    error_message = "websocket_url is what a client connects to"
  }
  assert {
    condition     = output.management_endpoint == "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
    error_message = "management_endpoint is an https URL that ends in the stage"
  }
  assert {
    condition     = output.table_names == { connections = "roomchat-prod-connections", messages = "roomchat-prod-messages", users = "roomchat-prod-users" }
    error_message = "table_names"
  }
  assert {
    condition     = output.log_groups.publish == "/aws/lambda/roomchat-prod-publish" && !contains(keys(output.log_groups), "access")
    error_message = "log_groups"
  }
}

run "api" {
  command = plan

  assert {
    condition     = aws_apigatewayv2_api.main.protocol_type == "WEBSOCKET" && aws_apigatewayv2_api.main.route_selection_expression == "$request.body.action"
    error_message = "a WebSocket API that routes by `action`"
  }
  assert {
    condition     = aws_apigatewayv2_stage.main.auto_deploy && aws_apigatewayv2_stage.main.name == "prod"
    error_message = "without auto_deploy changed routes never reach the stage"
  }
  assert {
    condition = alltrue([for settings in aws_apigatewayv2_stage.main.default_route_settings :
      settings.throttling_burst_limit == 500 && settings.throttling_rate_limit == 1000
    ]) && length(aws_apigatewayv2_stage.main.default_route_settings) == 1
    error_message = "throttles that are not set are sent as 0, and every message is refused"
  }
  assert {
    condition = {
      for settings in aws_apigatewayv2_stage.main.route_settings :
      settings.route_key => [settings.throttling_rate_limit, settings.throttling_burst_limit]
      } == {
      join       = [500, 250]
      leave      = [500, 250]
      history    = [500, 250]
      members    = [100, 50]
      signal     = [100, 50]
      heads      = [500, 250]
      mark       = [500, 250]
      marks      = [500, 250]
      block      = [100, 50]
      unblock    = [100, 50]
      presence   = [100, 50]
      "$default" = [100, 50]
    }
    error_message = "a flood of one route must leave the rest of the stage's throttle to the others"
  }
  assert {
    condition = !aws_apigatewayv2_stage.main.default_route_settings[0].data_trace_enabled && alltrue([
      for settings in aws_apigatewayv2_stage.main.route_settings : !settings.data_trace_enabled
    ])
    error_message = "data traces write message bodies into the logs"
  }
}

run "routes" {
  command = plan

  assert {
    condition = { for key, route in aws_apigatewayv2_route.main : key => route.route_key } == {
      connect     = "$connect"
      disconnect  = "$disconnect"
      publish     = "publish"
      sendmessage = "sendmessage"
      edit        = "edit"
      delete      = "delete"
      react       = "react"
      join        = "join"
      leave       = "leave"
      history     = "history"
      members     = "members"
      signal      = "signal"
      heads       = "heads"
      personal    = "mark"
      marks       = "marks"
      block       = "block"
      unblock     = "unblock"
      presence    = "presence"
      ping        = "ping"
      default     = "$default"
    }
    error_message = "the routes of PROTOCOL.md"
  }
  assert {
    condition = (
      aws_apigatewayv2_route.main["publish"].target == "integrations/for-publish" &&
      aws_apigatewayv2_route.main["sendmessage"].target == "integrations/for-publish" &&
      aws_apigatewayv2_route.main["presence"].target == "integrations/for-join" &&
      aws_apigatewayv2_route.main["default"].target == "integrations/for-default" &&
      aws_apigatewayv2_route.main["ping"].target == "integrations/for-ping"
    )
    error_message = "each route leads to its own integration, an alias to that of its function"
  }
  assert {
    condition = toset(keys(aws_apigatewayv2_route_response.main)) == toset([
      "publish", "sendmessage", "edit", "delete", "react", "join", "presence", "leave", "history", "heads", "members", "personal", "marks",
      "block", "unblock", "ping", "default",
    ])
    error_message = "routes that answer have a route response: without it no answer reaches the client; a signal is not answered"
  }
  assert {
    condition = alltrue([
      for key, route in aws_apigatewayv2_route.main :
      route.route_response_selection_expression == (contains(["connect", "disconnect", "signal"], key) ? null : "$default")
    ])
    error_message = "a route response is used only if the route selects it"
  }
  assert {
    condition = alltrue([
      for key, integration in aws_apigatewayv2_integration.function :
      integration.integration_type == "AWS_PROXY" && integration.integration_method == "POST" && endswith(integration.integration_uri, "/invocations")
    ])
    error_message = "a function is integrated by its invoke ARN, by POST"
  }
  assert {
    condition     = toset(keys(aws_apigatewayv2_integration.function)) == toset(values(local.function_routes)[*].function)
    error_message = "only a function that a route uses has an integration"
  }
  assert {
    condition = (
      aws_apigatewayv2_integration.mock["ping"].integration_type == "MOCK" &&
      jsondecode(aws_apigatewayv2_integration.mock["ping"].request_templates[aws_apigatewayv2_integration.mock["ping"].template_selection_expression]).statusCode == 200 &&
      aws_apigatewayv2_integration_response.mock["ping"].integration_response_key == "/200/" &&
      aws_apigatewayv2_integration_response.mock["ping"].response_templates[aws_apigatewayv2_integration_response.mock["ping"].template_selection_expression] == "{\"type\":\"pong\"}"
    )
    error_message = "ping is answered by a template: its status selects the response, whose template is the frame"
  }
}

run "functions" {
  command = plan

  assert {
    condition = toset(keys(aws_lambda_function.main)) == toset([
      "connect", "disconnect", "publish", "join", "leave", "history", "members", "signal", "personal", "default", "admin",
    ])
    error_message = "neither an alias nor a mock has a function of its own"
  }
  assert {
    condition = alltrue([
      for key, function in aws_lambda_function.main :
      function.runtime == "provided.al2023" && function.handler == key && function.architectures == tolist(["x86_64"])
    ])
    error_message = "a function runs on the custom runtime, its handler is its key, and its architecture is the one that is built"
  }
  assert {
    condition     = alltrue([for key, function in aws_lambda_function.main : function.timeout <= 28 if key != "admin"])
    error_message = "API Gateway gives up after 29 s, cold start included; a function that runs on answers nobody"
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.main : function.source_code_hash == filebase64sha256("../target/lambda/roomchat-functions.zip")])
    error_message = "without the hash new code is never deployed"
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.main : function.reserved_concurrent_executions == -1])
    error_message = "a new account has too little concurrency to reserve any"
  }
  assert {
    condition = alltrue([
      for key, function in aws_lambda_function.main :
      function.logging_config[0].log_format == "JSON" && function.logging_config[0].log_group == "/aws/lambda/roomchat-prod-${key}" &&
      aws_cloudwatch_log_group.function[key].name == function.logging_config[0].log_group &&
      aws_cloudwatch_log_group.function[key].retention_in_days == 30
    ])
    error_message = "each function logs JSON into a group that exists before it and forgets"
  }
  assert {
    condition = jsonencode({ for key, function in aws_lambda_function.main : key => function.environment[0].variables }) == jsonencode({ for key, variables in {
      connect = { CONNECTIONS_TABLE = "roomchat-prod-connections" }
      disconnect = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIVE_MAX_MEMBERS                         = "100"
      }
      publish = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        MESSAGES_TABLE                           = "roomchat-prod-messages"
        HISTORY_DAYS                             = "7"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        AUDIT_DAYS                               = "365"
        FAN_OUT_CONCURRENCY                      = "128"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
        LIVE_MAX_MEMBERS                         = "100"
      }
      join = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        MESSAGES_TABLE                           = "roomchat-prod-messages"
        HISTORY_DAYS                             = "7"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
        LIVE_MAX_MEMBERS                         = "100"
      }
      leave = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIVE_MAX_MEMBERS                         = "100"
      }
      history = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        MESSAGES_TABLE                           = "roomchat-prod-messages"
        HISTORY_DAYS                             = "7"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
      }
      members = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIVE_MAX_MEMBERS                         = "100"
      }
      signal = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIVE_MAX_MEMBERS                         = "100"
      }
      personal = {
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
      }
      default = {
        ACTIONS                                  = "block,delete,edit,heads,history,join,leave,mark,marks,members,ping,presence,publish,react,sendmessage,signal,unblock"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
      }
      admin = {
        CONNECTIONS_TABLE                        = "roomchat-prod-connections"
        MESSAGES_TABLE                           = "roomchat-prod-messages"
        HISTORY_DAYS                             = "7"
        AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
        LIVE_MAX_MEMBERS                         = "100"
        AUDIT_DAYS                               = "365"
        FAN_OUT_CONCURRENCY                      = "128"
      }
    } : key => merge({ METRICS_STACK = "roomchat-prod" }, variables) })
    error_message = "a function knows what it has access to and nothing else"
  }
}

run "permissions" {
  command = plan

  assert {
    condition = { for key, permission in aws_lambda_permission.route : key => permission.source_arn } == {
      connect     = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$connect"
      disconnect  = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$disconnect"
      publish     = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/publish"
      sendmessage = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/sendmessage"
      edit        = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/edit"
      delete      = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/delete"
      react       = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/react"
      join        = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/join"
      leave       = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/leave"
      history     = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/history"
      members     = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/members"
      presence    = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/presence"
      signal      = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/signal"
      heads       = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/heads"
      personal    = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/mark"
      marks       = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/marks"
      block       = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/block"
      unblock     = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/unblock"
      default     = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$default"
    }
    error_message = "a route whose permission is missing answers \"Internal server error\""
  }
  assert {
    condition     = aws_lambda_permission.route["sendmessage"].function_name == "roomchat-prod-publish"
    error_message = "the alias may invoke its function"
  }
  assert {
    condition     = alltrue([for permission in aws_lambda_permission.route : can(regex("^[a-zA-Z0-9_-]+$", permission.statement_id))])
    error_message = "a statement id must not contain $"
  }
}

run "rights" {
  command = plan

  # Written out, and not derived: whoever widens a right has to say so here.
  assert {
    condition = { for key, policy in aws_iam_role_policy.function : key => {
      for statement in jsondecode(policy.policy).Statement : statement.Sid => "${join(",", statement.Action)} on ${join(",", statement.Resource)}"
      } } == {
      connect = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:PutItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
      }
      disconnect = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:DeleteItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*"
      }
      publish = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:DeleteItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/GET/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
        Messages    = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem,dynamodb:GetItem,dynamodb:UpdateItem on arn:aws:dynamodb:us-east-1:123456789012:table/messages"
      }
      join = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:PutItem,dynamodb:UpdateItem,dynamodb:DeleteItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/GET/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
        Messages    = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem on arn:aws:dynamodb:us-east-1:123456789012:table/messages"
      }
      admin = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:BatchGetItem,dynamodb:DeleteItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/GET/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
        Messages    = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem,dynamodb:GetItem,dynamodb:UpdateItem on arn:aws:dynamodb:us-east-1:123456789012:table/messages"
      }
      leave = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:GetItem,dynamodb:DeleteItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
      }
      history = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        Messages    = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/messages"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
      }
      members = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:BatchGetItem,dynamodb:DeleteItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/GET/@connections/*,arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
      }
      signal = {
        Logs        = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Connections = "dynamodb:Query,dynamodb:GetItem on arn:aws:dynamodb:us-east-1:123456789012:table/connections"
        RoomIndex   = "dynamodb:Query on arn:aws:dynamodb:us-east-1:123456789012:table/connections/index/room-index"
        Clients     = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*"
      }
      personal = {
        Logs    = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Clients = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
      }
      default = {
        Logs    = "logs:CreateLogStream,logs:PutLogEvents on arn:aws:logs:us-east-1:123456789012:log-group:group:*"
        Clients = "execute-api:ManageConnections on arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/DELETE/@connections/*"
      }
    }
    error_message = "each function may do what its code does, on the resources it does it to"
  }
  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.function : [
        for statement in jsondecode(policy.policy).Statement : statement.Effect == "Allow" && !contains(statement.Resource, "*") && length(regexall("[*]", join("", statement.Action))) == 0
      ]
    ]))
    error_message = "no wildcard where a resource has a name"
  }
  assert {
    condition = alltrue([
      for key, role in aws_iam_role.function :
      role.name == "roomchat-prod-${key}" && jsondecode(role.assume_role_policy).Statement[0].Principal.Service == "lambda.amazonaws.com"
    ])
    error_message = "a role per function, for Lambda alone"
  }
}

run "tables" {
  command = plan

  assert {
    condition = (
      aws_dynamodb_table.connections.hash_key == "connectionId" && aws_dynamodb_table.connections.range_key == "room" &&
      aws_dynamodb_table.messages.hash_key == "room" && aws_dynamodb_table.messages.range_key == "seq" &&
      { for attribute in aws_dynamodb_table.messages.attribute : attribute.name => attribute.type } == { room = "S", seq = "N" } &&
      aws_dynamodb_table.users.hash_key == "user" && aws_dynamodb_table.users.range_key == "about"
    )
    error_message = "keys"
  }
  assert {
    condition = alltrue([
      for index in aws_dynamodb_table.connections.global_secondary_index :
      index.name == "room-index" && index.hash_key == "room" && index.range_key == "connectionId" &&
      index.projection_type == "INCLUDE" && index.non_key_attributes == toset(["user", "expiresAt", "presence", "batch"])
    ]) && length(aws_dynamodb_table.connections.global_secondary_index) == 1
    error_message = "room-index"
  }
  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.connections, aws_dynamodb_table.messages, aws_dynamodb_table.users] :
      table.billing_mode == "PAY_PER_REQUEST" && table.ttl[0].attribute_name == "expiresAt" && table.ttl[0].enabled && !table.deletion_protection_enabled
    ])
    error_message = "on demand, forgetful, and `terraform destroy` works"
  }
  assert {
    condition     = aws_dynamodb_table.messages.point_in_time_recovery[0].enabled && aws_dynamodb_table.users.point_in_time_recovery[0].enabled && !aws_dynamodb_table.connections.point_in_time_recovery[0].enabled
    error_message = "point-in-time recovery for what people wrote, not for who was connected"
  }
  assert {
    condition     = !aws_dynamodb_table.connections.server_side_encryption[0].enabled && !aws_dynamodb_table.messages.server_side_encryption[0].enabled && !aws_dynamodb_table.users.server_side_encryption[0].enabled
    error_message = "the key that AWS owns, unless another is named: `enabled` without an ARN is a third, billed one"
  }
}

run "alarms" {
  command = plan

  variables {
    alarm_topic_arn = "arn:aws:sns:us-east-1:123456789012:on-call"
  }

  assert {
    condition = toset(keys(aws_cloudwatch_metric_alarm.simple)) == toset(concat(
      ["integration-errors", "internal", "partial", "traffic", "connections"],
      [for pair in setproduct(keys(aws_lambda_function.main), ["errors", "throttles", "duration"]) : join("-", pair)],
    ))
    error_message = "every function is watched"
  }
  assert {
    condition = toset(keys(aws_cloudwatch_metric_alarm.expression)) == toset([
      "failed-deliveries", "concurrency", "connections-table-throttles", "messages-table-throttles",
    ])
    error_message = "deliveries, concurrency and tables are watched"
  }
  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.simple), values(aws_cloudwatch_metric_alarm.expression)) :
      alarm.treat_missing_data == "notBreaching" && length(alarm.alarm_actions == null ? [] : alarm.alarm_actions) == 0
    ])
    error_message = "no traffic is no alarm, and one outage is one notification"
  }
  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_composite_alarm.main :
      alarm.alarm_actions == toset([var.alarm_topic_arn]) && alarm.ok_actions == toset([var.alarm_topic_arn])
    ]) && length(aws_cloudwatch_composite_alarm.main) == 2
    error_message = "the composite alarms notify"
  }
  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.simple), values(aws_cloudwatch_metric_alarm.expression)) :
      length([for composite in aws_cloudwatch_composite_alarm.main : composite if strcontains(composite.alarm_rule, "ALARM(\"${alarm.alarm_name}\")")]) == 1
    ])
    error_message = "an alarm that is in no composite rings for nobody"
  }
  assert {
    condition = (
      strcontains(aws_cloudwatch_composite_alarm.main["users"].alarm_rule, "ALARM(\"roomchat-prod-internal\")") &&
      strcontains(aws_cloudwatch_composite_alarm.main["risk"].alarm_rule, "ALARM(\"roomchat-prod-traffic\")") &&
      alltrue([for alarm in aws_cloudwatch_composite_alarm.main : length(alarm.alarm_rule) < 10240])
    )
    error_message = "errors of people are told apart from what may become one"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.simple["integration-errors"].dimensions == tomap({ ApiId = "a1b2c3d4e5", Stage = "prod" })
    error_message = "API metrics are published per ApiId and Stage"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.simple["internal"].dimensions == tomap({ Stack = "roomchat-prod" }) &&
      aws_lambda_function.main["publish"].environment[0].variables.METRICS_STACK == "roomchat-prod"
    )
    error_message = "the alarm and the functions name the stack alike"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.simple["publish-duration"].threshold == 22400 && aws_cloudwatch_metric_alarm.simple["connect-duration"].threshold == 8000
    error_message = "slow is relative to the function's own limit"
  }
  assert {
    condition = (
      [for widget in jsondecode(aws_cloudwatch_dashboard.main[0].dashboard_body).widgets : widget.properties.markdown if widget.type == "text"]
      == ["## Are people served?", "## How fast?", "## What is refused?", "## What does it cost?"]
    )
    error_message = "the dashboard answers the questions in their order"
  }
}

run "without_observability" {
  command = plan

  variables {
    observability = false
  }

  assert {
    condition = length(concat(
      values(aws_cloudwatch_metric_alarm.simple), values(aws_cloudwatch_metric_alarm.expression),
      values(aws_cloudwatch_composite_alarm.main), aws_cloudwatch_dashboard.main,
    )) == 0
    error_message = "the switch makes all of it go"
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.main : !contains(keys(function.environment[0].variables), "METRICS_STACK")])
    error_message = "the functions write no metrics"
  }
}

run "caps" {
  command = plan

  assert {
    condition = alltrue([
      for throughput in concat(
        flatten([for table in [aws_dynamodb_table.connections, aws_dynamodb_table.messages, aws_dynamodb_table.users] : table.on_demand_throughput]),
        flatten([for index in aws_dynamodb_table.connections.global_secondary_index : index.on_demand_throughput]),
      ) : throughput.max_read_request_units == 10000 && throughput.max_write_request_units == 4000
    ])
    error_message = "a table without a cap may cost as much as the account's quota allows"
  }
  assert {
    condition     = length(flatten([for index in aws_dynamodb_table.connections.global_secondary_index : index.on_demand_throughput])) == 1
    error_message = "an index has a throughput of its own"
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.main : function.reserved_concurrent_executions == -1])
    error_message = "in an account with a quota of 10, any reserved concurrency makes the apply fail"
  }
  assert {
    condition     = length(aws_budgets_budget.main) == 0
    error_message = "without an address nobody can be told"
  }
}

run "web_off" {
  command = plan

  assert {
    condition     = length(aws_cloudfront_distribution.web) + length(aws_s3_bucket.web) + length(aws_s3_object.web) == 0 && output.web_url == null
    error_message = "without web there is no page"
  }
}

run "web" {
  command = plan

  variables {
    web = { folder = "tests/web" }
  }

  assert {
    condition = (
      aws_s3_object.web["index.html"].content_type == "text/html; charset=utf-8" &&
      strcontains(aws_s3_object.web["index.html"].content, output.websocket_url) &&
      !strcontains(aws_s3_object.web["index.html"].content, "127.0.0.1")
    )
    error_message = "the page names the service of this stack"
  }
  assert {
    condition     = aws_s3_object.web["page.js"].content == null && aws_s3_object.web["page.js"].content_type == "text/javascript; charset=utf-8"
    error_message = "other files are uploaded as they are, with the type that browsers demand of modules"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.web["main"].block_public_acls,
      aws_s3_bucket_public_access_block.web["main"].block_public_policy,
      aws_s3_bucket_public_access_block.web["main"].ignore_public_acls,
      aws_s3_bucket_public_access_block.web["main"].restrict_public_buckets,
    ])
    error_message = "nobody reads the bucket but the distribution"
  }
  assert {
    condition = jsondecode(aws_s3_bucket_policy.web["main"].policy).Statement == [{
      Sid       = "OnlyThisDistribution"
      Effect    = "Allow"
      Principal = { Service = "cloudfront.amazonaws.com" }
      Action    = "s3:GetObject"
      Resource  = "arn:aws:s3:::page/*"
      Condition = { StringEquals = { "aws:SourceArn" = "arn:aws:cloudfront::123456789012:distribution/E1A2B3C4D5" } }
    }] && output.web_url == "https://d1a2b3c4d5.cloudfront.net"
    error_message = "the page is read by this distribution alone"
  }
  assert {
    condition = alltrue([
      for behavior in aws_cloudfront_distribution.web["main"].default_cache_behavior : behavior.viewer_protocol_policy == "redirect-to-https"
    ])
    error_message = "a page over http cannot trust its code"
  }
}

run "budget" {
  command = plan

  variables {
    budget = { usd_per_month = 50, emails = ["ops@example.com"] }
  }

  assert {
    condition     = aws_budgets_budget.main[0].limit_amount == "50.00" && length(aws_budgets_budget.main[0].notification) == 2
    error_message = "a budget that tells in time, and again when it is too late"
  }
}

run "the_account_is_not_touched" {
  command = plan

  assert {
    condition = (
      length(aws_api_gateway_account.main) == 0 && length(aws_iam_role.api_gateway_logs) == 0 &&
      length(aws_iam_role_policy_attachment.api_gateway_logs) == 0
    )
    error_message = "the account's logging role belongs to all APIs of the region"
  }
  assert {
    condition     = length(aws_apigatewayv2_stage.main.access_log_settings) == 0 && length(aws_cloudwatch_log_group.access) == 0
    error_message = "access logs in an account without a logging role make the first apply fail"
  }
}

run "access_logs" {
  command = plan

  variables {
    access_logs = true
  }

  assert {
    condition     = length(aws_api_gateway_account.main) == 0 && output.log_groups.access == "/aws/apigateway/roomchat-prod-access"
    error_message = "access logs alone use the role that the account has"
  }
  assert {
    condition = (
      length(regexall("\\$context\\.requestId", aws_apigatewayv2_stage.main.access_log_settings[0].format)) == 1 &&
      !strcontains(aws_apigatewayv2_stage.main.access_log_settings[0].format, "\n") &&
      !strcontains(lower(aws_apigatewayv2_stage.main.access_log_settings[0].format), "body") &&
      can(jsondecode(aws_apigatewayv2_stage.main.access_log_settings[0].format))
    )
    error_message = "the access log is one line of JSON, with the request's id and without bodies"
  }
}

run "account_role_is_a_choice" {
  command = plan

  variables {
    access_logs                = true
    manage_api_gateway_account = true
  }

  assert {
    condition     = length(aws_api_gateway_account.main) == 1 && length(aws_iam_role.api_gateway_logs) == 1
    error_message = "somebody who asks for it gets the account's role"
  }
}

run "roles_and_tags" {
  command = plan

  variables {
    access_logs                = true
    manage_api_gateway_account = true
    permissions_boundary_arn   = "arn:aws:iam::123456789012:policy/boundary"
    tags                       = { Team = "conversations", Stage = "mine" }
  }

  assert {
    condition = alltrue([
      for role in concat(values(aws_iam_role.function), aws_iam_role.api_gateway_logs) :
      role.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    ])
    error_message = "a role without the boundary is refused in an account that demands it"
  }
  assert {
    condition = alltrue([
      for tags in concat(
        [aws_apigatewayv2_api.main.tags, aws_apigatewayv2_stage.main.tags],
        [aws_dynamodb_table.connections.tags, aws_dynamodb_table.messages.tags, aws_dynamodb_table.users.tags],
        values(aws_lambda_function.main)[*].tags, values(aws_iam_role.function)[*].tags, aws_iam_role.api_gateway_logs[*].tags,
        values(aws_cloudwatch_log_group.function)[*].tags, aws_cloudwatch_log_group.access[*].tags,
      ) : tags == tomap({ Application = "roomchat", Stage = "mine", ManagedBy = "terraform", Team = "conversations" })
    ])
    error_message = "all that can have tags has them; yours win"
  }
}

run "another_stack" {
  command = plan

  variables {
    name                       = "talk"
    stage                      = "dev"
    access_logs                = true
    manage_api_gateway_account = true
  }

  assert {
    condition = alltrue([
      for name in concat(
        [aws_apigatewayv2_api.main.name, aws_dynamodb_table.connections.name, aws_dynamodb_table.messages.name, aws_dynamodb_table.users.name, aws_cloudwatch_dashboard.main[0].dashboard_name],
        [aws_iam_role.api_gateway_logs[0].name, aws_cloudwatch_composite_alarm.main["users"].alarm_name],
        values(aws_lambda_function.main)[*].function_name, values(aws_iam_role.function)[*].name,
        [for group in concat(values(aws_cloudwatch_log_group.function), aws_cloudwatch_log_group.access) : split("/", group.name)[3]],
        concat(values(aws_cloudwatch_metric_alarm.simple), values(aws_cloudwatch_metric_alarm.expression))[*].alarm_name,
      ) : startswith(name, "talk-dev")
    ])
    error_message = "a name without the prefix would collide with the stack beside it"
  }
  assert {
    condition     = alltrue([for permission in aws_lambda_permission.route : strcontains(permission.source_arn, ":a1b2c3d4e5/dev/")])
    error_message = "permissions follow the stage"
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.function["publish"].policy, ":a1b2c3d4e5/dev/POST/@connections/*")
    error_message = "rights follow the stage"
  }
}

run "settings_reach_their_place" {
  command = plan

  variables {
    access_logs          = true
    deletion_protection  = true
    fan_out_concurrency  = 32
    kms_key_arn          = "arn:aws:kms:us-east-1:123456789012:key/0f0f0f0f-0000-1111-2222-333333333333"
    log_retention_days   = 7
    memory_mib           = 512
    reserved_concurrency = 5
    allowed_origins      = ["https://app.example", "http://localhost:8080"]
    throttle_burst       = 7
    throttle_rate        = 9
    timeout_seconds      = 3
    xray                 = true
  }

  assert {
    condition = alltrue([
      for function in aws_lambda_function.main :
      function.kms_key_arn == var.kms_key_arn &&
      function.reserved_concurrent_executions == 5 && function.tracing_config[0].mode == "Active"
    ])
    error_message = "functions"
  }
  assert {
    condition = (
      { for key, function in aws_lambda_function.main : key => function.memory_size } == {
        connect = 512, disconnect = 512, join = 512, leave = 512, history = 512, members = 512, signal = 512, personal = 512, default = 512, publish = 1024, admin = 1024
      } &&
      { for key, function in aws_lambda_function.main : key => function.timeout } == {
        connect = 3, disconnect = 3, join = 3, leave = 3, history = 3, members = 3, signal = 3, personal = 3, default = 3, publish = 28, admin = 60
      }
    )
    error_message = "an entry of the map goes before the variable"
  }
  assert {
    condition     = aws_lambda_function.main["publish"].environment[0].variables.FAN_OUT_CONCURRENCY == "32"
    error_message = "fan-out concurrency"
  }
  assert {
    condition     = aws_lambda_function.main["connect"].environment[0].variables.ALLOWED_ORIGINS == "https://app.example,http://localhost:8080"
    error_message = "origins, without identity too"
  }
  assert {
    condition     = aws_apigatewayv2_stage.main.default_route_settings[0].throttling_burst_limit == 7 && aws_apigatewayv2_stage.main.default_route_settings[0].throttling_rate_limit == 9
    error_message = "throttles"
  }
  assert {
    condition = alltrue([
      for settings in aws_apigatewayv2_stage.main.route_settings :
      settings.throttling_burst_limit >= 1 && settings.throttling_rate_limit >= 1
    ])
    error_message = "a share of a small throttle is not 0, with which every message is refused"
  }
  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.connections, aws_dynamodb_table.messages, aws_dynamodb_table.users] :
      table.deletion_protection_enabled && table.server_side_encryption[0].enabled && table.server_side_encryption[0].kms_key_arn == var.kms_key_arn
    ])
    error_message = "tables"
  }
  assert {
    condition = alltrue([
      for group in concat(values(aws_cloudwatch_log_group.function), aws_cloudwatch_log_group.access) :
      group.retention_in_days == 7 && group.kms_key_id == var.kms_key_arn
    ])
    error_message = "log groups"
  }
  assert {
    condition = alltrue([
      for policy in aws_iam_role_policy.function :
      strcontains(policy.policy, "xray:PutTraceSegments") && strcontains(policy.policy, "\"kms:Decrypt\"],\"Effect\":\"Allow\",\"Resource\":[\"${var.kms_key_arn}\"]")
    ])
    error_message = "tracing and a key of one's own need rights"
  }
}

# The packages that scripts/terraform-test.sh puts beside the configuration are for x86_64.
run "the_architecture_is_that_of_the_packages" {
  command = plan

  variables {
    architecture = "arm64"
  }

  expect_failures = [aws_lambda_function.main]
}

run "custom_domain" {
  command = plan

  variables {
    custom_domain = {
      name            = "chat.example.com"
      certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0f0f0f0f"
      zone_id         = "Z0123456789"
    }
  }

  assert {
    condition     = output.websocket_url == "wss://chat.example.com"
    error_message = "clients use the domain"
  }
  assert {
    condition     = aws_lambda_function.main["publish"].environment[0].variables.AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI == "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
    error_message = "functions post to the API itself, whatever its clients call it"
  }
  assert {
    condition     = one(aws_route53_record.main[0].alias).zone_id == "Z1UJRXOUMOOFQ8" && aws_apigatewayv2_api_mapping.main[0].api_mapping_key == null
    error_message = "the record leads to API Gateway's own name, and the domain to the one stage"
  }
}

run "custom_domain_with_a_record_of_ones_own" {
  command = plan

  variables {
    custom_domain = { name = "chat.example.com", certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0f0f0f0f" }
  }

  assert {
    condition     = length(aws_route53_record.main) == 0 && length(aws_apigatewayv2_domain_name.main) == 1
    error_message = "without a zone no record"
  }
}

run "identity_is_off_unless_wanted" {
  command = plan

  assert {
    condition = (
      length(aws_apigatewayv2_authorizer.main) == 0 && length(aws_lambda_permission.authorizer) == 0 &&
      !contains(keys(aws_lambda_function.main), "authorize") && !contains(keys(aws_cloudwatch_log_group.function), "authorize") &&
      !contains(keys(aws_iam_role.function), "authorize")
    )
    error_message = "without identity there is no authorizer, and no function, role, permission or log group of one"
  }
  assert {
    condition     = alltrue([for route in aws_apigatewayv2_route.main : route.authorizer_id == null])
    error_message = "without identity no route has an authorizer"
  }
  assert {
    condition = alltrue([for function in aws_lambda_function.main :
      length(setintersection(keys(try(function.environment[0].variables, {})), ["AUTH_MODE", "AUTH_SETTINGS", "AUTH_SECRET"])) == 0
    ])
    error_message = "without identity no function is told of it"
  }
}

run "identity_by_tokens" {
  command = plan

  variables {
    auth = {
      issuer   = "https://issuer.example"
      audience = ["chat"]
    }
  }

  assert {
    condition = (
      aws_apigatewayv2_route.main["connect"].authorization_type == "CUSTOM" &&
      alltrue([for key, route in aws_apigatewayv2_route.main : route.authorizer_id == null if key != "connect"])
    )
    error_message = "the authorizer stands before $connect, and only there"
  }
  assert {
    condition = (
      aws_apigatewayv2_authorizer.main[0].authorizer_type == "REQUEST" &&
      aws_apigatewayv2_authorizer.main[0].identity_sources == null &&
      aws_apigatewayv2_authorizer.main[0].authorizer_uri == aws_lambda_function.main["authorize"].invoke_arn
    )
    error_message = "API Gateway demands every identity source that is listed, and a token comes in one of three places"
  }
  assert {
    condition = (
      aws_lambda_permission.authorizer[0].source_arn == "${aws_apigatewayv2_api.main.execution_arn}/authorizers/who" &&
      aws_lambda_permission.authorizer[0].function_name == "roomchat-prod-authorize"
    )
    error_message = "API Gateway may invoke the authorizer, for this authorizer alone"
  }
  assert {
    condition = alltrue([for key, function in aws_lambda_function.main :
      function.environment[0].variables.AUTH_MODE == "required" if key != "authorize"
    ])
    error_message = "every function refuses events without a verified user"
  }
  assert {
    condition = (
      jsondecode(aws_lambda_function.main["authorize"].environment[0].variables.AUTH_SETTINGS).issuer == "https://issuer.example" &&
      jsondecode(aws_lambda_function.main["authorize"].environment[0].variables.AUTH_SETTINGS).default_rooms["*"] == ["join", "history", "publish"] &&
      length(aws_lambda_function.main["authorize"].environment[0].variables) == 1
    )
    error_message = "the authorizer is told what it accepts, and nothing else"
  }
  assert {
    condition = alltrue([for statement in jsondecode(aws_iam_role_policy.function["authorize"].policy).Statement :
      statement.Sid == "Logs"
    ])
    error_message = "the authorizer may write its log, and nothing else"
  }
  assert {
    condition = { for key in ["connect", "join", "publish", "signal", "personal"] : key => {
      for statement in jsondecode(aws_iam_role_policy.function[key].policy).Statement : statement.Sid => join(",", statement.Action) if statement.Sid != "Logs"
      } } == {
      connect = { Connections = "dynamodb:PutItem,dynamodb:DeleteItem,dynamodb:UpdateItem", RoomIndex = "dynamodb:Query", Users = "dynamodb:Query" }
      join = {
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:PutItem,dynamodb:UpdateItem,dynamodb:DeleteItem", RoomIndex = "dynamodb:Query"
        Clients     = "execute-api:ManageConnections", Messages = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem", Users = "dynamodb:Query"
      }
      publish = {
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:DeleteItem", RoomIndex = "dynamodb:Query", Clients = "execute-api:ManageConnections"
        Messages    = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem,dynamodb:GetItem,dynamodb:UpdateItem", Users = "dynamodb:GetItem,dynamodb:UpdateItem"
      }
      signal = {
        Connections = "dynamodb:Query,dynamodb:GetItem", RoomIndex = "dynamodb:Query", Clients = "execute-api:ManageConnections"
        Users       = "dynamodb:GetItem"
      }
      personal = {
        Connections = "dynamodb:GetItem", RoomIndex = "dynamodb:Query", Clients = "execute-api:ManageConnections"
        Users       = "dynamodb:UpdateItem,dynamodb:Query,dynamodb:PutItem,dynamodb:DeleteItem,dynamodb:GetItem"
      }
    }
    error_message = "with identity connect and join read bans, connect counts the connections of the user, and personal, publish and signal have marks and blocks"
  }
  assert {
    condition = (
      aws_lambda_function.main["connect"].environment[0].variables.USERS_TABLE == "roomchat-prod-users" &&
      aws_lambda_function.main["join"].environment[0].variables.USERS_TABLE == "roomchat-prod-users" &&
      aws_lambda_function.main["connect"].environment[0].variables.MAX_CONNECTIONS_PER_USER == "20" &&
      !contains(keys(aws_lambda_function.main["connect"].environment[0].variables), "ALLOWED_ORIGINS")
    )
    error_message = "with identity connect and join know the table of users"
  }
  assert {
    condition = jsonencode(aws_lambda_function.main["personal"].environment[0].variables) == jsonencode({
      CONNECTIONS_TABLE                        = "roomchat-prod-connections"
      USERS_TABLE                              = "roomchat-prod-users"
      AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
      AUTH_MODE                                = "required"
      LIMITS                                   = jsonencode({ per_user = 10, per_room = 200, window_seconds = 5, frames_per_second = 20, burst = 50, close_after = 500 })
      HISTORY_DAYS                             = "7"
      LIVE_MAX_MEMBERS                         = "100"
      METRICS_STACK                            = "roomchat-prod"
    })
    error_message = "with identity personal knows where marks are kept, and for how long"
  }
  assert {
    condition = (
      !contains(keys(aws_cloudwatch_metric_alarm.simple), "authorize-errors") &&
      contains(keys(aws_cloudwatch_metric_alarm.simple), "keys-unavailable") && strcontains(aws_cloudwatch_log_metric_filter.keys_unavailable[0].pattern, "the issuer does not answer")
    )
    error_message = "a handshake without a token raises no alarm; an issuer without an answer does"
  }
  assert {
    condition = { for key in ["moderate", "admin"] : key => {
      for statement in jsondecode(aws_iam_role_policy.function[key].policy).Statement : statement.Sid => join(",", statement.Action) if statement.Sid != "Logs"
      } } == {
      moderate = {
        Connections = "dynamodb:GetItem,dynamodb:DeleteItem,dynamodb:UpdateItem", RoomIndex = "dynamodb:Query", Clients = "execute-api:ManageConnections"
        Messages    = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem", Users = "dynamodb:UpdateItem,dynamodb:DeleteItem,dynamodb:Query"
      }
      admin = {
        Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:BatchGetItem,dynamodb:DeleteItem,dynamodb:UpdateItem", RoomIndex = "dynamodb:Query", Clients = "execute-api:ManageConnections"
        Messages    = "dynamodb:Query,dynamodb:PutItem,dynamodb:ConditionCheckItem,dynamodb:GetItem,dynamodb:UpdateItem"
        Users       = "dynamodb:Query,dynamodb:UpdateItem,dynamodb:DeleteItem,dynamodb:Scan,dynamodb:GetItem"
      }
    }
    error_message = "with identity moderators and the backend write bans, and the backend lists them"
  }
  assert {
    condition = alltrue([for key, action in { moderate = "kick", ban = "ban", unban = "unban", mute = "mute", unmute = "unmute" } :
      aws_apigatewayv2_route.main[key].route_key == action && contains(keys(aws_apigatewayv2_route_response.main), key)
    ])
    error_message = "with identity moderators have their actions, which are answered"
  }
  assert {
    condition     = aws_lambda_function.main["moderate"].environment[0].variables.AUDIT_DAYS == "365"
    error_message = "what moderators do is kept for a year"
  }
}

run "the_backends_door" {
  command = plan

  assert {
    condition     = length(aws_lambda_function_url.admin) == 0 && output.admin_url == null
    error_message = "no URL without admin_url"
  }
  assert {
    condition     = !contains([for permission in aws_lambda_permission.route : permission.function_name], "roomchat-prod-admin")
    error_message = "no route leads to the backend's function"
  }
  assert {
    condition     = jsondecode(output.backend_policy).Statement[0].Action == ["lambda:InvokeFunction"]
    error_message = "a backend may invoke, and nothing else"
  }
}

run "the_backends_door_with_a_url" {
  command = plan

  variables {
    admin_url  = true
    audit_days = 30
  }

  assert {
    condition     = aws_lambda_function_url.admin[0].authorization_type == "AWS_IAM"
    error_message = "IAM guards the URL"
  }
  assert {
    condition     = jsondecode(output.backend_policy).Statement[0].Action == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]
    error_message = "a URL needs both rights"
  }
  assert {
    condition     = aws_lambda_function.main["admin"].environment[0].variables.AUDIT_DAYS == "30"
    error_message = "audit_days"
  }
}

run "connections_are_never_closed" {
  command = plan

  variables {
    limits = { close_after = 0 }
  }

  assert {
    condition = alltrue([for key in ["history", "default"] :
      !strcontains(aws_iam_role_policy.function[key].policy, "ManageConnections")
    ]) && !strcontains(aws_iam_role_policy.function["leave"].policy, "DELETE/@connections")
    error_message = "a function that closes nobody has no right to"
  }
}

run "identity_by_a_secret" {
  command = plan

  variables {
    auth        = { issuer = "mine", audience = ["chat"] }
    auth_secret = "a secret of thirty-two bytes, 32"

    direct_messages = false
  }

  assert {
    condition = alltrue([for key, function in aws_lambda_function.main :
      function.environment[0].variables.DIRECT_MESSAGES == "off" if key != "authorize"
    ])
    error_message = "every function knows that there are no direct messages"
  }

  assert {
    condition     = nonsensitive(aws_lambda_function.main["authorize"].environment[0].variables.AUTH_SECRET) == "a secret of thirty-two bytes, 32"
    error_message = "the authorizer has the secret"
  }
  assert {
    condition = alltrue([for key, function in aws_lambda_function.main :
      !issensitive(function.environment[0].variables) && !contains(keys(function.environment[0].variables), "AUTH_SECRET") if key != "authorize"
    ])
    error_message = "no other function has the secret"
  }
}

run "identity_by_an_authorizer_of_ones_own" {
  command = plan

  variables {
    authorizer_lambda_arn = "arn:aws:lambda:us-east-1:123456789012:function:who"
  }

  assert {
    condition = (
      aws_apigatewayv2_authorizer.main[0].authorizer_uri == "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:who/invocations" &&
      aws_lambda_permission.authorizer[0].function_name == "arn:aws:lambda:us-east-1:123456789012:function:who"
    )
    error_message = "API Gateway invokes the function that is named"
  }
  assert {
    condition     = !contains(keys(aws_lambda_function.main), "authorize") && aws_lambda_function.main["publish"].environment[0].variables.AUTH_MODE == "required"
    error_message = "the functions require identity, and ours is not deployed"
  }
}

run "messages_are_reviewed" {
  command = plan

  variables {
    review = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter:live" }
  }

  assert {
    condition = {
      for key, role in aws_iam_role_policy.function : key => [
        for statement in jsondecode(role.policy).Statement : "${join(",", statement.Action)} on ${join(",", statement.Resource)}" if statement.Sid == "Review"
      ] if strcontains(role.policy, "lambda:")
      } == {
      for key in ["publish", "admin"] : key => ["lambda:InvokeFunction on arn:aws:lambda:us-east-1:123456789012:function:filter:live"]
    }
    error_message = "functions that store messages may invoke the review, and no other function may"
  }
  assert {
    condition = alltrue([for key, function in aws_lambda_function.main :
      contains(keys(function.environment[0].variables), "REVIEW") == contains(["publish", "admin"], key)
    ])
    error_message = "functions that store messages know the review"
  }
  assert {
    condition = jsondecode(aws_lambda_function.main["publish"].environment[0].variables.REVIEW) == {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter:live", rooms = ["*"], timeout_ms = 1000, on_failure = "refuse"
    }
    error_message = "the settings of the review"
  }
}

run "busy_rooms" {
  command = plan

  variables {
    paced = {}
  }

  assert {
    condition     = aws_lambda_function.main["deliver"].timeout == 60 && aws_lambda_function.main["deliver"].memory_size == 1024
    error_message = "the pump runs for a minute, with the processor of a publish"
  }
  assert {
    condition = alltrue([
      for key, function in aws_lambda_function.main :
      lookup(function.environment[0].variables, "PACED", "") == (contains(["publish", "admin", "deliver"], key) ? "{\"from_members\":200,\"posts_per_second\":5000}" : "") &&
      lookup(function.environment[0].variables, "DELIVER_FUNCTION", "") == (contains(["publish", "admin", "deliver"], key) ? "roomchat-prod-deliver" : "")
    ])
    error_message = "publish, admin and the pump know the limits of busy rooms and the pump, and no other function"
  }
  assert {
    condition = { for key, policy in aws_iam_role_policy.function : key => [
      for statement in jsondecode(policy.policy).Statement : statement.Resource if statement.Sid == "Invoke"
      ][0] if strcontains(policy.policy, "InvokeFunction") } == {
      for key in ["publish", "admin", "deliver"] : key => ["arn:aws:lambda:us-east-1:123456789012:function:roomchat-prod-deliver"]
    }
    error_message = "they may invoke the pump"
  }
  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.function["deliver"].policy).Statement : statement.Sid => join(",", statement.Action) if statement.Sid != "Logs"
      } == {
      Connections = "dynamodb:Query,dynamodb:GetItem,dynamodb:DeleteItem", RoomIndex = "dynamodb:Query", Clients = "execute-api:ManageConnections"
      Messages    = "dynamodb:Query,dynamodb:UpdateItem", Invoke = "lambda:InvokeFunction"
    }
    error_message = "the pump appends nothing"
  }
  assert {
    condition     = !contains([for permission in aws_lambda_permission.route : permission.function_name], "roomchat-prod-deliver")
    error_message = "no route leads to the pump"
  }
  assert {
    condition = (
      contains(keys(aws_cloudwatch_metric_alarm.simple), "undelivered") && contains(keys(aws_cloudwatch_metric_alarm.simple), "takeovers") &&
      !contains(keys(aws_cloudwatch_metric_alarm.simple), "deliver-duration") && strcontains(aws_cloudwatch_dashboard.main[0].dashboard_body, "OldestUndelivered")
    )
    error_message = "busy rooms have their alarms and their row on the dashboard, and a pump may run for its whole time"
  }
}
