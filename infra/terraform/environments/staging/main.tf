module "worker" {
  source = "../../modules/worker"

  project_id     = var.project_id
  environment    = "staging"
  region         = var.region
  gemini         = var.gemini
  allowed_models = var.allowed_models

  bundles = {
    dispatcher = "${var.bundle_folder}/dispatcher.zip"
    executor   = "${var.bundle_folder}/executor.zip"
  }

  # As in production, at a quarter of the load.
  executor                 = { max_instances = 5, concurrency = 4 }
  max_parallel_model_calls = 20

  alerts = {
    emails          = var.alert_emails
    runbooks_url    = var.runbooks_url
    tokens_per_hour = 1000000
  }
}
