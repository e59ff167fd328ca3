# One alert policy for each rule of alerts.yaml. Each has a runbook in docs/how-to/runbooks, which the notification
# links to. They stand on names alone and wait for nothing: an apply that fails half-way is watched all the same.

locals {
  alert_rules = {
    for rule in yamldecode(templatefile("${path.module}/alerts.yaml", {
      dispatcher                = local.functions.dispatcher
      sweep                     = local.functions.sweep
      dead_letters_subscription = local.subscriptions.dead_letters
      jobs_subscription         = local.subscriptions.jobs_push
      worker_faults             = join("|", local.worker_faults)
      # The share of steps that may fail, without the noise of binary fractions.
      error_budget             = format("%.6g", 1 - var.alerts.steps_succeeding)
      queue_age_seconds        = var.alerts.queue_age_seconds
      model_latency_ms         = var.alerts.model_latency_seconds * 1000
      tokens_per_hour          = var.alerts.tokens_per_hour
      lease_takeovers_per_hour = var.alerts.lease_takeovers_per_hour
      rate_limits_per_hour     = var.alerts.rate_limits_per_hour
      invalid_outputs_per_hour = var.alerts.invalid_outputs_per_hour
      rejected_hooks_per_hour  = var.alerts.rejected_hooks_per_hour
      function_errors_per_hour = var.alerts.function_errors_per_hour
    })).groups[0].rules : rule.alert => rule
  }

  email_channels = [for channel in google_monitoring_notification_channel.email : channel.name]
  alert_channels = concat(
    local.email_channels,
    [for channel in google_monitoring_notification_channel.other : channel.name],
    sort(var.alerts.existing_channels),
  )
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alerts.emails

  project      = var.project_id
  display_name = "LLM worker: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [time_sleep.services]
}

# A type whose labels hold a secret (Slack, PagerDuty) is made by hand and named in existing_channels: a secret in a
# variable would be in the state.
resource "google_monitoring_notification_channel" "other" {
  for_each = var.alerts.channels

  project      = var.project_id
  display_name = "LLM worker: ${each.key}"
  type         = each.value.type
  labels       = each.value.labels

  depends_on = [time_sleep.services]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alert_rules

  project               = var.project_id
  display_name          = "LLM worker (${var.environment}): ${each.value.annotations.summary}"
  combiner              = "OR"
  severity              = upper(each.value.labels.severity)
  notification_channels = local.alert_channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.annotations.summary
    condition_prometheus_query_language {
      query    = trimspace(each.value.expr)
      duration = "${try(tonumber(trimsuffix(each.value.for, "m")), 0) * 60}s"
      # An hour's sum need not be looked at every minute, and looking is billed.
      evaluation_interval = strcontains(each.value.expr, "[1h]") && each.value.labels.severity == "warning" ? "300s" : "60s"
      # A log-based metric appears up to ten minutes after it was made.
      disable_metric_validation = true
    }
  }

  alert_strategy {
    # An incident that stays open hides the next one.
    auto_close = "1800s"

    # What is critical is told again until somebody ends it.
    dynamic "notification_channel_strategy" {
      for_each = each.value.labels.severity == "critical" && length(local.alert_channels) > 0 ? [local.alert_channels] : []
      content {
        notification_channel_names = notification_channel_strategy.value
        renotify_interval          = "${var.alerts.renotify_minutes * 60}s"
      }
    }
  }

  documentation {
    subject = "LLM worker (${var.environment}): ${each.value.annotations.summary}"
    content = "What to do: ${var.alerts.runbooks_url}/${each.value.annotations.runbook}.md"
    links {
      display_name = "Runbook"
      url          = "${var.alerts.runbooks_url}/${each.value.annotations.runbook}.md"
    }
  }

  depends_on = [time_sleep.services]
}
