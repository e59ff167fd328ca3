# One alert policy per thing that somebody must do something about. Each has a runbook of its name in
# docs/how-to/runbooks, which the notification links to.

locals {
  # Name -> what is measured, above which value it is wrong, and for how long it must be.
  thresholds = {
    dead-letters = {
      severity  = "ERROR"
      title     = "A message waits in the dead-letter subscription"
      filter    = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.dead_letters.name}\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_SUM"
      period    = "300s"
      duration  = "0s"
      threshold = 0
    }
    queue-age = {
      severity  = "ERROR"
      title     = "Jobs wait too long for an executor"
      filter    = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.jobs_push.name}\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      period    = "60s"
      duration  = "300s"
      threshold = var.alerts.queue_age_seconds
    }
    model-latency = {
      severity  = "WARNING"
      title     = "One model call in twenty takes too long"
      filter    = local.series["llm_model_latency"]
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_PERCENTILE_95"
      period    = "900s"
      duration  = "900s"
      threshold = var.alerts.model_latency_seconds * 1000
    }
    rate-limited = {
      severity  = "WARNING"
      title     = "The model provider limits the rate"
      filter    = "${local.series["llm_calls"]} AND metric.labels.code=\"RATE_LIMITED\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "3600s"
      duration  = "0s"
      threshold = var.alerts.rate_limits_per_hour
    }
    invalid-outputs = {
      severity  = "WARNING"
      title     = "The model often answers with what is no valid report"
      filter    = local.series["llm_outputs_invalid"]
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "3600s"
      duration  = "0s"
      threshold = var.alerts.invalid_outputs_per_hour
    }
    lease-takeovers = {
      severity  = "WARNING"
      title     = "Executors often fail or die at work"
      filter    = local.series["llm_lease_takeovers"]
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "3600s"
      duration  = "0s"
      threshold = var.alerts.lease_takeovers_per_hour
    }
    models-retiring = {
      severity  = "WARNING"
      title     = "Steps use a model that retires soon"
      filter    = local.series["llm_models_retiring"]
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "3600s"
      duration  = "0s"
      threshold = 0
    }
    log-entries-rejected = {
      severity  = "WARNING"
      title     = "The worker tried to log what may not be logged"
      filter    = local.series["llm_log_entries_rejected"]
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "3600s"
      duration  = "0s"
      threshold = 0
    }
    function-errors = {
      severity = "ERROR"
      title    = "Dispatcher or sweep often answer with an error"
      filter = join(" AND ", [
        "metric.type=\"run.googleapis.com/request_count\"",
        "resource.type=\"cloud_run_revision\"",
        "resource.labels.service_name=one_of(\"${google_cloudfunctions2_function.dispatcher.name}\",\"${google_cloudfunctions2_function.sweep.name}\")",
        "metric.labels.response_code_class=\"5xx\"",
      ])
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "3600s"
      duration  = "0s"
      threshold = var.alerts.function_errors_per_hour
    }
  }

  alert_channels = [for channel in google_monitoring_notification_channel.email : channel.name]
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alerts.emails

  project      = var.project_id
  display_name = "LLM worker: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.thresholds

  project               = var.project_id
  display_name          = "LLM worker (${var.environment}): ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.alert_channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.title
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration
      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  documentation {
    subject = "LLM worker (${var.environment}): ${each.value.title}"
    content = "What to do: ${var.alerts.runbooks_url}/${each.key}.md"
    links {
      display_name = "Runbook"
      url          = "${var.alerts.runbooks_url}/${each.key}.md"
    }
  }
}

# Silence is the one sign of a sweep that no longer runs, and without it nothing stuck is ever woken.
resource "google_monitoring_alert_policy" "sweep_silent" {
  project               = var.project_id
  display_name          = "LLM worker (${var.environment}): The sweep is silent"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.alert_channels
  user_labels           = local.labels

  conditions {
    display_name = "No sweep came to its end"
    condition_absent {
      filter   = local.series["llm_sweeps"]
      duration = "900s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    subject = "LLM worker (${var.environment}): The sweep is silent"
    content = "What to do: ${var.alerts.runbooks_url}/sweep-silent.md"
    links {
      display_name = "Runbook"
      url          = "${var.alerts.runbooks_url}/sweep-silent.md"
    }
  }
}

# A distribution's sum, which only this query language can ask for.
resource "google_monitoring_alert_policy" "token_spending" {
  project               = var.project_id
  display_name          = "LLM worker (${var.environment}): More tokens an hour than were planned"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.alert_channels
  user_labels           = local.labels

  conditions {
    display_name = "Tokens in the last hour"
    condition_prometheus_query_language {
      query               = "sum(increase(${local.sums["llm_total_tokens"]}[1h])) > ${var.alerts.tokens_per_hour}"
      duration            = "0s"
      evaluation_interval = "300s"
    }
  }

  documentation {
    subject = "LLM worker (${var.environment}): More tokens an hour than were planned"
    content = "What to do: ${var.alerts.runbooks_url}/token-spending.md"
    links {
      display_name = "Runbook"
      url          = "${var.alerts.runbooks_url}/token-spending.md"
    }
  }
}
