resource "google_pubsub_topic" "jobs" {
  project = var.project_id
  name    = "llm-jobs"
  labels  = local.labels

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.required]
}

resource "google_pubsub_topic" "dead_letters" {
  project = var.project_id
  name    = "llm-jobs-dead-letter"
  labels  = local.labels

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.required]
}

resource "google_pubsub_subscription" "jobs_push" {
  project              = var.project_id
  name                 = "llm-jobs-push"
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
}

resource "google_pubsub_subscription" "dead_letters" {
  project              = var.project_id
  name                 = "llm-jobs-dead-letter-pull"
  topic                = google_pubsub_topic.dead_letters.id
  ack_deadline_seconds = 60
  labels               = local.labels
  # The longest that Pub/Sub keeps a message: an operator decides over each.
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}
