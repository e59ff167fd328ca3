locals {
  database_location = coalesce(var.database.location, var.region)
  database          = var.database.create ? google_firestore_database.this[0].name : var.database.name
}

resource "google_firestore_database" "this" {
  count = var.database.create ? 1 : 0

  project     = var.project_id
  name        = var.database.name
  location_id = local.database_location
  type        = "FIRESTORE_NATIVE"
  # Guarded updates from several writers retry on their own; locks held by readers would only delay them.
  concurrency_mode                  = "OPTIMISTIC"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  deletion_policy                   = "ABANDON"

  dynamic "cmek_config" {
    for_each = var.encryption_key[*]
    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}

# Recovery to a point in time ends after seven days; a backup lasts as long as it is kept for.
resource "google_firestore_backup_schedule" "daily" {
  count = var.database.daily_backup_days == null ? 0 : 1

  project   = var.project_id
  database  = local.database
  retention = "${var.database.daily_backup_days * 86400}s"

  daily_recurrence {}

  depends_on = [time_sleep.services]
}

resource "google_firestore_backup_schedule" "weekly" {
  count = var.database.weekly_backup_weeks == null ? 0 : 1

  project   = var.project_id
  database  = local.database
  retention = "${var.database.weekly_backup_weeks * 604800}s"

  weekly_recurrence {
    day = "SUNDAY"
  }

  depends_on = [time_sleep.services]
}
