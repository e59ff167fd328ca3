locals {
  vertex    = var.gemini.backend == "vertex"
  encrypted = var.encryption_key != null

  labels = merge(var.labels, { service = "worker-llm-client", env = var.environment })

  services = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudfunctions.googleapis.com",
      "cloudscheduler.googleapis.com",
      "eventarc.googleapis.com",
      "firestore.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "storage.googleapis.com",
    ],
    # Spans are taken by the first and kept by the second.
    var.tracing ? ["telemetry.googleapis.com", "cloudtrace.googleapis.com"] : [],
    local.vertex ? ["aiplatform.googleapis.com"] : ["secretmanager.googleapis.com"],
    local.encrypted ? ["cloudkms.googleapis.com"] : [],
    var.budget == null ? [] : ["billingbudgets.googleapis.com"],
  ))
}

data "google_project" "this" {
  project_id = var.project_id
}

resource "google_project_service" "required" {
  for_each = local.services

  project = var.project_id
  service = each.key
  # Others in the project may use it too.
  disable_on_destroy = false
}
