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
