# This folder is a root to apply and a module to call: it has no provider block. Applied by itself, it takes region and
# credentials as the aws command does, from AWS_REGION or from a profile. A caller passes its own provider:
# examples/two-stages shows it.
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Both majors: no argument used here was removed in 6.x or is missing in 5.100.
      version = ">= 5.100.0, < 7.0.0"
    }
  }

  # Without a backend the state stays in this folder: docs/deploy.md says how to keep it in a bucket.
}
