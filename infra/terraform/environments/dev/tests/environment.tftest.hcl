mock_provider "google-beta" {}

mock_provider "time" {}

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id     = "example-project"
  region         = "europe-west4"
  bundle_folder  = "../../modules/worker/tests/bundles"
  gemini         = { api_key_version = 1 }
  allowed_models = ["gemini-3.8-flash"]
  alert_emails   = ["on-call@example.com"]
  runbooks_url   = "https://example.com/runbooks"
}

run "the_environment_plans_with_ai_studio" {
  command = plan

  assert {
    condition     = output.worker.artifacts_bucket == "example-project-llm-artifacts"
    error_message = "The operator's commands would look elsewhere."
  }
}

run "the_environment_plans_with_vertex" {
  command = plan
  variables {
    gemini = { backend = "vertex" }
  }

  assert {
    condition     = output.worker.executor == "llm-executor"
    error_message = "The operator's commands would look elsewhere."
  }
}

run "whatever_the_module_takes_can_be_given" {
  command = plan
  variables {
    alerts                   = { queue_age_seconds = 600, existing_channels = ["projects/example-project/notificationChannels/1"] }
    executor                 = { memory = "2Gi", max_instances = 1 }
    max_parallel_model_calls = 100
    sweep_schedule           = "*/2 * * * *"
    database                 = { name = "flows", daily_backup_days = 7 }
    cost                     = { prices = { "gemini-3.8-flash" = [{ from = "2026-01-01", input = 0.3, output = 2.5 }] }, max_day_usd = 25 }
    deadlines                = { model_seconds = 300 }
    attempts                 = { per_step = 3 }
    artifacts                = { context_buckets = ["exports"], soft_delete_days = 30 }
    logs                     = { audit = true }
    network                  = { worker_pool = "projects/net/locations/europe-west4/workerPools/w" }
    people                   = { operators = ["group:operators@example.com"] }
    waits                    = { grants_seconds = 300 }
    budget                   = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 100 }
    encryption_key           = "projects/keys/locations/europe-west4/keyRings/r/cryptoKeys/k"
    scheduler_region         = "europe-west1"
    tracing                  = true
    settings                 = { LOG_LEVEL = "DEBUG" }
    labels                   = { team = "reports" }
  }

  assert {
    condition     = output.worker.dead_letter_subscription != ""
    error_message = "The operator's commands would look elsewhere."
  }
}
