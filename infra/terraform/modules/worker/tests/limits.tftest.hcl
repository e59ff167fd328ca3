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

run "the_default_chain_is_accepted_and_reaches_every_link" {
  command = plan

  assert {
    condition = [
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["GEMINI_TIMEOUT_SECONDS"],
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["FINALIZE_BUDGET_SECONDS"],
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["INVOCATION_TIMEOUT_SECONDS"],
      tostring(google_cloudfunctions2_function.executor.service_config[0].timeout_seconds),
      tostring(google_pubsub_subscription.jobs_push.ack_deadline_seconds),
    ] == ["480", "60", "540", "570", "600"]
    error_message = "The chain of deadlines is not the one that was asked for."
  }
}

run "a_model_call_that_leaves_no_time_to_finalize_is_refused" {
  command = plan
  variables {
    deadlines = { model_seconds = 500 }
  }
  expect_failures = [var.deadlines]
}

run "an_invocation_longer_than_the_function_is_refused" {
  command = plan
  variables {
    deadlines = { invocation_seconds = 570 }
  }
  expect_failures = [var.deadlines]
}

run "a_function_longer_than_the_push_deadline_is_refused" {
  command = plan
  variables {
    deadlines = { function_seconds = 600 }
  }
  expect_failures = [var.deadlines]
}

run "a_function_longer_than_the_push_deadline_is_accepted_when_asked_for" {
  command = plan
  variables {
    deadlines = { model_seconds = 900, invocation_seconds = 1000, function_seconds = 1100, redeliver_while_running = true }
  }

  assert {
    condition     = google_cloudfunctions2_function.executor.service_config[0].timeout_seconds == 1100
    error_message = "The function does not get the time that was asked for."
  }
}

run "a_push_deadline_beyond_what_pubsub_allows_is_refused" {
  command = plan
  variables {
    deadlines = { push_seconds = 601 }
  }
  expect_failures = [var.deadlines]
}

run "a_model_timeout_that_the_provider_refuses_is_refused" {
  command = plan
  variables {
    deadlines = { model_seconds = 9 }
    alerts    = { runbooks_url = "https://example.com/runbooks", model_latency_seconds = 5 }
  }
  expect_failures = [var.deadlines]
}

run "delivery_attempts_within_the_attempt_budget_are_refused" {
  command = plan
  variables {
    attempts = { per_step = 10, max_deliveries = 10 }
  }
  expect_failures = [var.attempts]
}

run "delivery_attempts_below_what_pubsub_allows_are_refused" {
  command = plan
  variables {
    attempts = { per_step = 2, max_deliveries = 4 }
  }
  expect_failures = [var.attempts]
}

run "the_budgets_reach_the_executor_and_the_subscription" {
  command = plan
  variables {
    attempts = { per_step = 7, model_calls = 4, max_deliveries = 12 }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["MAX_ATTEMPTS"] == "7"
      && google_cloudfunctions2_function.sweep.service_config[0].environment_variables["MAX_ATTEMPTS"] == "7"
      && google_cloudfunctions2_function.executor.service_config[0].environment_variables["MAX_LLM_CALLS"] == "4"
      && google_pubsub_subscription.jobs_push.dead_letter_policy[0].max_delivery_attempts == 12
    )
    error_message = "A budget got lost."
  }
}

run "more_parallel_model_calls_than_the_ceiling_are_refused" {
  command = plan
  variables {
    executor                 = { max_instances = 11, concurrency = 4 }
    max_parallel_model_calls = 43
  }
  expect_failures = [var.max_parallel_model_calls]
}

run "parallel_model_calls_at_the_ceiling_are_accepted" {
  command = plan
  variables {
    executor                 = { max_instances = 11, concurrency = 4 }
    max_parallel_model_calls = 44
  }

  assert {
    condition = (
      google_cloudfunctions2_function.executor.service_config[0].max_instance_count
      * google_cloudfunctions2_function.executor.service_config[0].max_instance_request_concurrency
    ) == 44
    error_message = "The ceiling is not what the function is limited to."
  }
}

run "concurrency_on_a_part_of_a_cpu_is_refused" {
  command = plan
  variables {
    executor = { concurrency = 2, cpu = "0.5" }
  }
  expect_failures = [var.executor]
}

run "a_setting_that_another_variable_decides_is_refused" {
  command = plan
  variables {
    settings = { MAX_ATTEMPTS = "50" }
  }
  expect_failures = [var.settings]
}

run "a_further_setting_reaches_every_function" {
  command = plan
  variables {
    settings = { LEASE_SECONDS = "90" }
  }

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] :
      f.service_config[0].environment_variables["LEASE_SECONDS"] == "90"
    ])
    error_message = "The setting got lost."
  }
}

run "no_function_has_its_log_lines_rewritten" {
  command = plan

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] :
      f.service_config[0].environment_variables["LOG_EXECUTION_ID"] == "false"
    ])
    error_message = "The platform would rewrite what is logged."
  }
}
