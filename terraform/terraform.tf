terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Both majors: no argument used here was removed in 6.x or is missing in 5.100.
      version = ">= 5.100.0, < 7.0.0"
    }
  }

  # Without a backend the state stays in this folder. Before a second person deploys, keep it in a bucket:
  #
  # backend "s3" {
  #   bucket       = "my-terraform-state"
  #   key          = "roomchat/prod.tfstate"
  #   region       = "us-east-1"
  #   use_lockfile = true
  # }
}
