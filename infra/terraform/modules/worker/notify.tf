# Takes the provider's webhooks: the one public service, made only where var.notify turns it on. It is the dispatcher's
# code with another entry point, and its identity may publish to one topic and reach nothing else. What requests can cost
# is bounded by its instances.
resource "google_cloudfunctions2_function" "notify" {
  #checkov:skip=CKV_GCP_124:The provider calls it from the internet. Whoever asks for it to be deployed asks for that.
  count = var.notify.enabled ? 1 : 0

  project     = var.project_id
  name        = local.functions.notify
  location    = var.region
  description = "Wakes jobs whose model calls have ended"
  labels      = local.labels
  # Of the source and the image; null is Google's own key.
  kms_key_name = var.encryption_key

  build_config {
    runtime           = local.runtime
    entry_point       = "notify"
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.functions.id
    worker_pool       = var.network.worker_pool
    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.bundle["dispatcher"].name
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.notify[0].email
    ingress_settings                 = "ALLOW_ALL"
    vpc_connector                    = var.network.connector
    vpc_connector_egress_settings    = local.egress
    available_cpu                    = "1"
    available_memory                 = "512Mi"
    max_instance_count               = var.notify.max_instances
    max_instance_request_concurrency = 40
    # A body has five seconds, and so has the message.
    timeout_seconds = 30
    environment_variables = merge(local.shared_environment, {
      JOBS_TOPIC           = google_pubsub_topic.jobs.id
      WEBHOOK_SIGNING_KEYS = join(",", var.notify.public_keys)
    })

    secret_environment_variables {
      key        = "WEBHOOK_SECRET"
      project_id = var.project_id
      secret     = google_secret_manager_secret.webhook_secret[0].secret_id
      version    = tostring(var.notify.secret_version)
    }
  }

  depends_on = [time_sleep.grants]
}
