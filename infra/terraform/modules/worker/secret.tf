# The container alone. Its versions are added by hand (docs/how-to/rotate-the-key.md), so that no key is ever in
# a variable or in the state.
resource "google_secret_manager_secret" "gemini_api_key" {
  count = local.vertex ? 0 : 1

  project   = var.project_id
  secret_id = "gemini-api-key"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.required]
}
