# What each variable refuses: one run per value, since a run tells only that the variable failed, not on which value.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_apigatewayv2_api" {
    defaults = { execution_arn = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5" }
  }
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

run "region" {
  command = plan

  variables {
    region = "Virginia"
  }

  expect_failures = [var.region]
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
