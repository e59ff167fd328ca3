locals {
  runtime = "python312"

  shared_environment = merge(var.settings, {
    GCP_PROJECT        = var.project_id
    GCP_REGION         = var.region
    ENVIRONMENT        = var.environment
    FIRESTORE_DATABASE = var.database.name
    # Standard output reaches the log line by line, also when an instance dies.
    PYTHONUNBUFFERED = "1"
  }, var.tracing ? { OTEL_EXPORTER_OTLP_ENDPOINT = "https://telemetry.googleapis.com" } : {})
}

# Images of the functions; the builder may write here and nowhere else.
resource "google_artifact_registry_repository" "functions" {
  project       = var.project_id
  location      = var.region
  repository_id = "llm-worker"
  description   = "Images of the LLM worker's functions"
  format        = "DOCKER"
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

  depends_on = [google_project_service.required]
}
