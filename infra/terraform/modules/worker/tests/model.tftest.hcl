mock_provider "google-beta" {}

mock_provider "time" {}

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

# Known at plan time, so that nothing need be applied, even to a mock.
override_resource {
  target          = google_service_account.dispatcher
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-dispatcher"
    email  = "llm-dispatcher@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-dispatcher@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.executor
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-executor"
    email  = "llm-executor@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-executor@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.sweep
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-sweep"
    email  = "llm-sweep@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-sweep@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.push
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-push"
    email  = "llm-push@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-push@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.scheduler
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-scheduler"
    email  = "llm-scheduler@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-scheduler@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.build
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-build"
    email  = "llm-build@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-build@example-project.iam.gserviceaccount.com"
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

run "with_ai_studio_the_executor_gets_the_key_pinned_to_a_version" {
  command = plan

  assert {
    condition = [
      for secret in google_cloudfunctions2_function.executor.service_config[0].secret_environment_variables : "${secret.key}=${secret.secret}/${secret.version}"
    ] == ["GEMINI_API_KEY=gemini-api-key/3"]
    error_message = "The key is not the pinned one."
  }

  assert {
    condition     = google_secret_manager_secret_iam_member.executor_reads_key[0].member == google_service_account.executor.member
    error_message = "Somebody else reads the key."
  }
}

run "nobody_but_the_executor_sees_the_secret" {
  command = plan

  assert {
    condition = (
      length(google_cloudfunctions2_function.dispatcher.service_config[0].secret_environment_variables) == 0
      && length(google_cloudfunctions2_function.sweep.service_config[0].secret_environment_variables) == 0
      && length(google_secret_manager_secret_iam_member.executor_reads_key) == 1
    )
    error_message = "The key reaches another function."
  }

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.sweep] :
      length([for name in keys(f.service_config[0].environment_variables) : name if startswith(name, "GEMINI_")]) == 0
    ])
    error_message = "A function knows of the model that has no use for it."
  }
}

run "with_vertex_there_is_no_secret_at_all" {
  command = plan
  variables {
    gemini = { backend = "vertex" }
  }

  assert {
    condition = (
      length(google_secret_manager_secret.gemini_api_key) == 0
      && length(google_secret_manager_secret_iam_member.executor_reads_key) == 0
      && length(google_cloudfunctions2_function.executor.service_config[0].secret_environment_variables) == 0
      && !contains(local.services, "secretmanager.googleapis.com")
    )
    error_message = "A secret is left."
  }

  assert {
    condition = (
      one(google_project_iam_custom_role.model[0].permissions) == "aiplatform.endpoints.predict"
      && google_project_iam_member.executor_calls_model[0].member == google_service_account.executor.member
      && contains(local.services, "aiplatform.googleapis.com")
    )
    error_message = "The executor may not call the model, or may do more."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["GEMINI_BACKEND"] == "vertex"
      && google_cloudfunctions2_function.executor.service_config[0].environment_variables["GEMINI_LOCATION"] == "europe-west4"
    )
    error_message = "The executor calls another backend, or leaves the region."
  }
}

run "ai_studio_without_a_version_is_refused" {
  command = plan
  variables {
    gemini = {}
  }
  expect_failures = [var.gemini]
}

run "vertex_with_a_key_is_refused" {
  command = plan
  variables {
    gemini = { backend = "vertex", api_key_version = 1 }
  }
  expect_failures = [var.gemini]
}

run "a_version_that_is_no_number_of_a_version_is_refused" {
  command = plan
  variables {
    gemini = { api_key_version = 0 }
  }
  expect_failures = [var.gemini]
}

run "prod_without_an_allowlist_is_refused" {
  command = plan
  variables {
    environment    = "prod"
    allowed_models = []
    alerts         = { runbooks_url = "https://example.com/runbooks", emails = ["on-call@example.com"] }
  }
  expect_failures = [var.allowed_models]
}

run "dev_without_an_allowlist_is_accepted" {
  command = plan
  variables {
    allowed_models = []
  }

  assert {
    condition     = google_cloudfunctions2_function.executor.service_config[0].environment_variables["GEMINI_ALLOWED_MODELS"] == ""
    error_message = "An empty list must allow every model."
  }
}

run "an_allowlist_that_the_executor_cannot_read_is_refused" {
  command = plan
  variables {
    allowed_models = ["gemini-3.8-flash:soon"]
  }
  expect_failures = [var.allowed_models]
}

run "prices_and_ceilings_reach_the_executor" {
  command = plan
  variables {
    cost = {
      prices = {
        "gemini-3.8-flash" = [{ from = "2026-01-01", input = 0.3, output = 2.5, image_tokens = 1120 }]
      }
      max_run_usd = 2.5
    }
  }

  assert {
    condition = jsondecode(google_cloudfunctions2_function.executor.service_config[0].environment_variables["MODEL_PRICES"]) == {
      "gemini-3.8-flash" = [{ from = "2026-01-01", input = "0.3", output = "2.5", imageTokens = 1120 }]
    }
    error_message = "The executor does not get the prices as it reads them."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["MAX_RUN_COST_USD"] == "2.5"
      && !contains(keys(google_cloudfunctions2_function.executor.service_config[0].environment_variables), "MAX_DAY_COST_USD")
    )
    error_message = "The ceilings are not the given ones."
  }
}

run "a_ceiling_without_prices_is_refused" {
  command = plan
  variables {
    cost = { max_day_usd = 25 }
  }
  expect_failures = [var.cost]
}

run "a_ceiling_with_a_model_that_has_no_price_is_refused" {
  command = plan
  variables {
    cost = { prices = { gemini-other = [{ from = "2026-01-01", input = 0.3, output = 2.5 }] }, max_day_usd = 25 }
  }
  expect_failures = [var.cost]
}

run "tiers_their_prices_and_the_resolution_reach_the_executor" {
  command = plan
  variables {
    allowed_models = ["gemini-3.8-flash"]
    gemini         = { api_key_version = 1, service_tiers = ["flex", "standard"], media_resolution = "medium" }
    settings       = { GEMINI_API = "interactions" }
    cost = {
      prices = {
        "gemini-3.8-flash" = [{ from = "2026-01-01", input = 0.3, output = 2.5, tiers = { flex = { input = 0.15, output = 1.25 } } }]
      }
      max_run_usd = 2.5
    }
  }

  assert {
    condition = jsondecode(google_cloudfunctions2_function.executor.service_config[0].environment_variables["MODEL_PRICES"]) == {
      "gemini-3.8-flash" = [{ from = "2026-01-01", input = "0.3", output = "2.5", tiers = { flex = { input = "0.15", output = "1.25" } } }]
    }
    error_message = "The executor does not get the tiers' prices as it reads them."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.executor.service_config[0].environment_variables["GEMINI_SERVICE_TIERS"] == "flex,standard"
      && google_cloudfunctions2_function.executor.service_config[0].environment_variables["GEMINI_MEDIA_RESOLUTION"] == "medium"
    )
    error_message = "Tiers and resolution are not the given ones."
  }
}

run "tiers_out_of_order_are_refused" {
  command = plan
  variables {
    gemini = { api_key_version = 1, service_tiers = ["priority", "standard"] }
  }
  expect_failures = [var.gemini]
}

run "slow_tiers_need_calls_that_nobody_waits_for" {
  command = plan
  variables {
    gemini = { api_key_version = 1, service_tiers = ["flex", "standard"] }
  }
  expect_failures = [var.gemini]
}

run "flex_at_another_place_of_vertex_is_refused" {
  command = plan
  variables {
    gemini   = { backend = "vertex", location = "europe-west4", service_tiers = ["flex"] }
    settings = { GEMINI_API = "interactions" }
  }
  expect_failures = [var.gemini]
}

run "a_ceiling_with_a_tier_that_has_no_price_is_refused" {
  command = plan
  variables {
    allowed_models = ["gemini-3.8-flash"]
    gemini         = { api_key_version = 1, service_tiers = ["standard", "priority"] }
    cost = {
      prices      = { "gemini-3.8-flash" = [{ from = "2026-01-01", input = 0.3, output = 2.5 }] }
      max_day_usd = 25
    }
  }
  expect_failures = [var.cost]
}
