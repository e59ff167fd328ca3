resource "google_pubsub_topic" "jobs" {
  project = var.project_id
  name    = "llm-jobs"
  labels  = local.labels
  # Of the messages; null is Google's own key.
  kms_key_name = var.encryption_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}

# A destroy would lose the letters that nobody has decided on yet: docs/how-to/tear-down.md.
resource "google_pubsub_topic" "dead_letters" {
  project = var.project_id
  name    = "llm-jobs-dead-letter"
  labels  = local.labels
  # Of the messages; null is Google's own key.
  kms_key_name = var.encryption_key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_pubsub_subscription" "jobs_push" {
  project              = var.project_id
  name                 = local.subscriptions.jobs_push
  topic                = google_pubsub_topic.jobs.id
  ack_deadline_seconds = var.deadlines.push_seconds
  labels               = local.labels
  # A message is a wake-up call. The sweep makes a new one for every job that is still open.
  message_retention_duration = "86400s"

  push_config {
    push_endpoint = google_cloudfunctions2_function.executor.service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = google_cloudfunctions2_function.executor.service_config[0].uri
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = var.attempts.max_deliveries
  }

  # Without this, 31 quiet days would delete it.
  expiration_policy {
    ttl = ""
  }

  # A push that is refused counts as a delivery, and enough of them make a dead letter.
  depends_on = [google_cloud_run_v2_service_iam_binding.executor_invokers]
}

resource "google_pubsub_subscription" "dead_letters" {
  project              = var.project_id
  name                 = local.subscriptions.dead_letters
  topic                = google_pubsub_topic.dead_letters.id
  ack_deadline_seconds = 60
  labels               = local.labels
  # The longest that Pub/Sub keeps a message: an operator decides over each.
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }

  lifecycle {
    prevent_destroy = true
  }
}
