# With a key of your own (CMEK), every store that can have one is encrypted by it. Each store uses it as the agent of its
# service, which needs one role on the key and nothing else.

# Makes the agent of Cloud Storage, if there is none yet, and says who it is.
data "google_storage_project_service_account" "agent" {
  count = local.encrypted ? 1 : 0

  project = var.project_id

  depends_on = [time_sleep.services]
}

# The same for Cloud Logging.
data "google_logging_project_cmek_settings" "this" {
  count = local.encrypted && local.own_log_bucket ? 1 : 0

  project = var.project_id

  depends_on = [time_sleep.services]
}

locals {
  # Service -> the agent that encrypts and decrypts for it. The functions' images and revisions have three of them.
  key_users = local.encrypted ? merge(
    {
      for service in setintersection(local.agents, ["artifactregistry", "cloudfunctions", "eventarc", "firestore", "pubsub", "run", "secretmanager"]) :
      service => google_project_service_identity.agent[service].member
    },
    { storage = data.google_storage_project_service_account.agent[0].member },
    local.own_log_bucket ? { logging = "serviceAccount:${data.google_logging_project_cmek_settings.this[0].service_account_id}" } : {},
  ) : {}
}

# Encrypts and decrypts with the one key, for what its service stores.
resource "google_kms_crypto_key_iam_member" "store" {
  for_each = local.key_users

  crypto_key_id = var.encryption_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value

  depends_on = [time_sleep.identities]
}

# Events on their way from the database to the dispatcher.
resource "google_eventarc_google_channel_config" "events" {
  count = local.encrypted ? 1 : 0

  project         = var.project_id
  location        = var.region
  name            = "projects/${var.project_id}/locations/${var.region}/googleChannelConfig"
  crypto_key_name = var.encryption_key

  depends_on = [time_sleep.key_grants]
}
