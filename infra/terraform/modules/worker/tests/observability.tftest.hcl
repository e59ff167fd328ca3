mock_provider "google-beta" {}

mock_provider "time" {}

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
    condition = length(google_monitoring_alert_policy.alert) == length(local.alert_rules) && alltrue([
      for policy in google_monitoring_alert_policy.alert :
      can(regex("^https://example.com/runbooks/[a-z-]+\\.md$", policy.documentation[0].links[0].url)) && endswith(policy.documentation[0].content, policy.documentation[0].links[0].url)
    ])
    error_message = "An alert does not say what to do."
  }
}

run "no_alert_needs_a_metric_that_is_there_and_every_incident_ends" {
  command = plan

  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.alert :
      policy.conditions[0].condition_prometheus_query_language[0].disable_metric_validation && policy.alert_strategy[0].auto_close == "1800s"
    ])
    error_message = "An alert is refused on an empty project, or its incident hides the next."
  }
}

run "a_rule_becomes_a_policy_as_it_is_written" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", emails = ["one@example.com"], tokens_per_hour = 500000, steps_succeeding = 0.995 }
  }

  assert {
    condition = (
      google_monitoring_alert_policy.alert["token-spending"].conditions[0].condition_prometheus_query_language[0].query
      == "sum(increase(logging_googleapis_com:user_llm_total_tokens_sum{monitored_resource=\"cloud_run_revision\"}[1h])) > 500000"
      && google_monitoring_alert_policy.alert["token-spending"].severity == "WARNING"
      && google_monitoring_alert_policy.alert["sweep-silent"].severity == "CRITICAL"
      && google_monitoring_alert_policy.alert["sweep-silent"].conditions[0].condition_prometheus_query_language[0].duration == "600s"
      && google_monitoring_alert_policy.alert["dead-letters"].conditions[0].condition_prometheus_query_language[0].duration == "0s"
    )
    error_message = "A policy is another one than its rule."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.alert["steps-failing-fast"].conditions[0].condition_prometheus_query_language[0].query, "> 14.4 * 0.005\n")
    error_message = "The error budget is not what the objective leaves."
  }
}

run "what_is_critical_is_told_again" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", existing_channels = ["projects/example-project/notificationChannels/1"], renotify_minutes = 30 }
  }

  assert {
    condition = alltrue([
      for name, policy in google_monitoring_alert_policy.alert :
      join(",", [for again in policy.alert_strategy[0].notification_channel_strategy : again.renotify_interval]) == (policy.severity == "CRITICAL" ? "1800s" : "")
    ])
    error_message = "A critical alert is told once, or another one twice."
  }
}

run "every_alert_reaches_everybody" {
  command = plan
  variables {
    alerts = {
      runbooks_url      = "https://example.com/runbooks"
      emails            = ["one@example.com", "two@example.com"]
      channels          = { on-call = { type = "sms", labels = { number = "+15550100" } } }
      existing_channels = ["projects/example-project/notificationChannels/1"]
    }
  }

  assert {
    condition = alltrue([
      for policy in google_monitoring_alert_policy.alert : length(policy.notification_channels) == 4
    ])
    error_message = "An alert does not reach everybody."
  }
}

run "a_channel_with_a_secret_is_refused" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", channels = { chat = { type = "slack", labels = { auth_token = "x" } } } }
  }
  expect_failures = [var.alerts]
}

run "a_channel_that_is_not_named_in_full_is_refused" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", existing_channels = ["on-call"] }
  }
  expect_failures = [var.alerts]
}

run "telling_again_more_often_than_is_possible_is_refused" {
  command = plan
  variables {
    alerts = { runbooks_url = "https://example.com/runbooks", renotify_minutes = 5 }
  }
  expect_failures = [var.alerts]
}

run "an_existing_channel_is_somebody_to_tell_in_prod" {
  command = plan
  variables {
    environment = "prod"
    alerts      = { runbooks_url = "https://example.com/runbooks", existing_channels = ["projects/example-project/notificationChannels/1"] }
  }

  assert {
    condition     = length(google_monitoring_notification_channel.email) == 0
    error_message = "A mail address appeared from nowhere."
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

run "the_objective_counts_the_workers_own_faults" {
  command = plan

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
