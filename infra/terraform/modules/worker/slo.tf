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
}

resource "google_monitoring_custom_service" "worker" {
  project      = var.project_id
  service_id   = "llm-worker"
  display_name = "LLM worker (${var.environment})"
  user_labels  = local.labels

  depends_on = [time_sleep.services]
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

  depends_on = [time_sleep.metrics]
}
