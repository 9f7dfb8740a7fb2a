# An API in a module, and a module for each action, which makes its function in a module of its own.

locals {
  actions = {
    "$connect" = "greet"
    "$default" = "fallback"
    shout      = "shout"
  }
}

module "api" {
  source     = "./modules/api"
  name       = "nested"
  stage      = { name = "live" }
  extra_logs = false
}

module "action" {
  source   = "./modules/action"
  for_each = local.actions

  api    = { id = module.api.id, url = module.api.url }
  key    = each.key
  name   = "nested-${each.value}"
  labels = [for action, name in local.actions : name if action != each.key]
}
