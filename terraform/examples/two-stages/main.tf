# Two stages of the chat in one root. Each has tables, functions and a URL of its own.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 7.0.0"
    }
  }
}

provider "aws" {
  region = "eu-central-1"

  default_tags {
    tags = { CostCenter = "chat" }
  }
}

locals {
  stages = {
    dev  = { history_days = 1, deletion_protection = false }
    prod = { history_days = 30, deletion_protection = true }
  }
}

module "chat" {
  source   = "../.."
  for_each = local.stages

  stage               = each.key
  history_days        = each.value.history_days
  deletion_protection = each.value.deletion_protection
  packages_dir        = "${path.root}/../../../target/lambda"
  tags                = { Team = "conversations" }
}

output "websocket_urls" {
  description = "URL of each stage that clients connect to."
  value       = { for stage, chat in module.chat : stage => chat.websocket_url }
}
