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

  executor                 = merge({ max_instances = 10, concurrency = 8 }, var.executor)
  max_parallel_model_calls = var.max_parallel_model_calls
  sweep_schedule           = var.sweep_schedule

  alerts = merge({
    emails           = var.alert_emails
    runbooks_url     = var.runbooks_url
    tokens_per_hour  = 5000000
    steps_succeeding = 0.995
  }, var.alerts)

  # What this environment decides nothing about.
  database         = var.database
  cost             = var.cost
  deadlines        = var.deadlines
  attempts         = var.attempts
  artifacts        = var.artifacts
  logs             = var.logs
  network          = var.network
  people           = var.people
  waits            = var.waits
  budget           = var.budget
  encryption_key   = var.encryption_key
  scheduler_region = var.scheduler_region
  tracing          = var.tracing
  notify           = var.notify
  settings         = var.settings
  labels           = var.labels
}
