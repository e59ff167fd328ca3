mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id     = "example-project"
  environment    = "dev"
  region         = "europe-west4"
  gemini         = { api_key_version = 3 }
  allowed_models = ["gemini-3.8-flash:2027-06-30"]
  alerts         = { runbooks_url = "https://example.com/runbooks" }
  bundles = {
    dispatcher = "tests/bundles/dispatcher.zip"
    executor   = "tests/bundles/executor.zip"
  }
}

run "every_alert_links_to_its_runbook" {
  command = plan

  assert {
    condition = alltrue([
      for policy in concat(
        values(google_monitoring_alert_policy.threshold),
        values(google_monitoring_alert_policy.burn_rate),
        [google_monitoring_alert_policy.sweep_silent, google_monitoring_alert_policy.token_spending],
      ) : can(regex("^https://example.com/runbooks/[a-z-]+\\.md$", policy.documentation[0].links[0].url)) && endswith(policy.documentation[0].content, policy.documentation[0].links[0].url)
    ])
    error_message = "An alert does not say what to do."
  }
}

run "every_alert_reaches_everybody" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", emails = ["one@example.com", "two@example.com"] }
  }

  assert {
    condition = alltrue([
      for policy in concat(
        values(google_monitoring_alert_policy.threshold),
        values(google_monitoring_alert_policy.burn_rate),
        [google_monitoring_alert_policy.sweep_silent, google_monitoring_alert_policy.token_spending],
      ) : length(policy.notification_channels) == 2
    ])
    error_message = "An alert reaches nobody."
  }
}

run "prod_without_somebody_to_tell_is_refused" {
  command = plan
  variables {
    environment = "prod"
  }
  expect_failures = [var.alerts]
}

run "a_latency_alert_that_can_never_fire_is_refused" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", model_latency_seconds = 480 }
  }
  expect_failures = [var.alerts]
}

run "metrics_count_this_environment_alone" {
  command = plan

  assert {
    condition = alltrue([
      for metric in concat(values(google_logging_metric.counter), values(google_logging_metric.distribution)) :
      strcontains(metric.filter, "jsonPayload.service=\"worker_llm_client\" AND jsonPayload.env=\"dev\" AND ")
    ])
    error_message = "A metric counts what others log."
  }

  assert {
    condition = alltrue([
      for metric in values(google_logging_metric.counter) :
      join(",", sort(keys(metric.label_extractors))) == join(",", sort([for label in metric.metric_descriptor[0].labels : label.key]))
    ])
    error_message = "A label is extracted that the metric does not have, or the reverse."
  }
}

run "burn_rates_are_told_over_a_long_and_a_short_window" {
  command = plan

  assert {
    condition = alltrue([
      for policy in values(google_monitoring_alert_policy.burn_rate) : policy.combiner == "AND" && length(policy.conditions) == 2
    ])
    error_message = "A burn-rate alert looks at one window only."
  }

  assert {
    condition     = google_monitoring_slo.steps_succeed.goal == 0.99 && strcontains(google_monitoring_slo.steps_succeed.request_based_sli[0].good_total_ratio[0].bad_service_filter, "one_of(")
    error_message = "The objective is another one."
  }
}

run "the_dashboard_draws_every_metric" {
  command = plan

  assert {
    condition = alltrue([
      for metric in concat(values(google_logging_metric.counter), values(google_logging_metric.distribution)) :
      strcontains(google_monitoring_dashboard.worker.dashboard_json, metric.name)
    ])
    error_message = "A metric is collected that nobody sees."
  }

  assert {
    condition     = length(distinct([for tile in jsondecode(google_monitoring_dashboard.worker.dashboard_json).mosaicLayout.tiles : "${tile.xPos},${tile.yPos}"])) == length(local.widgets)
    error_message = "Two charts lie on one another."
  }
}
