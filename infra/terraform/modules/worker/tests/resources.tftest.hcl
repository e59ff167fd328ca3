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
  alerts         = { runbooks_url = "https://example.com/runbooks" }
  bundles = {
    dispatcher = "tests/bundles/dispatcher.zip"
    executor   = "tests/bundles/executor.zip"
  }
}

run "everything_is_in_the_one_region" {
  command = plan

  assert {
    condition = alltrue([
      for place in [
        google_firestore_database.this[0].location_id,
        google_cloudfunctions2_function.dispatcher.event_trigger[0].trigger_region,
        google_cloudfunctions2_function.dispatcher.location,
        google_cloudfunctions2_function.executor.location,
        google_cloudfunctions2_function.sweep.location,
        google_cloud_scheduler_job.sweep.region,
        google_storage_bucket.artifacts.location,
        google_storage_bucket.sources.location,
        google_artifact_registry_repository.functions.location,
        google_secret_manager_secret.gemini_api_key[0].replication[0].user_managed[0].replicas[0].location,
        one(google_pubsub_topic.jobs.message_storage_policy[0].allowed_persistence_regions),
        one(google_pubsub_topic.dead_letters.message_storage_policy[0].allowed_persistence_regions),
      ] : place == "europe-west4"
    ])
    error_message = "Something is elsewhere."
  }
}

run "a_database_in_another_region_is_refused" {
  command = plan
  variables {
    database = { location = "us-central1" }
  }
  expect_failures = [var.database]
}

run "a_multi_region_database_that_does_not_serve_the_region_is_refused" {
  command = plan
  variables {
    database = { location = "nam5" }
  }
  expect_failures = [var.database]
}

run "a_multi_region_database_has_its_trigger_in_its_own_location" {
  command = plan
  variables {
    database = { name = "flows", create = false, location = "eur3" }
  }

  assert {
    condition     = google_cloudfunctions2_function.dispatcher.event_trigger[0].trigger_region == "eur3"
    error_message = "The trigger is elsewhere than its database, and would never fire."
  }

  assert {
    condition     = length(google_firestore_database.this) == 0
    error_message = "An existing database is not to be made."
  }

  assert {
    condition     = google_cloudfunctions2_function.executor.service_config[0].environment_variables["FIRESTORE_DATABASE"] == "flows"
    error_message = "The functions use another database."
  }
}

run "the_trigger_sees_every_write_of_flow_runs_and_is_retried" {
  command = plan

  assert {
    condition = (
      google_cloudfunctions2_function.dispatcher.event_trigger[0].event_type == "google.cloud.firestore.document.v1.written"
      && google_cloudfunctions2_function.dispatcher.event_trigger[0].retry_policy == "RETRY_POLICY_RETRY"
      && contains([for f in google_cloudfunctions2_function.dispatcher.event_trigger[0].event_filters : "${f.attribute}=${f.value}"], "document=flow_runs/{runId}")
    )
    error_message = "An event would be missed or lost."
  }
}

run "sources_are_named_by_their_hash" {
  command = plan

  assert {
    condition     = google_storage_bucket_object.bundle["executor"].name == "executor/${filesha256("tests/bundles/executor.zip")}.zip"
    error_message = "The object's name does not follow its content."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.dispatcher.build_config[0].source[0].storage_source[0].object
      == google_cloudfunctions2_function.sweep.build_config[0].source[0].storage_source[0].object
    )
    error_message = "The sweep is an entry point of the dispatcher's code."
  }

  assert {
    condition = [
      for f in [google_cloudfunctions2_function.dispatcher, google_cloudfunctions2_function.executor, google_cloudfunctions2_function.sweep] : f.build_config[0].entry_point
    ] == ["dispatch", "execute", "sweep"]
    error_message = "An entry point is another one."
  }
}

run "buckets_are_closed_and_keep_versions" {
  command = plan

  assert {
    condition = alltrue([
      for bucket in [google_storage_bucket.artifacts, google_storage_bucket.sources] :
      bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced" && bucket.versioning[0].enabled && !bucket.force_destroy
    ])
    error_message = "A bucket is open, forgets, or may be deleted with what is in it."
  }
}

run "what_is_over_expires" {
  command = plan

  assert {
    condition     = toset([for field in google_firestore_field.expiry : "${field.collection}.${field.field}"]) == toset(["llm_jobs.expireAt", "llm_spend.expireAt"])
    error_message = "Documents that are over would stay for ever."
  }
}

run "subscriptions_never_expire_and_dead_letters_are_kept_longest" {
  command = plan

  assert {
    condition = alltrue([
      for subscription in [google_pubsub_subscription.jobs_push, google_pubsub_subscription.dead_letters] : subscription.expiration_policy[0].ttl == ""
    ]) && google_pubsub_subscription.dead_letters.message_retention_duration == "2678400s"
    error_message = "Messages could be lost with their subscription, or before an operator saw them."
  }
}

run "a_name_that_is_no_project_id_is_refused" {
  command = plan
  variables {
    project_id = "My Project"
  }
  expect_failures = [var.project_id]
}
