# What building the images needs (https://cloud.google.com/functions/docs/securing/build-custom-sa).

# Writes the build's log; Cloud Logging grants this on the project only.
resource "google_project_iam_member" "build_writes_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member

  depends_on = [time_sleep.identities]
}

# Pushes images to the one repository, and pulls the previous ones as a cache.
resource "google_artifact_registry_repository_iam_member" "build_pushes_images" {
  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.functions.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member

  depends_on = [time_sleep.identities]
}

# Reads the archive that was uploaded.
resource "google_storage_bucket_iam_member" "build_reads_sources" {
  bucket = google_storage_bucket.sources.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member

  depends_on = [time_sleep.identities]
}

# Cloud Functions copies the archive to a bucket that it makes at the first deployment, so there is no resource to
# bind to yet; the condition names that bucket.
resource "google_project_iam_member" "build_reads_staged_sources" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member
  condition {
    title      = "staged-function-sources"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${data.google_project.this.number}-${var.region}\")"
  }

  depends_on = [time_sleep.identities]
}
