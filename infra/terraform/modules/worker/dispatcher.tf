# Claims the steps that a change of a flow run made executable, and publishes a job for each.
resource "google_cloudfunctions2_function" "dispatcher" {
  project     = var.project_id
  name        = "llm-dispatcher"
  location    = var.region
  description = "Claims executable LLM_REPORT steps and publishes their jobs"
  labels      = local.labels

  build_config {
    runtime           = local.runtime
    entry_point       = "dispatch"
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.functions.id
    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.bundle["dispatcher"].name
      }
    }
  }

  service_config {
    service_account_email = google_service_account.dispatcher.email
    ingress_settings      = "ALLOW_INTERNAL_ONLY"
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

  # A trigger whose account may not yet receive events is refused.
  depends_on = [
    google_project_iam_member.dispatcher_receives_events,
    google_artifact_registry_repository_iam_member.build_pushes_images,
    google_project_iam_member.build_reads_staged_sources,
    google_project_iam_member.build_writes_logs,
    google_storage_bucket_iam_member.build_reads_sources,
  ]
}
