resource "google_storage_bucket" "artifacts" {
  project                     = var.project_id
  name                        = "${var.project_id}-llm-artifacts"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false
  default_event_based_hold    = var.artifacts.event_based_hold
  labels                      = local.labels

  # The worker can neither overwrite nor delete: versions are for what an administrator does by mistake. A bucket has
  # versions or a retention policy, not both; under the latter nobody can make that mistake.
  versioning {
    enabled = var.artifacts.retention_days == null
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
    }
  }

  dynamic "retention_policy" {
    for_each = var.artifacts.retention_days[*]
    content {
      retention_period = retention_policy.value * 86400
      is_locked        = var.artifacts.lock_retention
    }
  }

  dynamic "soft_delete_policy" {
    for_each = var.artifacts.soft_delete_days[*]
    content {
      retention_duration_seconds = soft_delete_policy.value * 86400
    }
  }

  dynamic "logging" {
    for_each = var.artifacts.access_log_bucket[*]
    content {
      log_bucket        = logging.value
      log_object_prefix = "${var.project_id}-llm-artifacts"
    }
  }

  dynamic "encryption" {
    for_each = var.encryption_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}

resource "google_storage_bucket" "sources" {
  project                     = var.project_id
  name                        = "${var.project_id}-llm-sources"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false
  labels                      = local.labels

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 90
    }
  }

  dynamic "logging" {
    for_each = var.artifacts.access_log_bucket[*]
    content {
      log_bucket        = logging.value
      log_object_prefix = "${var.project_id}-llm-sources"
    }
  }

  dynamic "encryption" {
    for_each = var.encryption_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}

# The hash in the name is what redeploys: same sources, same name, nothing to do.
resource "google_storage_bucket_object" "bundle" {
  for_each = var.bundles

  bucket = google_storage_bucket.sources.name
  name   = "${each.key}/${filesha256(each.value)}.zip"
  source = each.value
}
