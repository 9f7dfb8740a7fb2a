provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Application = var.name
      Stage       = var.stage
      ManagedBy   = "terraform"
    }
  }
}
