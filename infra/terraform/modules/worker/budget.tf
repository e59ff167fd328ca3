# Told when the month's bill of the whole project nears what was planned. It stops nothing: ceilings do (`cost`).
resource "google_billing_budget" "month" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = "LLM worker (${var.environment})"

  budget_filter {
    projects        = ["projects/${data.google_project.this.number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      currency_code = var.budget.currency
      units         = tostring(var.budget.monthly_amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = toset(var.budget.shares)
    content {
      threshold_percent = threshold_rules.value
    }
  }

  # Before it is spent.
  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  # Billing tells at most five channels, and mail only.
  all_updates_rule {
    monitoring_notification_channels = slice(local.email_channels, 0, min(5, length(local.email_channels)))
    disable_default_iam_recipients   = false
  }

  depends_on = [time_sleep.services]
}
