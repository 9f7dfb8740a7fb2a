# The chat with a function that reviews messages, as a deployer has it in a root of their own. The tests run it.

variable "runtime" {
  type    = string
  default = "nodejs22.x"
}

variable "on_failure" {
  type    = string
  default = "refuse"
}

variable "timeout_ms" {
  type    = number
  default = 20000
}

variable "limits" {
  type    = map(number)
  default = {}
}

provider "aws" {
  region = "eu-central-1"
}

resource "aws_lambda_function" "filter" {
  function_name = "filter"
  role          = "arn:aws:iam::000000000000:role/filter"
  runtime       = var.runtime
  handler       = "index.handler"
  filename      = "${path.module}/function"
  timeout       = 30
}

module "chat" {
  source = "../../../terraform"

  limits = var.limits

  review = {
    function_arn = aws_lambda_function.filter.arn
    timeout_ms   = var.timeout_ms
    on_failure   = var.on_failure
  }
}
