# What an organization's policies ask for: each option with what it does, and each refusal.

mock_provider "google-beta" {}

mock_provider "time" {}

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id     = "example-project"
  environment    = "dev"
  region         = "europe-west4"
  gemini         = { api_key_version = 3 }
  allowed_models = ["gemini-3.8-flash:2027-06-30"]
  alerts         = { runbooks_url = "https://example.com/runbooks", emails = ["on-call@example.com"] }
  bundles = {
    dispatcher = "tests/bundles/dispatcher.zip"
    executor   = "tests/bundles/executor.zip"
  }
}

run "nothing_is_asked_for_by_default" {
  command = plan

  assert {
    condition = alltrue([
      length(google_kms_crypto_key_iam_member.store) == 0,
      length(google_eventarc_google_channel_config.events) == 0,
      length(google_firestore_backup_schedule.daily) == 0,
      length(google_firestore_backup_schedule.weekly) == 0,
      length(google_logging_project_bucket_config.worker) == 0,
      length(google_project_iam_audit_config.data_access) == 0,
      length(google_billing_budget.month) == 0,
      length(google_project_iam_member.operators_documents) == 0,
      length(google_storage_bucket.artifacts.retention_policy) == 0,
      !contains(local.services, "cloudkms.googleapis.com"),
      !contains(local.services, "billingbudgets.googleapis.com"),
    ])
    error_message = "An option is on by itself."
  }
}

run "every_store_is_encrypted_with_the_key" {
  command = plan
  variables {
    encryption_key = "projects/keys/locations/europe-west4/keyRings/r/cryptoKeys/k"
    logs           = { retention_days = 90 }
  }

  assert {
    condition = alltrue([
      for key in concat(
        [
          google_firestore_database.this[0].cmek_config[0].kms_key_name,
          google_storage_bucket.artifacts.encryption[0].default_kms_key_name,
          google_storage_bucket.sources.encryption[0].default_kms_key_name,
          google_pubsub_topic.jobs.kms_key_name,
          google_pubsub_topic.dead_letters.kms_key_name,
          google_secret_manager_secret.gemini_api_key[0].replication[0].user_managed[0].replicas[0].customer_managed_encryption[0].kms_key_name,
          google_artifact_registry_repository.functions.kms_key_name,
          google_eventarc_google_channel_config.events[0].crypto_key_name,
          google_logging_project_bucket_config.worker[0].cmek_settings[0].kms_key_name,
        ],
        [for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] : f.kms_key_name],
        [for binding in google_kms_crypto_key_iam_member.store : binding.crypto_key_id],
      ) : key == "projects/keys/locations/europe-west4/keyRings/r/cryptoKeys/k"
    ])
    error_message = "A store is not encrypted with the key."
  }

  assert {
    condition     = toset(keys(google_kms_crypto_key_iam_member.store)) == toset(["artifactregistry", "cloudfunctions", "eventarc", "firestore", "logging", "pubsub", "run", "secretmanager", "storage"])
    error_message = "An agent may not use the key, or one may that stores nothing."
  }
}

run "without_a_secret_and_with_an_existing_database_their_agents_get_no_key" {
  command = plan
  variables {
    encryption_key = "projects/keys/locations/europe-west4/keyRings/r/cryptoKeys/k"
    gemini         = { backend = "vertex" }
    database       = { create = false }
  }

  assert {
    condition     = toset(keys(google_kms_crypto_key_iam_member.store)) == toset(["artifactregistry", "cloudfunctions", "eventarc", "pubsub", "run", "storage"])
    error_message = "An agent may use the key that stores nothing."
  }
}

run "a_key_from_another_region_is_refused" {
  command = plan
  variables {
    encryption_key = "projects/keys/locations/europe/keyRings/r/cryptoKeys/k"
  }
  expect_failures = [var.encryption_key]
}

run "a_key_with_a_multi_region_database_is_refused" {
  command = plan
  variables {
    encryption_key = "projects/keys/locations/europe-west4/keyRings/r/cryptoKeys/k"
    database       = { create = false, location = "eur3" }
  }
  expect_failures = [var.encryption_key]
}

run "functions_send_through_the_connector_and_are_built_in_the_pool" {
  command = plan
  variables {
    network = {
      connector   = "projects/net/locations/europe-west4/connectors/c"
      egress      = "ALL_TRAFFIC"
      worker_pool = "projects/net/locations/europe-west4/workerPools/w"
    }
  }

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] :
      f.service_config[0].vpc_connector == "projects/net/locations/europe-west4/connectors/c"
      && f.service_config[0].vpc_connector_egress_settings == "ALL_TRAFFIC"
      && f.build_config[0].worker_pool == "projects/net/locations/europe-west4/workerPools/w"
    ])
    error_message = "A function goes around the network, or is built outside of it."
  }
}

run "egress_without_a_connector_is_refused" {
  command = plan
  variables {
    network = { egress = "ALL_TRAFFIC" }
  }
  expect_failures = [var.network]
}

run "another_egress_is_refused" {
  command = plan
  variables {
    network = { connector = "projects/net/locations/europe-west4/connectors/c", egress = "SOME" }
  }
  expect_failures = [var.network]
}

run "a_connector_from_another_region_is_refused" {
  command = plan
  variables {
    network = { connector = "projects/net/locations/us-central1/connectors/c" }
  }
  expect_failures = [var.network]
}

run "a_worker_pool_from_another_region_is_refused" {
  command = plan
  variables {
    network = { worker_pool = "projects/net/locations/us-central1/workerPools/w" }
  }
  expect_failures = [var.network]
}

run "no_service_is_public" {
  command = plan

  assert {
    condition = alltrue([
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] :
      f.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    ])
    error_message = "The internet reaches a function."
  }

  assert {
    condition = alltrue([
      for members in [
        google_cloud_run_v2_service_iam_binding.dispatcher_invokers.members,
        google_cloud_run_v2_service_iam_binding.executor_invokers.members,
        google_cloud_run_v2_service_iam_binding.sweep_invokers.members,
      ] : length(members) == 1
    ])
    error_message = "A function has more callers than its one."
  }
}

run "operators_and_rotators_get_what_they_need" {
  command = plan
  variables {
    people = {
      operators    = ["group:operators@example.com"]
      key_rotators = ["user:a@example.com"]
      domains      = ["example.com"]
    }
  }

  assert {
    condition = (
      google_project_iam_member.operators_documents["group:operators@example.com"].condition[0].expression == "resource.name == \"projects/example-project/databases/(default)\""
      && google_pubsub_topic_iam_member.operators_publish_jobs["group:operators@example.com"].topic == "llm-jobs"
      && google_pubsub_subscription_iam_member.operators_take_dead_letters["group:operators@example.com"].subscription == "llm-jobs-dead-letter-pull"
      && google_storage_bucket_iam_member.operators_read_artifacts["group:operators@example.com"].role == "roles/storage.objectViewer"
      && google_secret_manager_secret_iam_member.rotators_add_versions["user:a@example.com"].role == "roles/secretmanager.secretVersionManager"
    )
    error_message = "Somebody may do less or more than was asked for."
  }
}

run "somebody_from_another_domain_is_refused" {
  command = plan
  variables {
    people = { operators = ["user:a@elsewhere.com"], domains = ["example.com"] }
  }
  expect_failures = [var.people]
}

run "a_service_account_is_of_no_domain" {
  command = plan
  variables {
    people = { operators = ["serviceAccount:bot@other-project.iam.gserviceaccount.com"], domains = ["example.com"] }
  }

  assert {
    condition     = length(google_project_iam_member.operators_documents) == 1
    error_message = "The account got lost."
  }
}

run "everybody_is_refused" {
  command = plan
  variables {
    people = { operators = ["allUsers"] }
  }
  expect_failures = [var.people]
}

run "the_schedule_may_be_elsewhere" {
  command = plan
  variables {
    scheduler_region = "europe-west1"
  }

  assert {
    condition     = google_cloud_scheduler_job.sweep.region == "europe-west1" && google_cloudfunctions2_function.sweep.location == "europe-west4"
    error_message = "The schedule is where Cloud Scheduler is not, or took the sweep with it."
  }
}

run "a_scheduler_region_that_is_none_is_refused" {
  command = plan
  variables {
    scheduler_region = "europe"
  }
  expect_failures = [var.scheduler_region]
}

run "reports_are_retained_held_and_kept_when_deleted" {
  command = plan
  variables {
    artifacts = { soft_delete_days = 30, retention_days = 365, lock_retention = true, event_based_hold = true, access_log_bucket = "access-logs" }
  }

  assert {
    condition = (
      google_storage_bucket.artifacts.soft_delete_policy[0].retention_duration_seconds == 2592000
      && google_storage_bucket.artifacts.retention_policy[0].retention_period == 31536000
      && google_storage_bucket.artifacts.retention_policy[0].is_locked
      && google_storage_bucket.artifacts.default_event_based_hold
      && google_storage_bucket.artifacts.logging[0].log_bucket == "access-logs"
    )
    error_message = "A report is protected less than was asked for."
  }

  assert {
    condition     = !google_storage_bucket.artifacts.versioning[0].enabled
    error_message = "A bucket with a retention policy cannot have versions: it would be refused."
  }
}

run "soft_delete_can_be_switched_off" {
  command = plan
  variables {
    artifacts = { soft_delete_days = 0 }
  }

  assert {
    condition     = google_storage_bucket.artifacts.soft_delete_policy[0].retention_duration_seconds == 0
    error_message = "Deleted reports are kept all the same."
  }
}

run "a_soft_delete_that_does_not_exist_is_refused" {
  command = plan
  variables {
    artifacts = { soft_delete_days = 3 }
  }
  expect_failures = [var.artifacts]
}

run "a_retention_that_does_not_exist_is_refused" {
  command = plan
  variables {
    artifacts = { retention_days = 0 }
  }
  expect_failures = [var.artifacts]
}

run "a_lock_without_a_retention_is_refused" {
  command = plan
  variables {
    artifacts = { lock_retention = true }
  }
  expect_failures = [var.artifacts]
}

run "backups_stand_beside_the_recovery_to_a_point_in_time" {
  command = plan
  variables {
    database = { daily_backup_days = 14, weekly_backup_weeks = 14 }
  }

  assert {
    condition = (
      google_firestore_backup_schedule.daily[0].retention == "1209600s"
      && google_firestore_backup_schedule.weekly[0].retention == "8467200s"
      && google_firestore_database.this[0].point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED"
    )
    error_message = "A backup is missing, or kept for another time."
  }
}

run "a_backup_that_is_kept_too_long_is_refused" {
  command = plan
  variables {
    database = { weekly_backup_weeks = 15 }
  }
  expect_failures = [var.database]
}

run "the_log_has_a_bucket_of_its_own" {
  command = plan
  variables {
    logs = { retention_days = 400 }
  }

  assert {
    condition = (
      google_logging_project_bucket_config.worker[0].retention_days == 400
      && google_logging_project_bucket_config.worker[0].location == "europe-west4"
      && strcontains(google_logging_project_sink.worker[0].filter, "jsonPayload.service=\"worker_llm_client\"")
    )
    error_message = "The log is kept elsewhere, or not as long."
  }
}

run "a_log_retention_that_does_not_exist_is_refused" {
  command = plan
  variables {
    logs = { retention_days = 4000 }
  }
  expect_failures = [var.logs]
}

run "who_reads_and_writes_is_logged" {
  command = plan
  variables {
    logs = { audit = true }
  }

  assert {
    condition     = toset(keys(google_project_iam_audit_config.data_access)) == toset(["datastore.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com"])
    error_message = "A service's data is read and nobody knows by whom."
  }

  assert {
    condition = alltrue([
      for config in google_project_iam_audit_config.data_access : toset([for log in config.audit_log_config : log.log_type]) == toset(["DATA_READ", "DATA_WRITE"])
    ])
    error_message = "Reads or writes are left out."
  }
}

run "with_vertex_there_is_no_secret_to_audit" {
  command = plan
  variables {
    logs   = { audit = true }
    gemini = { backend = "vertex" }
  }

  assert {
    condition     = !contains(keys(google_project_iam_audit_config.data_access), "secretmanager.googleapis.com")
    error_message = "A service is audited that is not enabled."
  }
}

run "a_budget_tells_before_it_is_spent" {
  command = plan
  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 200, currency = "EUR" }
  }

  assert {
    condition = (
      one(google_billing_budget.month[0].budget_filter[0].projects) == "projects/123456789012"
      && google_billing_budget.month[0].amount[0].specified_amount[0].units == "200"
      && google_billing_budget.month[0].amount[0].specified_amount[0].currency_code == "EUR"
      && toset([for rule in google_billing_budget.month[0].threshold_rules : rule.threshold_percent]) == toset([0.5, 0.9, 1])
      && contains([for rule in google_billing_budget.month[0].threshold_rules : coalesce(rule.spend_basis, "CURRENT_SPEND")], "FORECASTED_SPEND")
    )
    error_message = "The budget is another one."
  }
}

run "a_budget_of_a_name_is_refused" {
  command = plan
  variables {
    budget = { billing_account = "my account", monthly_amount = 200 }
  }
  expect_failures = [var.budget]
}

run "a_budget_of_nothing_is_refused" {
  command = plan
  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 0 }
  }
  expect_failures = [var.budget]
}

run "waits_are_as_long_as_is_asked_for" {
  command = plan
  variables {
    waits = { services_seconds = 0, grants_seconds = 420 }
  }

  assert {
    condition     = [time_sleep.services.create_duration, time_sleep.identities.create_duration, time_sleep.grants.create_duration, time_sleep.metrics.create_duration] == ["0s", "30s", "420s", "600s"]
    error_message = "A wait is another one."
  }
}

run "a_wait_of_more_than_an_hour_is_refused" {
  command = plan
  variables {
    waits = { grants_seconds = 3601 }
  }
  expect_failures = [var.waits]
}

run "the_steps_of_a_database_of_its_own_have_no_index" {
  command = plan

  assert {
    condition     = contains(keys(google_firestore_field.unindexed), "flow_runs.steps") && contains(keys(google_firestore_field.unindexed), "llm_jobs.claimedAt")
    error_message = "A run of many steps would be refused."
  }
}

run "an_existing_database_keeps_the_indexes_of_flow_runs" {
  command = plan
  variables {
    database = { create = false }
  }

  assert {
    condition     = !contains(keys(google_firestore_field.unindexed), "flow_runs.steps")
    error_message = "An index of others was taken away without asking."
  }
}

run "an_existing_database_gives_up_the_indexes_that_it_is_asked_for" {
  command = plan
  variables {
    database = { create = false, flow_runs_unindexed = ["steps", "updatedAt"] }
  }

  assert {
    condition     = contains(keys(google_firestore_field.unindexed), "flow_runs.steps") && contains(keys(google_firestore_field.unindexed), "flow_runs.updatedAt")
    error_message = "A field keeps its index."
  }
}

run "an_index_that_a_query_needs_is_not_given_up" {
  command = plan
  variables {
    database = { flow_runs_unindexed = ["status"] }
  }
  expect_failures = [var.database]
}
