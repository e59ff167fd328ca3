# Claims the steps that a change of a flow run made executable, and publishes a job for each.
resource "google_cloudfunctions2_function" "dispatcher" {
  project     = var.project_id
  name        = local.functions.dispatcher
  location    = var.region
  description = "Claims executable LLM_REPORT steps and publishes their jobs"
  labels      = local.labels
  # Of the source and the image; null is Google's own key.
  kms_key_name = var.encryption_key

  build_config {
    runtime           = local.runtime
    entry_point       = "dispatch"
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
    service_account_email         = google_service_account.dispatcher.email
    ingress_settings              = "ALLOW_INTERNAL_ONLY"
    vpc_connector                 = var.network.connector
    vpc_connector_egress_settings = local.egress
    # One small commit per event: an instance waits on the network most of the time.
    available_cpu                    = "1"
    available_memory                 = "512Mi"
    max_instance_count               = 10
    max_instance_request_concurrency = 20
    # Eventarc's own subscription gives an event 10 s before it delivers it again.
    timeout_seconds       = 60
    environment_variables = merge(local.shared_environment, { JOBS_TOPIC = google_pubsub_topic.jobs.id })
  }

  event_trigger {
    event_type            = "google.cloud.firestore.document.v1.written"
    trigger_region        = local.database_location
    retry_policy          = "RETRY_POLICY_RETRY"
    service_account_email = google_service_account.dispatcher.email
    event_filters {
      attribute = "database"
      value     = local.database
    }
    event_filters {
      attribute = "document"
      value     = "flow_runs/{runId}"
      operator  = "match-path-pattern"
    }
  }

  depends_on = [time_sleep.grants]
}
