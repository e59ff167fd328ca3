locals {
  runtime = "python312"
  # Names that alerts, dashboard and doctor know before the resources are there.
  functions = {
    dispatcher = "llm-dispatcher"
    executor   = "llm-executor"
    sweep      = "llm-sweep"
    notify     = "llm-notify"
  }
  subscriptions = {
    dead_letters = "llm-jobs-dead-letter-pull"
    jobs_push    = "llm-jobs-push"
  }
  egress = var.network.connector == null ? null : var.network.egress

  shared_environment = merge(var.settings, {
    GCP_PROJECT        = var.project_id
    GCP_REGION         = var.region
    ENVIRONMENT        = var.environment
    FIRESTORE_DATABASE = var.database.name
    # Standard output reaches the log line by line, also when an instance dies.
    PYTHONUNBUFFERED = "1"
    # On by itself on new functions. It rewrites every line that is printed, and the log contract with it.
    LOG_EXECUTION_ID = "false"
  }, var.tracing ? { OTEL_EXPORTER_OTLP_ENDPOINT = "https://telemetry.googleapis.com" } : {})
}

# Images of the functions; the builder may write here and nowhere else.
resource "google_artifact_registry_repository" "functions" {
  project       = var.project_id
  location      = var.region
  repository_id = "llm-worker"
  description   = "Images of the LLM worker's functions"
  format        = "DOCKER"
  kms_key_name  = var.encryption_key
  labels        = local.labels

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s"
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}
