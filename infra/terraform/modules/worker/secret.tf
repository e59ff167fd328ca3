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
        dynamic "customer_managed_encryption" {
          for_each = var.encryption_key[*]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}

# What signs the addresses at which calls are announced. Whoever has it can wake jobs, and do nothing else.
resource "google_secret_manager_secret" "webhook_secret" {
  count = var.notify.enabled ? 1 : 0

  project   = var.project_id
  secret_id = "webhook-secret"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
        dynamic "customer_managed_encryption" {
          for_each = var.encryption_key[*]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [time_sleep.services, time_sleep.key_grants]
}
