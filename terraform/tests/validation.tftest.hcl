# The values that each variable refuses: one run per value, since a run only tells that the variable failed.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_apigatewayv2_api" {
    defaults = { execution_arn = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5" }
  }
}

run "alarm_connections_per_minute" {
  command = plan

  variables {
    alarm_connections_per_minute = 0
  }

  expect_failures = [var.alarm_connections_per_minute]
}

run "alarm_messages_per_minute" {
  command = plan

  variables {
    alarm_messages_per_minute = 0
  }

  expect_failures = [var.alarm_messages_per_minute]
}

run "alarm_topic_arn" {
  command = plan

  variables {
    alarm_topic_arn = "on-call"
  }

  expect_failures = [var.alarm_topic_arn]
}

run "architecture" {
  command = plan

  variables {
    architecture = "arm"
  }

  expect_failures = [var.architecture]
}

run "auth_issuer" {
  command = plan

  variables {
    auth = { issuer = "", audience = ["chat"] }
  }

  expect_failures = [var.auth]
}

run "auth_audience_1" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = [] }
  }

  expect_failures = [var.auth]
}

run "auth_audience_2" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = [""] }
  }

  expect_failures = [var.auth]
}

run "auth_two_authorizers" {
  command = plan

  variables {
    auth                  = { issuer = "https://i.example", audience = ["chat"] }
    authorizer_lambda_arn = "arn:aws:lambda:us-east-1:123456789012:function:who"
  }

  expect_failures = [var.auth]
}

run "auth_two_keys_1" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks_url = "https://i.example/k", jwks = "{\"keys\":[1]}" }
  }

  expect_failures = [var.auth]
}

run "auth_two_keys_2" {
  command = plan

  variables {
    auth        = { issuer = "https://i.example", audience = ["chat"], jwks_url = "https://i.example/k" }
    auth_secret = "a secret of thirty-two bytes, 32"
  }

  expect_failures = [var.auth]
}

run "auth_url_1" {
  command = plan

  variables {
    auth = { issuer = "mine", audience = ["chat"] }
  }

  expect_failures = [var.auth]
}

run "auth_url_2" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks_url = "http://i.example/k" }
  }

  expect_failures = [var.auth]
}

run "auth_url_3" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks_url = "http://localhost.example.com/k" }
  }

  expect_failures = [var.auth]
}

run "auth_jwks_1" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "key" }
  }

  expect_failures = [var.auth]
}

run "auth_jwks_2" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = format("{\"keys\":[\"%3072s\"]}", "") }
  }

  expect_failures = [var.auth]
}

run "auth_rights" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { "*" = ["fly"] } }
  }

  expect_failures = [var.auth]
}

run "auth_anonymous_rights" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], anonymous = { lobby = ["read"] } }
  }

  expect_failures = [var.auth]
}

run "auth_pattern_stars" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], anonymous = { "*a*b*c*" = [] } }
  }

  expect_failures = [var.auth]
}

run "auth_pattern_length" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { (format("%097s", "a")) = [] } }
  }

  expect_failures = [var.auth]
}

run "auth_pattern_count" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { for n in range(33) : "room-${n}" => [] } }
  }

  expect_failures = [var.auth]
}

run "auth_length" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { for n in range(32) : format("%090d", n) => ["join", "history"] } }
  }

  expect_failures = [var.auth]
}

run "auth_secret_1" {
  command = plan

  variables {
    auth        = { issuer = "https://i.example", audience = ["chat"] }
    auth_secret = "a secret of thirty-one bytes 31"
  }

  expect_failures = [var.auth_secret]
}

run "auth_secret_2" {
  command = plan

  variables {
    auth_secret = "a secret of thirty-two bytes, 32"
  }

  expect_failures = [var.auth]
}

run "authorizer_lambda_arn" {
  command = plan

  variables {
    authorizer_lambda_arn = "who"
  }

  expect_failures = [var.authorizer_lambda_arn]
}

run "budget_1" {
  command = plan

  variables {
    budget = { usd_per_month = 0, emails = ["ops@example.com"] }
  }

  expect_failures = [var.budget]
}

run "budget_2" {
  command = plan

  variables {
    budget = { usd_per_month = 5, emails = [] }
  }

  expect_failures = [var.budget]
}

run "budget_3" {
  command = plan

  variables {
    budget = { usd_per_month = 5, emails = ["ops"] }
  }

  expect_failures = [var.budget]
}

run "custom_domain_1" {
  command = plan

  variables {
    custom_domain = { name = "https://chat.example.com", certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0" }
  }

  expect_failures = [var.custom_domain]
}

run "custom_domain_2" {
  command = plan

  variables {
    custom_domain = { name = "chat.example.com", certificate_arn = "certificate" }
  }

  expect_failures = [var.custom_domain]
}

run "fan_out_concurrency_1" {
  command = plan

  variables {
    fan_out_concurrency = 0
  }

  expect_failures = [var.fan_out_concurrency]
}

run "fan_out_concurrency_2" {
  command = plan

  variables {
    fan_out_concurrency = 513
  }

  expect_failures = [var.fan_out_concurrency]
}

run "limits_1" {
  command = plan

  variables {
    limits = { per_user = 201 }
  }

  expect_failures = [var.limits]
}

run "limits_2" {
  command = plan

  variables {
    limits = { per_user = -1 }
  }

  expect_failures = [var.limits]
}

run "limits_3" {
  command = plan

  variables {
    limits = { per_room = 1.5 }
  }

  expect_failures = [var.limits]
}

run "limits_4" {
  command = plan

  variables {
    limits = { per_room = 201 }
  }

  expect_failures = [var.limits]
}

run "limits_5" {
  command = plan

  variables {
    limits = { window_seconds = 0 }
  }

  expect_failures = [var.limits]
}

run "limits_6" {
  command = plan

  variables {
    limits = { window_seconds = 61 }
  }

  expect_failures = [var.limits]
}

run "limits_7" {
  command = plan

  variables {
    limits = { frames_per_second = -1 }
  }

  expect_failures = [var.limits]
}

run "limits_8" {
  command = plan

  variables {
    limits = { frames_per_second = 20, burst = 0 }
  }

  expect_failures = [var.limits]
}

run "audit_days_1" {
  command = plan

  variables {
    audit_days = 0
  }

  expect_failures = [var.audit_days]
}

run "limits_9" {
  command = plan

  variables {
    limits = { close_after = 0.5 }
  }

  expect_failures = [var.limits]
}

run "history_days_1" {
  command = plan

  variables {
    history_days = 0
  }

  expect_failures = [var.history_days]
}

run "history_days_2" {
  command = plan

  variables {
    history_days = 1.5
  }

  expect_failures = [var.history_days]
}

run "kms_key_arn" {
  command = plan

  variables {
    kms_key_arn = "alias/mine"
  }

  expect_failures = [var.kms_key_arn]
}

run "log_retention_days" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "memory_mib_1" {
  command = plan

  variables {
    memory_mib = 127
  }

  expect_failures = [var.memory_mib]
}

run "memory_mib_2" {
  command = plan

  variables {
    memory_mib = 10241
  }

  expect_failures = [var.memory_mib]
}

run "name_1" {
  command = plan

  variables {
    name = "Roomchat"
  }

  expect_failures = [var.name]
}

run "name_2" {
  command = plan

  variables {
    name = "r"
  }

  expect_failures = [var.name]
}

run "name_3" {
  command = plan

  variables {
    name = "room-"
  }

  expect_failures = [var.name]
}

run "name_4" {
  command = plan

  variables {
    name = "a-name-that-is-longer-than-it-may-be"
  }

  expect_failures = [var.name]
}

run "packages_dir" {
  command = plan

  variables {
    packages_dir = ""
  }

  expect_failures = [var.packages_dir]
}

run "permissions_boundary_arn" {
  command = plan

  variables {
    permissions_boundary_arn = "boundary"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "reserved_concurrency" {
  command = plan

  variables {
    reserved_concurrency = 0
  }

  expect_failures = [var.reserved_concurrency]
}

run "stage_1" {
  command = plan

  variables {
    stage = "$default"
  }

  expect_failures = [var.stage]
}

run "stage_2" {
  command = plan

  variables {
    stage = ""
  }

  expect_failures = [var.stage]
}

run "stage_3" {
  command = plan

  variables {
    stage = "a-stage-longer-than-it-may-be"
  }

  expect_failures = [var.stage]
}

run "table_units_per_second_1" {
  command = plan

  variables {
    table_units_per_second = { read = 0 }
  }

  expect_failures = [var.table_units_per_second]
}

run "table_units_per_second_2" {
  command = plan

  variables {
    table_units_per_second = { write = 1.5 }
  }

  expect_failures = [var.table_units_per_second]
}

run "tags_1" {
  command = plan

  variables {
    tags = { "aws:team" = "conversations" }
  }

  expect_failures = [var.tags]
}

run "tags_2" {
  command = plan

  variables {
    tags = { "" = "conversations" }
  }

  expect_failures = [var.tags]
}

run "throttle_burst" {
  command = plan

  variables {
    throttle_burst = 0
  }

  expect_failures = [var.throttle_burst]
}

run "throttle_rate" {
  command = plan

  variables {
    throttle_rate = 0
  }

  expect_failures = [var.throttle_rate]
}

run "timeout_seconds_1" {
  command = plan

  variables {
    timeout_seconds = 0
  }

  expect_failures = [var.timeout_seconds]
}

run "timeout_seconds_2" {
  command = plan

  variables {
    timeout_seconds = 30
  }

  expect_failures = [var.timeout_seconds]
}

run "allowed_origins_1" {
  command = plan

  variables {
    allowed_origins = ["https://app.example/"]
  }

  expect_failures = [var.allowed_origins]
}

run "allowed_origins_2" {
  command = plan

  variables {
    allowed_origins = ["app.example"]
  }

  expect_failures = [var.allowed_origins]
}

run "allowed_origins_3" {
  command = plan

  variables {
    allowed_origins = ["*"]
  }

  expect_failures = [var.allowed_origins]
}

run "allowed_origins_4" {
  command = plan

  variables {
    allowed_origins = ["https://a.example,https://b.example"]
  }

  expect_failures = [var.allowed_origins]
}

run "manage_api_gateway_account" {
  command = plan

  variables {
    manage_api_gateway_account = true
  }

  expect_failures = [var.manage_api_gateway_account]
}

run "max_connections_per_user_1" {
  command = plan

  variables {
    max_connections_per_user = 0
  }

  expect_failures = [var.max_connections_per_user]
}

run "max_connections_per_user_2" {
  command = plan

  variables {
    max_connections_per_user = 1.5
  }

  expect_failures = [var.max_connections_per_user]
}

run "live_max_members_1" {
  command = plan

  variables {
    live_max_members = -1
  }

  expect_failures = [var.live_max_members]
}

run "live_max_members_2" {
  command = plan

  variables {
    live_max_members = 1001
  }

  expect_failures = [var.live_max_members]
}

run "live_max_members_3" {
  command = plan

  variables {
    live_max_members = 0.5
  }

  expect_failures = [var.live_max_members]
}

run "limits_10" {
  command = plan

  variables {
    limits = { per_user = 1000 }
  }

  expect_failures = [var.limits]
}

run "limits_11" {
  command = plan

  variables {
    limits = { window_seconds = 1.5 }
  }

  expect_failures = [var.limits]
}

run "limits_12" {
  command = plan

  variables {
    limits = { burst = 10001 }
  }

  expect_failures = [var.limits]
}

run "limits_13" {
  command = plan

  variables {
    limits = { close_after = 100001 }
  }

  expect_failures = [var.limits]
}

run "fan_out_concurrency_3" {
  command = plan

  variables {
    fan_out_concurrency = 1.5
  }

  expect_failures = [var.fan_out_concurrency]
}

run "max_connections_per_user_3" {
  command = plan

  variables {
    max_connections_per_user = 10001
  }

  expect_failures = [var.max_connections_per_user]
}

run "max_connections_per_user_4" {
  command = plan

  variables {
    max_connections_per_user = -1
  }

  expect_failures = [var.max_connections_per_user]
}

run "allowed_origins_5" {
  command = plan

  variables {
    allowed_origins = [format("https://%2048s", "a")]
  }

  expect_failures = [var.allowed_origins]
}

run "allowed_origins_6" {
  command = plan

  variables {
    allowed_origins = [for n in range(100) : "https://app-${n}.chat.example"]
  }

  expect_failures = [var.allowed_origins]
}

run "auth_url_4" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks_url = "" }
  }

  expect_failures = [var.auth]
}

run "auth_claims" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], user_claim = "" }
  }

  expect_failures = [var.auth]
}

run "auth_jwks_3" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[]}" }
  }

  expect_failures = [var.auth]
}

run "auth_jwks_4" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}" }
  }

  expect_failures = [var.auth]
}

run "auth_jwks_5" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\",\"y\":\"AA\"}]}" }
  }

  expect_failures = [var.auth]
}

run "auth_jwks_6" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}" }
  }

  expect_failures = [var.auth]
}

run "auth_pattern_empty" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { "" = ["join"] } }
  }

  expect_failures = [var.auth]
}

run "auth_pattern_length_2" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { (join("", [for n in range(49) : "x\u0301"])) = [] } }
  }

  expect_failures = [var.auth]
}
