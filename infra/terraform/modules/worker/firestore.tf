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

  depends_on = [google_project_service.required]
}

# The sweep's queries (jobs by wakeAt, runs by status, each then by name) and the operator's (runs by createdAt) are
# answered from the index that Firestore keeps of every single field: no composite index is needed.

# Closed job records, and what runs and days spent (kept for the books, for a year and a bit), are deleted some time
# after their expireAt.
# A time that only grows would make a hot spot of its index, and no query needs it.
resource "google_firestore_field" "expiry" {
  for_each = toset(["llm_jobs", "llm_spend"])

  project    = var.project_id
  database   = local.database
  collection = each.key
  field      = "expireAt"

  ttl_config {}
  index_config {}
}
