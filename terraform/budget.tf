# Counts the whole account, and not the tag of this stack: a tag counts only after somebody has activated it in the billing
# console, and the budget would stay at 0 until then.
resource "aws_budgets_budget" "main" {
  count = var.budget == null ? 0 : 1

  name         = local.prefix
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = format("%.2f", var.budget.usd_per_month)
  limit_unit   = "USD"

  cost_filter {
    name   = "Service"
    values = ["Amazon API Gateway", "Amazon DynamoDB", "AmazonCloudWatch", "AWS Lambda"]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type          = notification.key
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      comparison_operator        = "GREATER_THAN"
      subscriber_email_addresses = var.budget.emails
    }
  }

  tags = local.tags
}
