module "worker" {
  source = "../../modules/worker"

  project_id     = var.project_id
  environment    = "dev"
  region         = var.region
  gemini         = var.gemini
  allowed_models = var.allowed_models

  bundles = {
    dispatcher = "${var.bundle_folder}/dispatcher.zip"
    executor   = "${var.bundle_folder}/executor.zip"
  }

  # Enough to try everything, and too little to spend much by mistake.
  executor                 = { max_instances = 2, concurrency = 4 }
  max_parallel_model_calls = 8
  sweep_schedule           = "*/5 * * * *"

  alerts = {
    emails          = var.alert_emails
    runbooks_url    = var.runbooks_url
    tokens_per_hour = 500000
  }
}
