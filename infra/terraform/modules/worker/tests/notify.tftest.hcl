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
  target          = google_service_account.notify
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-notify"
    email  = "llm-notify@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-notify@example-project.iam.gserviceaccount.com"
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

run "without_notify_nothing_is_public" {
  command = plan

  assert {
    condition = (
      length(google_cloudfunctions2_function.notify) == 0
      && length(google_cloud_run_v2_service_iam_binding.notify_invokers) == 0
      && length(google_service_account.notify) == 0
      && length(google_secret_manager_secret.webhook_secret) == 0
      && length(google_secret_manager_secret_iam_member.rotators_add_webhook_versions) == 0
    )
    error_message = "Something is made for hooks that nobody asked for."
  }

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] :
      f.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    ])
    error_message = "A function can be reached from outside."
  }

  assert {
    condition     = length([for name in keys(google_cloudfunctions2_function.executor.service_config[0].environment_variables) : name if startswith(name, "WEBHOOK_")]) == 0
    error_message = "The executor has calls announced to nobody."
  }
}

run "with_notify_one_function_is_public_and_may_publish_to_one_topic" {
  command = plan

  variables {
    settings = { GEMINI_API = "interactions" }
    notify   = { enabled = true, secret_version = 2, public_keys = ["whpk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] }
    people   = { key_rotators = ["user:a@example.com"] }
  }

  assert {
    condition = (
      google_secret_manager_secret_iam_member.rotators_add_webhook_versions["user:a@example.com"].secret_id == "webhook-secret"
      && google_secret_manager_secret_iam_member.rotators_add_webhook_versions["user:a@example.com"].role == "roles/secretmanager.secretVersionManager"
    )
    error_message = "Who rotates keys cannot rotate the secret of hooks."
  }

  assert {
    condition     = google_cloud_run_v2_service_iam_binding.notify_invokers[0].members == tolist(["allUsers"])
    error_message = "The provider cannot call it."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.notify[0].service_config[0].ingress_settings == "ALLOW_ALL"
      && google_cloudfunctions2_function.notify[0].service_config[0].service_account_email == google_service_account.notify[0].email
      && google_cloudfunctions2_function.notify[0].service_config[0].max_instance_count == 2
    )
    error_message = "It is not reachable, or not bounded, or somebody else."
  }

  assert {
    condition = (
      google_pubsub_topic_iam_member.notify_publishes_jobs[0].topic == google_pubsub_topic.jobs.name
      && google_pubsub_topic_iam_member.notify_publishes_jobs[0].member == google_service_account.notify[0].member
    )
    error_message = "It cannot wake a job."
  }

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.notify[0], google_cloudfunctions2_function.executor] :
      contains([for secret in f.service_config[0].secret_environment_variables : "${secret.key}=${secret.secret}/${secret.version}"], "WEBHOOK_SECRET=webhook-secret/2")
    ])
    error_message = "One of the two that sign and check has not the pinned secret."
  }

  assert {
    condition     = length(google_cloudfunctions2_function.notify[0].service_config[0].secret_environment_variables) == 1
    error_message = "The public function sees another secret."
  }

  assert {
    condition     = google_cloudfunctions2_function.executor.service_config[0].environment_variables["WEBHOOK_WAIT_SECONDS"] == "600"
    error_message = "The executor does not know how long to wait."
  }
}

run "notify_needs_its_secret" {
  command = plan

  variables {
    settings = { GEMINI_API = "interactions" }
    notify   = { enabled = true }
  }

  expect_failures = [var.notify]
}

run "notify_needs_calls_in_the_background" {
  command = plan

  variables {
    notify = { enabled = true, secret_version = 1 }
  }

  expect_failures = [var.notify]
}

run "no_secret_is_given_as_a_public_key" {
  command = plan

  variables {
    settings = { GEMINI_API = "interactions" }
    notify   = { enabled = true, secret_version = 1, public_keys = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] }
  }

  expect_failures = [var.notify]
}
