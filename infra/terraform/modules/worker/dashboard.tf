# What an operator looks at first, two charts a row.

locals {
  # Title -> the series it draws, grouped by labels, one line for each pair of aligner and reducer.
  sum = [["ALIGN_DELTA", "REDUCE_SUM"]]
  p95 = [["ALIGN_DELTA", "REDUCE_PERCENTILE_95"]]
  p50 = [["ALIGN_DELTA", "REDUCE_PERCENTILE_50"]]

  waiting_jobs    = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${local.subscriptions.jobs_push}\""
  waiting_letters = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${local.subscriptions.dead_letters}\""
  answered_with_error = join(" AND ", [
    "metric.type=\"run.googleapis.com/request_count\"",
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=one_of(\"${local.functions.dispatcher}\",\"${local.functions.sweep}\")",
    "metric.labels.response_code_class=\"5xx\"",
  ])
  failed_steps = "${local.series["llm_steps"]} AND metric.labels.outcome=\"step_failed\""

  charts = [
    { title = "Steps ended, by outcome", unit = "steps", lines = local.sum, by = ["metric.label.outcome"], filter = local.series["llm_steps"] },
    { title = "Failed steps, by code", unit = "steps", lines = local.sum, by = ["metric.label.code"], filter = local.failed_steps },
    { title = "Model latency, p50 and p95", unit = "ms", lines = concat(local.p50, local.p95), by = ["metric.label.model"], filter = local.series["llm_model_latency"] },
    { title = "Input tokens of a call, p95", unit = "tokens", lines = local.p95, by = ["metric.label.model"], filter = local.series["llm_prompt_tokens"] },
    { title = "Output tokens of a call, p95", unit = "tokens", lines = local.p95, by = ["metric.label.model"], filter = local.series["llm_output_tokens"] },
    { title = "Age of the oldest waiting job", unit = "s", lines = [["ALIGN_MAX", "REDUCE_MAX"]], by = [], filter = local.waiting_jobs },
    { title = "Dead letters waiting", unit = "messages", lines = [["ALIGN_MAX", "REDUCE_SUM"]], by = [], filter = local.waiting_letters },
    { title = "Dead letters replayed", unit = "messages", lines = local.sum, by = [], filter = local.series["llm_dead_letters_replayed"] },
    { title = "Messages rejected, by reason", unit = "messages", lines = local.sum, by = ["metric.label.reason"], filter = local.series["llm_messages_rejected"] },
    { title = "Model calls, by error code", unit = "calls", lines = local.sum, by = ["metric.label.code"], filter = local.series["llm_calls"] },
    { title = "Jobs that wait for the provider, p95", unit = "jobs", lines = local.p95, by = ["metric.label.place"], filter = local.series["llm_jobs_waiting"] },
    { title = "Sweeps that saw a long wait", unit = "sweeps", lines = local.sum, by = ["metric.label.place"], filter = local.series["llm_long_waits"] },
    { title = "Attempts given back, by code", unit = "attempts", lines = local.sum, by = ["metric.label.code"], filter = local.series["llm_attempts_deferred"] },
    { title = "Lease takeovers", unit = "leases", lines = local.sum, by = [], filter = local.series["llm_lease_takeovers"] },
    { title = "Leases lost at work", unit = "leases", lines = local.sum, by = [], filter = local.series["llm_leases_lost"] },
    { title = "Sweeps, by completeness", unit = "sweeps", lines = local.sum, by = ["metric.label.complete"], filter = local.series["llm_sweeps"] },
    { title = "Invalid model answers", unit = "answers", lines = local.sum, by = [], filter = local.series["llm_outputs_invalid"] },
    { title = "Steps on retiring models, by model", unit = "steps", lines = local.sum, by = ["metric.label.model"], filter = local.series["llm_models_retiring"] },
    { title = "Calls served by another model or tier, by model", unit = "calls", lines = local.sum, by = ["metric.label.model"], filter = local.series["llm_served_otherwise"] },
    { title = "Requests that were no hooks, by reason", unit = "requests", lines = local.sum, by = ["metric.label.reason"], filter = local.series["llm_hooks_rejected"] },
    { title = "Log entries rejected", unit = "entries", lines = local.sum, by = ["metric.label.rejected_event"], filter = local.series["llm_log_entries_rejected"] },
    { title = "Answers with an error", unit = "requests", lines = local.sum, by = ["resource.label.service_name"], filter = local.answered_with_error },
  ]

  chart_widgets = [
    for chart in local.charts : {
      title = chart.title
      xyChart = {
        yAxis = { label = chart.unit }
        dataSets = [
          for line in chart.lines : {
            plotType = "LINE"
            timeSeriesQuery = {
              timeSeriesFilter = {
                filter = chart.filter
                aggregation = {
                  alignmentPeriod    = "300s"
                  perSeriesAligner   = line[0]
                  crossSeriesReducer = line[1]
                  groupByFields      = chart.by
                }
              }
            }
          }
        ]
      }
    }
  ]

  # What only the other query language can ask for: sums of distributions.
  sum_widgets = [
    for title, sum in {
      "USD an hour, where models have prices" = { query = "sum(increase(${local.sums["llm_step_cost"]}[1h]))", unit = "USD" }
      "Tokens an hour, by model"              = { query = "sum by (model) (increase(${local.sums["llm_total_tokens"]}[1h]))", unit = "tokens" }
      } : {
      title = title
      xyChart = {
        yAxis    = { label = sum.unit }
        dataSets = [{ plotType = "LINE", timeSeriesQuery = { prometheusQuery = sum.query } }]
      }
    }
  ]

  # As text, since widgets of different kinds have different types.
  widgets = concat([for widget in local.sum_widgets : jsonencode(widget)], [for widget in local.chart_widgets : jsonencode(widget)])
}

resource "google_monitoring_dashboard" "worker" {
  project = var.project_id
  dashboard_json = jsonencode({
    displayName = "LLM worker (${var.environment})"
    mosaicLayout = {
      columns = 48
      tiles = [
        for index, widget in local.widgets : {
          xPos   = 24 * (index % 2)
          yPos   = 16 * floor(index / 2)
          width  = 24
          height = 16
          widget = jsondecode(widget)
        }
      ]
    }
  })

  depends_on = [time_sleep.services]
}
