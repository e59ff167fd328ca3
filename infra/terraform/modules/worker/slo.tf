# Of the steps that could succeed, how many did. A step that its own inputs doom is not counted: the worker's
# promise for it is the right error code.

locals {
  # The error codes that are the worker's or its provider's fault; a test keeps the list complete.
  worker_faults = [
    "ATTEMPTS_EXHAUSTED",
    "CALL_OUTCOME_UNKNOWN",
    "FIRESTORE_CLAIM_FAILED",
    "FIRESTORE_FINALIZE_FAILED",
    "FIRESTORE_UNAVAILABLE",
    "GCS_READ_FAILED",
    "GCS_WRITE_FAILED",
    "GEMINI_REQUEST_FAILED",
    "INTERNAL_ERROR",
    "INVALID_STRUCTURED_OUTPUT",
    "RATE_LIMITED",
    "TIME_BUDGET_EXCEEDED",
  ]

  # https://sre.google/workbook/alerting-on-slos/, table 5-8: share of the 30 days' budget burned within the long window.
  burn_rates = {
    fast = { severity = "CRITICAL", rate = 14.4, long = "3600s", short = "300s" }
    slow = { severity = "ERROR", rate = 6, long = "21600s", short = "1800s" }
  }
}

resource "google_monitoring_custom_service" "worker" {
  project      = var.project_id
  service_id   = "llm-worker"
  display_name = "LLM worker (${var.environment})"
  user_labels  = local.labels

  depends_on = [google_project_service.required]
}

resource "google_monitoring_slo" "steps_succeed" {
  project             = var.project_id
  service             = google_monitoring_custom_service.worker.service_id
  slo_id              = "steps-succeed"
  display_name        = "${var.alerts.steps_succeeding * 100} % of the steps that could succeed do"
  goal                = var.alerts.steps_succeeding
  rolling_period_days = 30
  user_labels         = local.labels

  request_based_sli {
    good_total_ratio {
      good_service_filter = "${local.series["llm_steps"]} AND metric.labels.outcome=\"step_completed\""
      bad_service_filter  = "${local.series["llm_steps"]} AND metric.labels.outcome=\"step_failed\" AND metric.labels.code=one_of(${join(",", [for code in local.worker_faults : "\"${code}\""])})"
    }
  }
}

resource "google_monitoring_alert_policy" "burn_rate" {
  for_each = local.burn_rates

  project      = var.project_id
  display_name = "LLM worker (${var.environment}): Steps fail, error budget burns ${each.key}"
  # Both windows: the long one says that it matters, the short one that it still goes on.
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.alert_channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = toset([each.value.long, each.value.short])
    content {
      display_name = "Burn rate over ${conditions.key}"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.steps_succeed.name}\", \"${conditions.key}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  documentation {
    subject = "LLM worker (${var.environment}): Steps fail"
    content = "What to do: ${var.alerts.runbooks_url}/steps-failing.md"
    links {
      display_name = "Runbook"
      url          = "${var.alerts.runbooks_url}/steps-failing.md"
    }
  }
}
