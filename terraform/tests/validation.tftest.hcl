# The values that each variable refuses: each run has one of each variable at most, since it only tells that the
# variable failed. The variables of identity are looked at together, so they count as one.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_apigatewayv2_api" {
    defaults = { execution_arn = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5" }
  }
}

run "refused_1" {
  command = plan

  variables {
    alarm_connections_per_minute = 0
    alarm_messages_per_minute    = 0
    alarm_topic_arn              = "on-call"
    allowed_origins              = ["https://app.example/"]
    architecture                 = "arm"
    audit_days                   = 0
    auth                         = { issuer = "", audience = ["chat"] }
    budget                       = { usd_per_month = 0, emails = ["ops@example.com"] }
    custom_domain                = { name = "https://chat.example.com", certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0" }
    fan_out_concurrency          = 0
    history_days                 = 0
    kms_key_arn                  = "alias/mine"
    limits                       = { per_user = 201 }
    live_max_members             = -1
    log_retention_days           = 31
    manage_api_gateway_account   = true
    max_connections_per_user     = 0
    memory_mib                   = 127
    name                         = "Roomchat"
    packages_dir                 = ""
    permissions_boundary_arn     = "boundary"
    reserved_concurrency         = 0
    stage                        = "$default"
    table_names                  = { messages = "a table" }
    table_units_per_second       = { read = 0 }
    tags                         = { "aws:team" = "conversations" }
    throttle_burst               = 0
    throttle_rate                = 0
    timeout_seconds              = 0
  }

  expect_failures = [
    var.alarm_connections_per_minute,
    var.alarm_messages_per_minute,
    var.alarm_topic_arn,
    var.allowed_origins,
    var.architecture,
    var.audit_days,
    var.auth,
    var.budget,
    var.custom_domain,
    var.fan_out_concurrency,
    var.history_days,
    var.kms_key_arn,
    var.limits,
    var.live_max_members,
    var.log_retention_days,
    var.manage_api_gateway_account,
    var.max_connections_per_user,
    var.memory_mib,
    var.name,
    var.packages_dir,
    var.permissions_boundary_arn,
    var.reserved_concurrency,
    var.stage,
    var.table_names,
    var.table_units_per_second,
    var.tags,
    var.throttle_burst,
    var.throttle_rate,
    var.timeout_seconds,
  ]
}

run "refused_2" {
  command = plan

  variables {
    allowed_origins          = ["app.example"]
    auth                     = { issuer = "https://i.example", audience = [] }
    budget                   = { usd_per_month = 5, emails = [] }
    custom_domain            = { name = "chat.example.com", certificate_arn = "certificate" }
    fan_out_concurrency      = 513
    history_days             = 1.5
    limits                   = { per_user = -1 }
    live_max_members         = 1001
    max_connections_per_user = 1.5
    memory_mib               = 10241
    name                     = "r"
    reserved_concurrency     = 1.5
    stage                    = ""
    table_units_per_second   = { write = 1.5 }
    tags                     = { "" = "conversations" }
    throttle_burst           = 1.5
    timeout_seconds          = 30
  }

  expect_failures = [
    var.allowed_origins,
    var.auth,
    var.budget,
    var.custom_domain,
    var.fan_out_concurrency,
    var.history_days,
    var.limits,
    var.live_max_members,
    var.max_connections_per_user,
    var.memory_mib,
    var.name,
    var.reserved_concurrency,
    var.stage,
    var.table_units_per_second,
    var.tags,
    var.throttle_burst,
    var.timeout_seconds,
  ]
}

run "refused_3" {
  command = plan

  variables {
    allowed_origins          = ["*"]
    auth                     = { issuer = "https://i.example", audience = [""] }
    budget                   = { usd_per_month = 5, emails = ["ops"] }
    custom_domain            = { name = "chat.example.com", certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0", zone_id = "example.com" }
    fan_out_concurrency      = 1.5
    limits                   = { per_room = 1.5 }
    live_max_members         = 0.5
    max_connections_per_user = 10001
    memory_mib               = 256.5
    name                     = "room-"
    stage                    = "a-stage-longer-than-it-may-be"
    tags                     = { for n in range(41) : "tag-${n}" => "" }
    timeout_seconds          = 1.5
  }

  expect_failures = [
    var.allowed_origins,
    var.auth,
    var.budget,
    var.custom_domain,
    var.fan_out_concurrency,
    var.limits,
    var.live_max_members,
    var.max_connections_per_user,
    var.memory_mib,
    var.name,
    var.stage,
    var.tags,
    var.timeout_seconds,
  ]
}

run "refused_4" {
  command = plan

  variables {
    allowed_origins          = ["https://a.example,https://b.example"]
    auth                     = { issuer = "https://i.example", audience = ["chat"] }
    authorizer_lambda_arn    = "arn:aws:lambda:us-east-1:123456789012:function:who"
    fan_out_concurrency      = 1.5
    limits                   = { per_room = 201 }
    max_connections_per_user = -1
    name                     = "a-name-that-is-longer-than-it-may-be"
    tags                     = { Team = "chat & friends" }
  }

  expect_failures = [
    var.allowed_origins,
    var.auth,
    var.fan_out_concurrency,
    var.limits,
    var.max_connections_per_user,
    var.name,
    var.tags,
  ]
}

run "refused_5" {
  command = plan

  variables {
    allowed_origins = [for n in range(100) : "https://page-${n}.example.com"]
    auth            = { issuer = "https://i.example", audience = ["chat"], jwks_url = "https://i.example/k", jwks = "{\"keys\":[1]}" }
    limits          = { window_seconds = 0 }
  }

  expect_failures = [
    var.allowed_origins,
    var.auth,
    var.limits,
  ]
}

run "refused_6" {
  command = plan

  variables {
    allowed_origins = [format("https://%2048s", "a")]
    auth            = { issuer = "https://i.example", audience = ["chat"], jwks_url = "https://i.example/k" }
    auth_secret     = "a secret of thirty-two bytes, 32"
    limits          = { window_seconds = 61 }
  }

  expect_failures = [
    var.allowed_origins,
    var.auth,
    var.limits,
  ]
}

run "refused_7" {
  command = plan

  variables {
    allowed_origins = [for n in range(100) : "https://app-${n}.chat.example"]
    auth            = { issuer = "mine", audience = ["chat"] }
    limits          = { frames_per_second = -1 }
  }

  expect_failures = [
    var.allowed_origins,
    var.auth,
    var.limits,
  ]
}

run "refused_8" {
  command = plan

  variables {
    auth   = { issuer = "https://i.example", audience = ["chat"], jwks_url = "http://i.example/k" }
    limits = { frames_per_second = 20, burst = 0 }
  }

  expect_failures = [
    var.auth,
    var.limits,
  ]
}

run "refused_9" {
  command = plan

  variables {
    auth   = { issuer = "https://i.example", audience = ["chat"], jwks_url = "http://localhost.example.com/k" }
    limits = { close_after = 0.5 }
  }

  expect_failures = [
    var.auth,
    var.limits,
  ]
}

run "refused_10" {
  command = plan

  variables {
    auth   = { issuer = "https://i.example", audience = ["chat"], jwks = "key" }
    limits = { per_user = 1000 }
  }

  expect_failures = [
    var.auth,
    var.limits,
  ]
}

run "refused_11" {
  command = plan

  variables {
    auth   = { issuer = "https://i.example", audience = ["chat"], jwks = format("{\"keys\":[\"%3072s\"]}", "") }
    limits = { window_seconds = 1.5 }
  }

  expect_failures = [
    var.auth,
    var.limits,
  ]
}

run "refused_12" {
  command = plan

  variables {
    auth   = { issuer = "https://i.example", audience = ["chat"], default_rooms = { "*" = ["fly"] } }
    limits = { burst = 10001 }
  }

  expect_failures = [
    var.auth,
    var.limits,
  ]
}

run "refused_13" {
  command = plan

  variables {
    auth   = { issuer = "https://i.example", audience = ["chat"], anonymous = { lobby = ["read"] } }
    limits = { close_after = 100001 }
  }

  expect_failures = [
    var.auth,
    var.limits,
  ]
}

run "refused_14" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], anonymous = { "*a*b*c*" = [] } }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_15" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { (format("%097s", "a")) = [] } }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_16" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { for n in range(33) : "room-${n}" => [] } }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_17" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { for n in range(32) : format("%090d", n) => ["join", "history"] } }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_18" {
  command = plan

  variables {
    auth        = { issuer = "https://i.example", audience = ["chat"] }
    auth_secret = "a secret of thirty-one bytes 31"
  }

  expect_failures = [
    var.auth_secret,
  ]
}

run "refused_19" {
  command = plan

  variables {
    auth_secret = "a secret of thirty-two bytes, 32"
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_20" {
  command = plan

  variables {
    authorizer_lambda_arn = "who"
  }

  expect_failures = [
    var.authorizer_lambda_arn,
  ]
}

run "refused_21" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks_url = "" }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_22" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], user_claim = "" }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_23" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[]}" }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_24" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}" }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_25" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\",\"y\":\"AA\"}]}" }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_26" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], jwks = "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}" }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_27" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { "" = ["join"] } }
  }

  expect_failures = [
    var.auth,
  ]
}

run "refused_28" {
  command = plan

  variables {
    auth = { issuer = "https://i.example", audience = ["chat"], default_rooms = { (join("", [for n in range(49) : "x\u0301"])) = [] } }
  }

  expect_failures = [
    var.auth,
  ]
}

run "web" {
  command = plan

  variables {
    web = { folder = "no-such-folder" }
  }

  expect_failures = [var.web]
}

run "review_1" {
  command = plan

  variables {
    review = {
      function_arn = "filter"
    }
  }

  expect_failures = [var.review]
}

run "review_2" {
  command = plan

  variables {
    review = {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter"
      rooms        = []
    }
  }

  expect_failures = [var.review]
}

run "review_3" {
  command = plan

  variables {
    review = {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter"
      rooms        = ["a*b*c*d*"]
    }
  }

  expect_failures = [var.review]
}

run "review_4" {
  command = plan

  variables {
    review = {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter"
      timeout_ms   = 99
    }
  }

  expect_failures = [var.review]
}

run "review_5" {
  command = plan

  variables {
    review = {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter"
      timeout_ms   = 20001
    }
  }

  expect_failures = [var.review]
}

run "review_6" {
  command = plan

  variables {
    review = {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter"
      timeout_ms   = 100.5
    }
  }

  expect_failures = [var.review]
}

run "review_7" {
  command = plan

  variables {
    review = {
      function_arn = "arn:aws:lambda:us-east-1:123456789012:function:filter"
      on_failure   = "ignore"
    }
  }

  expect_failures = [var.review]
}

run "paced_1" {
  command = plan

  variables {
    paced = { from_members = 1 }
  }

  expect_failures = [var.paced]
}

run "paced_2" {
  command = plan

  variables {
    paced = { from_members = 200.5 }
  }

  expect_failures = [var.paced]
}

run "paced_3" {
  command = plan

  variables {
    paced = { posts_per_second = 0 }
  }

  expect_failures = [var.paced]
}

run "paced_4" {
  command = plan

  variables {
    paced = { posts_per_second = 0.5 }
  }

  expect_failures = [var.paced]
}
