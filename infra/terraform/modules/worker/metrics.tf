# Metrics from the worker's log events. Events and fields are a stable API (shared/log.py); a test derives from
# the code which there are, and fails when a filter or an extractor names another.

locals {
  worker_log = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "jsonPayload.service=\"worker_llm_client\"",
    "jsonPayload.env=\"${var.environment}\"",
  ])

  # Name -> which entries are counted, and by what.
  counters = {
    llm_steps = {
      description = "Steps that ended, by outcome and error code"
      filter      = "jsonPayload.event=(\"step_completed\" OR \"step_failed\")"
      labels = {
        outcome = "EXTRACT(jsonPayload.event)"
        code    = "EXTRACT(jsonPayload.code)"
      }
    }
    llm_calls = {
      description = "Model calls that ended, by error code; empty for an answer"
      filter      = "jsonPayload.event=\"llm_request_finished\""
      labels      = { code = "EXTRACT(jsonPayload.code)" }
    }
    llm_attempts_deferred = {
      description = "Attempts that were given back to be tried again later, by error code"
      filter      = "jsonPayload.event=\"job_deferred\""
      labels      = { code = "EXTRACT(jsonPayload.code)" }
    }
    llm_lease_takeovers = {
      description = "Leases taken by a second or later attempt: the holder before it failed or died"
      filter      = "jsonPayload.event=\"lease_acquired\" AND jsonPayload.attempt>1"
      labels      = {}
    }
    llm_leases_lost = {
      description = "Leases lost while work went on"
      filter      = "jsonPayload.event=\"lease_lost\""
      labels      = {}
    }
    llm_messages_rejected = {
      description = "Messages that cannot be read, by reason"
      filter      = "jsonPayload.event=\"job_rejected\""
      labels      = { reason = "EXTRACT(jsonPayload.reason)" }
    }
    llm_dead_letters_replayed = {
      description = "Dead letters that came back to the executor after an operator replayed them"
      filter      = "jsonPayload.event=\"dead_letter_replayed\""
      labels      = {}
    }
    llm_outputs_invalid = {
      description = "Model answers that are no valid report"
      filter      = "jsonPayload.event=\"structured_output_invalid\""
      labels      = {}
    }
    llm_sweeps = {
      description = "Sweeps that came to their end, by whether they looked at all there was"
      filter      = "jsonPayload.event=\"sweep_finished\""
      labels      = { complete = "EXTRACT(jsonPayload.complete)" }
    }
    llm_long_waits = {
      description = "Sweeps that saw a job whose wait for the provider has used up much of its patience, by pace"
      filter      = "jsonPayload.event=\"jobs_waiting\" AND jsonPayload.patienceUsed>=${var.alerts.patience_share}"
      labels      = { place = "EXTRACT(jsonPayload.place)" }
    }
    llm_models_retiring = {
      description = "Steps on a model that retires soon, by model"
      filter      = "jsonPayload.event=\"prompt_fetch_finished\" AND severity=WARNING"
      labels      = { model = "EXTRACT(jsonPayload.modelName)" }
    }
    llm_served_otherwise = {
      description = "Calls that another model or service tier served than was asked, by that model"
      filter      = "jsonPayload.event=\"llm_served_otherwise\""
      labels      = { model = "EXTRACT(jsonPayload.llm.modelVersion)" }
    }
    llm_hooks_rejected = {
      description = "Requests to the public function that were no hooks, by reason"
      filter      = "jsonPayload.event=\"hook_rejected\""
      labels      = { reason = "EXTRACT(jsonPayload.reason)" }
    }
    llm_log_entries_rejected = {
      description = "Log entries that the gates refused, by the event they were meant for"
      filter      = "jsonPayload.event=\"log_entry_rejected\""
      labels      = { rejected_event = "EXTRACT(jsonPayload.rejectedEvent)" }
    }
  }

  # Name -> the number that is collected, in exponential buckets from scale on.
  distributions = {
    llm_model_latency = {
      description = "Duration of model calls, by model version"
      filter      = "jsonPayload.event=\"llm_request_finished\""
      value       = "EXTRACT(jsonPayload.durationMs)"
      labels      = { model = "EXTRACT(jsonPayload.llm.modelVersion)" }
      unit        = "ms"
      scale       = 100
    }
    llm_prompt_tokens = {
      description = "Input tokens of model calls, by model version"
      filter      = "jsonPayload.event=\"llm_request_finished\""
      value       = "EXTRACT(jsonPayload.llm.usage.promptTokenCount)"
      labels      = { model = "EXTRACT(jsonPayload.llm.modelVersion)" }
      unit        = "1"
      scale       = 100
    }
    llm_output_tokens = {
      description = "Output tokens of model calls, by model version"
      filter      = "jsonPayload.event=\"llm_request_finished\""
      value       = "EXTRACT(jsonPayload.llm.usage.candidatesTokenCount)"
      labels      = { model = "EXTRACT(jsonPayload.llm.modelVersion)" }
      unit        = "1"
      scale       = 10
    }
    llm_total_tokens = {
      description = "Tokens of model calls as billed, thinking included, by model version"
      filter      = "jsonPayload.event=\"llm_request_finished\""
      value       = "EXTRACT(jsonPayload.llm.usage.totalTokenCount)"
      labels      = { model = "EXTRACT(jsonPayload.llm.modelVersion)" }
      unit        = "1"
      scale       = 100
    }
    llm_jobs_waiting = {
      description = "Jobs that wait for the provider as each sweep sees them, by pace"
      filter      = "jsonPayload.event=\"jobs_waiting\""
      value       = "EXTRACT(jsonPayload.jobs)"
      labels      = { place = "EXTRACT(jsonPayload.place)" }
      unit        = "1"
      scale       = 1
    }
    llm_step_cost = {
      description = "USD that a step's model calls cost, where each has a price"
      filter      = "jsonPayload.event=(\"step_completed\" OR \"step_failed\")"
      value       = "EXTRACT(jsonPayload.costUsd)"
      labels      = {}
      unit        = "1"
      scale       = 0.0001
    }
  }

  # Name -> the filter that selects its time series, for objective and dashboard.
  series = {
    for name in concat(keys(local.counters), keys(local.distributions)) : name => "metric.type=\"logging.googleapis.com/user/${name}\" AND resource.type=\"cloud_run_revision\""
  }

  # Name -> a distribution's sum (https://cloud.google.com/monitoring/promql/promql-mapping).
  sums = {
    for name in keys(local.distributions) :
    name => "logging_googleapis_com:user_${name}_sum{monitored_resource=\"cloud_run_revision\"}"
  }
}

resource "google_logging_metric" "counter" {
  for_each = local.counters

  project          = var.project_id
  name             = each.key
  description      = each.value.description
  filter           = "${local.worker_log} AND ${each.value.filter}"
  label_extractors = each.value.labels

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  depends_on = [time_sleep.services]
}

resource "google_logging_metric" "distribution" {
  for_each = local.distributions

  project          = var.project_id
  name             = each.key
  description      = each.value.description
  filter           = "${local.worker_log} AND ${each.value.filter}"
  value_extractor  = each.value.value
  label_extractors = each.value.labels

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit
    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  # Neighboring bounds 20 % apart: the error of a percentile that is read from them.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 64
      growth_factor      = 1.2
      scale              = each.value.scale
    }
  }

  depends_on = [time_sleep.services]
}
