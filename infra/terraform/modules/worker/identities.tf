resource "google_service_account" "dispatcher" {
  project      = var.project_id
  account_id   = "llm-dispatcher"
  display_name = "LLM worker: dispatcher, and its trigger"
}

resource "google_service_account" "executor" {
  project      = var.project_id
  account_id   = "llm-executor"
  display_name = "LLM worker: executor"
}

resource "google_service_account" "sweep" {
  project      = var.project_id
  account_id   = "llm-sweep"
  display_name = "LLM worker: sweep"
}

resource "google_service_account" "push" {
  project      = var.project_id
  account_id   = "llm-push"
  display_name = "LLM worker: caller of the executor"
}

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = "llm-scheduler"
  display_name = "LLM worker: caller of the sweep"
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "llm-build"
  display_name = "LLM worker: builder of the images"
}

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
