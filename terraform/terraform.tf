terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Both majors: nothing below uses an argument that 6.x removed, or one that 5.100 lacks.
      version = ">= 5.100.0, < 7.0.0"
    }
  }

  # State stays in this folder unless a backend is named here. Before a second person deploys, keep it in a bucket:
  #
  # backend "s3" {
  #   bucket       = "my-terraform-state"
  #   key          = "roomchat/prod.tfstate"
  #   region       = "us-east-1"
  #   use_lockfile = true
  # }
}
