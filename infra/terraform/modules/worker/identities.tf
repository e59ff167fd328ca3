resource "google_service_account" "dispatcher" {
  project      = var.project_id
  account_id   = "llm-dispatcher"
  display_name = "LLM worker: dispatcher, and its trigger"

  depends_on = [time_sleep.services]
}

resource "google_service_account" "executor" {
  project      = var.project_id
  account_id   = "llm-executor"
  display_name = "LLM worker: executor"

  depends_on = [time_sleep.services]
}

resource "google_service_account" "sweep" {
  project      = var.project_id
  account_id   = "llm-sweep"
  display_name = "LLM worker: sweep"

  depends_on = [time_sleep.services]
}

resource "google_service_account" "notify" {
  count = var.notify.enabled ? 1 : 0

  project      = var.project_id
  account_id   = "llm-notify"
  display_name = "LLM worker: taker of webhooks"

  depends_on = [time_sleep.services]
}

resource "google_service_account" "push" {
  project      = var.project_id
  account_id   = "llm-push"
  display_name = "LLM worker: caller of the executor"

  depends_on = [time_sleep.services]
}

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = "llm-scheduler"
  display_name = "LLM worker: caller of the sweep"

  depends_on = [time_sleep.services]
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "llm-build"
  display_name = "LLM worker: builder of the images"

  depends_on = [time_sleep.services]
}

locals {
  agents = toset(concat(
    ["cloudbuild", "cloudfunctions", "cloudscheduler", "eventarc", "pubsub", "run"],
    local.encrypted ? ["artifactregistry"] : [],
    local.encrypted && var.database.create ? ["firestore"] : [],
    local.encrypted && (!local.vertex || var.notify.enabled) ? ["secretmanager"] : [],
  ))
}

# Google's own accounts of the services, which some services make at their first use only: too late for a grant that
# names them, and for a trigger that needs them.
resource "google_project_service_identity" "agent" {
  for_each = local.agents
  provider = google-beta

  project = var.project_id
  service = "${each.key}.googleapis.com"

  depends_on = [time_sleep.services]
}
