# Where the worker's log is kept longer than Google's 30 days, and who read or wrote data.

locals {
  own_log_bucket = var.logs.retention_days != null
}

resource "google_logging_project_bucket_config" "worker" {
  count = local.own_log_bucket ? 1 : 0

  project        = var.project_id
  location       = var.region
  bucket_id      = "llm-worker"
  description    = "Log entries of the LLM worker"
  retention_days = var.logs.retention_days

  dynamic "cmek_settings" {
    for_each = var.encryption_key[*]
    content {
      kms_key_name = cmek_settings.value
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}

# A copy: the entries stay in the default bucket too, where people look for them. Metrics count each entry once.
resource "google_logging_project_sink" "worker" {
  count = local.own_log_bucket ? 1 : 0

  project                = var.project_id
  name                   = "llm-worker"
  description            = "Entries of the LLM worker, to the bucket of its own"
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.worker[0].id}"
  filter                 = local.worker_log
  unique_writer_identity = true
}

# Data access is what Google does not log by itself. The worker's own accounts are left out: they are most of the
# entries, and the worker's log says the same of them.
resource "google_project_iam_audit_config" "data_access" {
  for_each = toset(var.logs.audit ? concat(
    ["datastore.googleapis.com", "pubsub.googleapis.com", "storage.googleapis.com"],
    local.vertex ? [] : ["secretmanager.googleapis.com"],
  ) : [])

  project = var.project_id
  service = each.key

  dynamic "audit_log_config" {
    for_each = toset(["DATA_READ", "DATA_WRITE"])
    content {
      log_type = audit_log_config.key
      exempted_members = [
        google_service_account.dispatcher.member,
        google_service_account.executor.member,
        google_service_account.sweep.member,
      ]
    }
  }

  depends_on = [time_sleep.identities]
}
