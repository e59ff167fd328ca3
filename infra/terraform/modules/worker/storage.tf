resource "google_storage_bucket" "artifacts" {
  project                     = var.project_id
  name                        = "${var.project_id}-llm-artifacts"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false
  labels                      = local.labels

  # The worker can neither overwrite nor delete: versions are for what an administrator does by mistake.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
    }
  }

  depends_on = [google_project_service.required]
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

  depends_on = [google_project_service.required]
}

# The hash in the name is what redeploys: same sources, same name, nothing to do.
resource "google_storage_bucket_object" "bundle" {
  for_each = var.bundles

  bucket = google_storage_bucket.sources.name
  name   = "${each.key}/${filesha256(each.value)}.zip"
  source = each.value
}
