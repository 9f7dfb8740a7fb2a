# One row for each connection in each room.
resource "aws_dynamodb_table" "connections" {
  #checkov:skip=CKV_AWS_28:Rows of ended connections need no backup.

  name                        = "${local.prefix}-connections"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "connectionId"
  range_key                   = "room"
  deletion_protection_enabled = var.deletion_protection

  # Key attributes only: any other would differ at every plan.
  attribute {
    name = "connectionId"
    type = "S"
  }

  attribute {
    name = "room"
    type = "S"
  }

  global_secondary_index {
    name     = "room-index"
    hash_key = "room"
    # Nothing needs the order, but provider 6.29 and later fail on an index without a range key.
    range_key          = "connectionId"
    projection_type    = "INCLUDE"
    non_key_attributes = ["user", "expiresAt", "presence", "batch"]

    on_demand_throughput {
      max_read_request_units  = var.table_units_per_second.read
      max_write_request_units = var.table_units_per_second.write
    }
  }

  on_demand_throughput {
    max_read_request_units  = var.table_units_per_second.read
    max_write_request_units = var.table_units_per_second.write
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  # The rows of a backup belong to connections that have ended: there is nothing to restore.
  point_in_time_recovery {
    enabled = false
  }

  # With false the table is encrypted too, with a key that AWS owns and does not bill.
  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  tags = local.tags
}

# The log of each room.
resource "aws_dynamodb_table" "messages" {
  name                        = coalesce(var.table_names.messages, "${local.prefix}-messages")
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "room"
  range_key                   = "seq"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "room"
    type = "S"
  }

  attribute {
    name = "seq"
    type = "N"
  }

  on_demand_throughput {
    max_read_request_units  = var.table_units_per_second.read
    max_write_request_units = var.table_units_per_second.write
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  # An ack says that the message is stored, so an operator must be able to undo a deletion.
  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  tags = local.tags
}

# Bans and revocations of a user, for all connections. Read only where identity is on.
resource "aws_dynamodb_table" "users" {
  name                        = coalesce(var.table_names.users, "${local.prefix}-users")
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "user"
  range_key                   = "about"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "user"
    type = "S"
  }

  attribute {
    name = "about"
    type = "S"
  }

  on_demand_throughput {
    max_read_request_units  = var.table_units_per_second.read
    max_write_request_units = var.table_units_per_second.write
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  # A lost ban lets a banned user in.
  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  tags = local.tags
}
