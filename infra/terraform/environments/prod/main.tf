module "worker" {
  source = "../../modules/worker"

  project_id     = var.project_id
  environment    = "prod"
  region         = var.region
  gemini         = var.gemini
  allowed_models = var.allowed_models

  bundles = {
    dispatcher = "${var.bundle_folder}/dispatcher.zip"
    executor   = "${var.bundle_folder}/executor.zip"
  }

  executor                 = { max_instances = 10, concurrency = 8 }
  max_parallel_model_calls = 80

  alerts = {
    emails           = var.alert_emails
    runbooks_url     = var.runbooks_url
    tokens_per_hour  = 5000000
    steps_succeeding = 0.995
  }
}
