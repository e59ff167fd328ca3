# What Google Cloud has accepted holds some time later. Each wait stands between something that was just made and what
# fails when it is used too early. A wait takes its time again only when what it waits for has changed.

# An API that was just enabled still answers "has not been used in project … before or it is disabled".
resource "time_sleep" "services" {
  create_duration = "${var.waits.services_seconds}s"
  triggers        = { services = join(",", sort(local.services)) }

  depends_on = [google_project_service.required]
}

# A policy may not yet name an account or agent that was just made: "does not exist".
resource "time_sleep" "identities" {
  create_duration = "${var.waits.identities_seconds}s"
  triggers = {
    accounts = join(",", concat([
      google_service_account.dispatcher.id,
      google_service_account.executor.id,
      google_service_account.sweep.id,
      google_service_account.push.id,
      google_service_account.scheduler.id,
      google_service_account.build.id,
    ], google_service_account.notify[*].id))
    agents = join(",", [for agent in google_project_service_identity.agent : agent.id])
  }
}

# A grant is enforced after about two minutes, and sometimes after seven or more
# (https://cloud.google.com/iam/docs/access-change-propagation). A build, a trigger or a start that comes earlier is refused.
resource "time_sleep" "grants" {
  create_duration = "${var.waits.grants_seconds}s"
  triggers = {
    build = join(",", [
      google_project_iam_member.build_writes_logs.id,
      google_artifact_registry_repository_iam_member.build_pushes_images.id,
      google_storage_bucket_iam_member.build_reads_sources.id,
      google_project_iam_member.build_reads_staged_sources.id,
    ])
    agents = join(",", [for binding in google_project_iam_member.agents_serve : binding.id])
    trigger = join(",", [
      google_project_iam_member.dispatcher_receives_events.id,
      google_service_account_iam_member.pubsub_signs_push_tokens.id,
      google_pubsub_topic_iam_member.pubsub_forwards_dead_letters.id,
    ])
    functions = join(",", concat(
      [
        google_project_iam_member.dispatcher_documents.id,
        google_project_iam_member.executor_documents.id,
        google_project_iam_member.sweep_documents.id,
        google_project_iam_member.sweep_queries.id,
        google_pubsub_topic_iam_member.dispatcher_publishes_jobs.id,
        google_pubsub_topic_iam_member.sweep_publishes_jobs.id,
        google_pubsub_topic_iam_member.executor_publishes_dead_letters.id,
        google_storage_bucket_iam_member.executor_creates_artifacts.id,
        google_storage_bucket_iam_member.executor_reads_artifacts.id,
      ],
      [for binding in google_storage_bucket_iam_member.executor_reads_context : binding.id],
      google_secret_manager_secret_iam_member.executor_reads_key[*].id,
      google_project_iam_member.executor_calls_model[*].id,
      google_pubsub_topic_iam_member.notify_publishes_jobs[*].id,
      google_secret_manager_secret_iam_member.notify_reads_webhook_secret[*].id,
      google_secret_manager_secret_iam_member.executor_reads_webhook_secret[*].id,
      [for binding in google_project_iam_member.functions_write_traces : binding.id],
    ))
  }
}

# The same for the key: a store whose agent may not use it yet is refused.
resource "time_sleep" "key_grants" {
  count = local.encrypted ? 1 : 0

  create_duration = "${var.waits.grants_seconds}s"
  triggers        = { grants = join(",", [for binding in google_kms_crypto_key_iam_member.store : binding.id]) }
}

# A log-based metric can be asked for up to ten minutes after it was made; an objective over one that is not there yet
# is refused, and unlike an alert it has no switch against that.
resource "time_sleep" "metrics" {
  create_duration = "${var.waits.metrics_seconds}s"
  triggers        = { steps = google_logging_metric.counter["llm_steps"].id }
}
