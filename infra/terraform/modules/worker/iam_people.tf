# What people need, for those who want Terraform to grant it; docs/reference/iam.md is the same by act.

# Changes runs and steps: reruns, cancels, publishes prompts and schemas.
resource "google_project_iam_member" "operators_documents" {
  for_each = var.people.operators

  project = var.project_id
  role    = "roles/datastore.user"
  member  = each.key
  condition {
    title      = local.this_database.title
    expression = local.this_database.expression
  }

  depends_on = [time_sleep.services]
}

# Publishes a job again, and replays a dead letter.
resource "google_pubsub_topic_iam_member" "operators_publish_jobs" {
  for_each = var.people.operators

  project = var.project_id
  topic   = google_pubsub_topic.jobs.name
  role    = "roles/pubsub.publisher"
  member  = each.key
}

# Takes dead letters.
resource "google_pubsub_subscription_iam_member" "operators_take_dead_letters" {
  for_each = var.people.operators

  project      = var.project_id
  subscription = google_pubsub_subscription.dead_letters.name
  role         = "roles/pubsub.subscriber"
  member       = each.key
}

# Reads reports and what they were made from.
resource "google_storage_bucket_iam_member" "operators_read_artifacts" {
  for_each = var.people.operators

  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = each.key
}

# Adds versions of the key, and reads none.
resource "google_secret_manager_secret_iam_member" "rotators_add_versions" {
  for_each = local.vertex ? [] : var.people.key_rotators

  project   = var.project_id
  secret_id = google_secret_manager_secret.gemini_api_key[0].secret_id
  role      = "roles/secretmanager.secretVersionManager"
  member    = each.key
}

# Adds versions of what signs the addresses of hooks, and reads none.
resource "google_secret_manager_secret_iam_member" "rotators_add_webhook_versions" {
  for_each = !var.notify.enabled ? [] : var.people.key_rotators

  project   = var.project_id
  secret_id = google_secret_manager_secret.webhook_secret[0].secret_id
  role      = "roles/secretmanager.secretVersionManager"
  member    = each.key
}
