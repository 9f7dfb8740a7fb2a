# One row per (connection, room).
resource "aws_dynamodb_table" "connections" {
  #checkov:skip=CKV_AWS_28:Rows of connections that have ended are worth no backup.

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
    # Nothing needs the order, but provider 6.29 and later stumble over an index without a range key.
    range_key          = "connectionId"
    projection_type    = "INCLUDE"
    non_key_attributes = ["user", "expiresAt"]
  }

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  # The rows of a backup belong to connections that have ended: nothing worth restoring.
  point_in_time_recovery {
    enabled = false
  }

  # false is not "unencrypted" but the key that AWS owns and does not bill.
  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }
}

# The log of each room.
resource "aws_dynamodb_table" "messages" {
  name                        = "${local.prefix}-messages"
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

  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }

  # What people wrote, and what their clients were told is stored: a mistake must be undoable.
  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }
}
