# Wakes what is stuck. It is the dispatcher's code with another entry point and an identity of its own, as it is
# the only one that lists documents.
resource "google_cloudfunctions2_function" "sweep" {
  project     = var.project_id
  name        = local.functions.sweep
  location    = var.region
  description = "Publishes again, hands over or fails jobs that are stuck"
  labels      = local.labels
  # Of the source and the image; null is Google's own key.
  kms_key_name = var.encryption_key

  build_config {
    runtime           = local.runtime
    entry_point       = "sweep"
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
    service_account_email            = google_service_account.sweep.email
    ingress_settings                 = "ALLOW_INTERNAL_ONLY"
    vpc_connector                    = var.network.connector
    vpc_connector_egress_settings    = local.egress
    available_cpu                    = "1"
    available_memory                 = "512Mi"
    max_instance_count               = 2
    max_instance_request_concurrency = 1
    timeout_seconds                  = 120
    environment_variables = merge(local.shared_environment, {
      JOBS_TOPIC = google_pubsub_topic.jobs.id
      # What the executor did not live to end, the sweep ends: the same budget.
      MAX_ATTEMPTS = tostring(var.attempts.per_step)
    })
  }

  depends_on = [time_sleep.grants, google_firestore_index.due_jobs]
}

resource "google_cloud_scheduler_job" "sweep" {
  project          = var.project_id
  region           = coalesce(var.scheduler_region, var.region)
  name             = "llm-sweep"
  description      = "Runs the sweep"
  schedule         = var.sweep_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "120s"

  # The next run is the retry.
  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.sweep.service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = google_cloudfunctions2_function.sweep.service_config[0].uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_binding.sweep_invokers]
}
