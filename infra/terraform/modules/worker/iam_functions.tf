# What the functions may do. Every binding is the smallest that its API calls need, on the resource itself
# wherever the service has bindings there; docs/reference/iam.md is the same by API call.

# Firestore grants per database, not per collection; without delete, as the worker deletes nothing.
resource "google_project_iam_custom_role" "documents" {
  project     = var.project_id
  role_id     = "llmWorkerDocuments"
  title       = "LLM worker: documents"
  description = "Read documents by name, create and update them"
  # An update with a precondition on the update time counts as either, depending on the release.
  permissions = ["datastore.entities.create", "datastore.entities.get", "datastore.entities.update"]

  depends_on = [time_sleep.services]
}

# The sweep alone looks for documents that it cannot name.
resource "google_project_iam_custom_role" "queries" {
  project     = var.project_id
  role_id     = "llmWorkerQueries"
  title       = "LLM worker: queries"
  description = "Find documents by query"
  permissions = ["datastore.entities.get", "datastore.entities.list"]

  depends_on = [time_sleep.services]
}

locals {
  this_database = {
    title      = "this-database"
    expression = "resource.name == \"projects/${var.project_id}/databases/${var.database.name}\""
  }
}

# Commits the claim with its job record, and reads both when the claim was lost.
resource "google_project_iam_member" "dispatcher_documents" {
  project = var.project_id
  role    = google_project_iam_custom_role.documents.id
  member  = google_service_account.dispatcher.member
  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }

  depends_on = [time_sleep.identities]
}

# Reads run, job, prompt and schema; updates the job and the step's outcome.
resource "google_project_iam_member" "executor_documents" {
  project = var.project_id
  role    = google_project_iam_custom_role.documents.id
  member  = google_service_account.executor.member
  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }

  depends_on = [time_sleep.identities]
}

# Claims what no event reached, and closes jobs whose budget is spent.
resource "google_project_iam_member" "sweep_documents" {
  project = var.project_id
  role    = google_project_iam_custom_role.documents.id
  member  = google_service_account.sweep.member
  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }

  depends_on = [time_sleep.identities]
}

# Queries for jobs that are due and for running flow runs.
resource "google_project_iam_member" "sweep_queries" {
  project = var.project_id
  role    = google_project_iam_custom_role.queries.id
  member  = google_service_account.sweep.member
  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }

  depends_on = [time_sleep.identities]
}

# Publishes the jobs that it claimed.
resource "google_pubsub_topic_iam_member" "dispatcher_publishes_jobs" {
  project = var.project_id
  topic   = google_pubsub_topic.jobs.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.dispatcher.member

  depends_on = [time_sleep.identities]
}

# Publishes jobs again.
resource "google_pubsub_topic_iam_member" "sweep_publishes_jobs" {
  project = var.project_id
  topic   = google_pubsub_topic.jobs.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.sweep.member

  depends_on = [time_sleep.identities]
}

# Wakes jobs whose calls have ended: all that the public function may do.
resource "google_pubsub_topic_iam_member" "notify_publishes_jobs" {
  count = var.notify.enabled ? 1 : 0

  project = var.project_id
  topic   = google_pubsub_topic.jobs.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.notify[0].member

  depends_on = [time_sleep.identities]
}

# Gets what checks the addresses of hooks, at start-up.
resource "google_secret_manager_secret_iam_member" "notify_reads_webhook_secret" {
  count = var.notify.enabled ? 1 : 0

  project   = var.project_id
  secret_id = google_secret_manager_secret.webhook_secret[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.notify[0].member

  depends_on = [time_sleep.identities]
}

# Gets what signs the addresses of hooks, at start-up.
resource "google_secret_manager_secret_iam_member" "executor_reads_webhook_secret" {
  count = var.notify.enabled ? 1 : 0

  project   = var.project_id
  secret_id = google_secret_manager_secret.webhook_secret[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# Sets aside messages that cannot be read.
resource "google_pubsub_topic_iam_member" "executor_publishes_dead_letters" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letters.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# Creates reports. The role has no delete, without which nothing can be overwritten either.
resource "google_storage_bucket_iam_member" "executor_creates_artifacts" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectCreator"
  member = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# Reads inputs and looks for an earlier report. Without list, a missing object is answered with 403 instead of 404.
resource "google_storage_bucket_iam_member" "executor_reads_artifacts" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# Reads inputs that the exporters keep in buckets of their own.
resource "google_storage_bucket_iam_member" "executor_reads_context" {
  for_each = var.artifacts.context_buckets

  bucket = each.key
  role   = "roles/storage.objectViewer"
  member = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# Gets the key at start-up; this secret, and no other identity.
resource "google_secret_manager_secret_iam_member" "executor_reads_key" {
  count = local.vertex ? 0 : 1

  project   = var.project_id
  secret_id = google_secret_manager_secret.gemini_api_key[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# https://cloud.google.com/vertex-ai/docs/general/iam-permissions: generateContent needs this one permission.
resource "google_project_iam_custom_role" "model" {
  count = local.vertex ? 1 : 0

  project     = var.project_id
  role_id     = "llmWorkerModel"
  title       = "LLM worker: model"
  description = "Call a model"
  permissions = ["aiplatform.endpoints.predict"]

  depends_on = [time_sleep.services]
}

# Calls the model by its own identity; Google's models have no bindings of their own.
resource "google_project_iam_member" "executor_calls_model" {
  count = local.vertex ? 1 : 0

  project = var.project_id
  role    = google_project_iam_custom_role.model[0].id
  member  = google_service_account.executor.member

  depends_on = [time_sleep.identities]
}

# Send spans, where tracing is on; the Telemetry API grants this on the project only.
resource "google_project_iam_member" "functions_write_traces" {
  for_each = var.tracing ? { dispatcher = google_service_account.dispatcher.member, executor = google_service_account.executor.member, sweep = google_service_account.sweep.member } : {}

  project = var.project_id
  role    = "roles/telemetry.tracesWriter"
  member  = each.value

  depends_on = [time_sleep.identities]
}
