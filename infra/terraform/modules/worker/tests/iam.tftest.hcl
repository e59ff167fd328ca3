mock_provider "google-beta" {}

mock_provider "time" {}

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

# Known at plan time, so that nothing need be applied, even to a mock.
override_resource {
  target          = google_service_account.dispatcher
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-dispatcher"
    email  = "llm-dispatcher@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-dispatcher@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.executor
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-executor"
    email  = "llm-executor@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-executor@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.sweep
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-sweep"
    email  = "llm-sweep@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-sweep@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.push
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-push"
    email  = "llm-push@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-push@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.scheduler
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-scheduler"
    email  = "llm-scheduler@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-scheduler@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_service_account.build
  override_during = plan
  values = {
    name   = "projects/example-project/serviceAccounts/llm-build"
    email  = "llm-build@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:llm-build@example-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_project_service_identity.agent["pubsub"]
  override_during = plan
  values          = { member = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" }
}

override_resource {
  target          = google_project_service_identity.agent["eventarc"]
  override_during = plan
  values          = { member = "serviceAccount:service-123456789012@gcp-sa-eventarc.iam.gserviceaccount.com" }
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

run "the_functions_run_as_different_accounts" {
  command = plan

  assert {
    condition = length(toset([
      google_service_account.dispatcher.account_id,
      google_service_account.executor.account_id,
      google_service_account.sweep.account_id,
      google_service_account.push.account_id,
      google_service_account.scheduler.account_id,
      google_service_account.build.account_id,
    ])) == 6
    error_message = "Two roles share an account."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.dispatcher.service_config[0].service_account_email == google_service_account.dispatcher.email
      && google_cloudfunctions2_function.executor.service_config[0].service_account_email == google_service_account.executor.email
      && google_cloudfunctions2_function.sweep.service_config[0].service_account_email == google_service_account.sweep.email
    )
    error_message = "A function runs as another account than its own."
  }
}

run "nobody_but_the_push_account_invokes_the_executor" {
  command = plan

  assert {
    condition = (
      toset(google_cloud_run_v2_service_iam_binding.executor_invokers.members) == toset([google_service_account.push.member])
      && google_cloud_run_v2_service_iam_binding.executor_invokers.name == "llm-executor"
      && google_cloudfunctions2_function.executor.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    )
    error_message = "Somebody else may call the executor."
  }

  assert {
    condition     = google_pubsub_subscription.jobs_push.push_config[0].oidc_token[0].service_account_email == google_service_account.push.email
    error_message = "Pushes do not come from the push account."
  }
}

run "each_other_function_has_one_caller" {
  command = plan

  assert {
    condition = (
      toset(google_cloud_run_v2_service_iam_binding.dispatcher_invokers.members) == toset([google_service_account.dispatcher.member])
      && toset(google_cloud_run_v2_service_iam_binding.sweep_invokers.members) == toset([google_service_account.scheduler.member])
      && google_cloud_scheduler_job.sweep.http_target[0].oidc_token[0].service_account_email == google_service_account.scheduler.email
      && google_cloudfunctions2_function.dispatcher.event_trigger[0].service_account_email == google_service_account.dispatcher.email
    )
    error_message = "A function may be called by somebody else, or not by its caller."
  }
}

run "the_executor_creates_objects_and_neither_overwrites_nor_deletes" {
  command = plan
  variables {
    artifacts = { context_buckets = ["exporter-bucket"] }
  }

  # An overwrite needs storage.objects.delete, which neither role has.
  assert {
    condition = toset([
      google_storage_bucket_iam_member.executor_creates_artifacts.role,
      google_storage_bucket_iam_member.executor_reads_artifacts.role,
      google_storage_bucket_iam_member.executor_reads_context["exporter-bucket"].role,
    ]) == toset(["roles/storage.objectCreator", "roles/storage.objectViewer"])
    error_message = "The executor may do more with objects than create and read them."
  }

  assert {
    condition     = google_storage_bucket_iam_member.executor_reads_context["exporter-bucket"].role == "roles/storage.objectViewer"
    error_message = "The executor may write where it should only read."
  }

  assert {
    condition     = length(split(",", google_cloudfunctions2_function.executor.service_config[0].environment_variables["CONTEXT_BUCKETS"])) == 2
    error_message = "The executor does not know of the bucket."
  }
}

run "documents_are_reached_in_this_database_alone_and_never_deleted" {
  command = plan
  variables {
    database = { name = "flows" }
  }

  assert {
    condition = alltrue([
      for binding in [
        google_project_iam_member.dispatcher_documents,
        google_project_iam_member.executor_documents,
        google_project_iam_member.sweep_documents,
        google_project_iam_member.sweep_queries,
      ] : binding.condition[0].expression == "resource.name == \"projects/example-project/databases/flows\""
    ])
    error_message = "A binding reaches another database."
  }

  assert {
    condition = toset(concat(
      tolist(google_project_iam_custom_role.documents.permissions),
      tolist(google_project_iam_custom_role.queries.permissions),
    )) == toset(["datastore.entities.create", "datastore.entities.get", "datastore.entities.list", "datastore.entities.update"])
    error_message = "A role has another permission than reading, creating and updating need."
  }

  assert {
    condition     = !contains(google_project_iam_custom_role.documents.permissions, "datastore.entities.list")
    error_message = "Only the sweep lists documents."
  }
}

run "project_wide_roles_are_the_ones_that_exist_nowhere_smaller" {
  command = plan

  assert {
    condition = toset([
      google_project_iam_member.dispatcher_receives_events.role,
      google_project_iam_member.build_writes_logs.role,
      google_project_iam_member.build_reads_staged_sources.role,
    ]) == toset(["roles/eventarc.eventReceiver", "roles/logging.logWriter", "roles/storage.objectViewer"])
    error_message = "A project-wide role is another one."
  }

  assert {
    condition     = google_project_iam_member.build_reads_staged_sources.condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-123456789012-europe-west4\")"
    error_message = "The builder reads other buckets of the project."
  }
}

run "pubsub_may_forward_and_sign_where_it_must_and_nowhere_else" {
  command = plan

  assert {
    condition = toset([
      google_service_account_iam_member.pubsub_signs_push_tokens.member,
      google_pubsub_topic_iam_member.pubsub_forwards_dead_letters.member,
      google_pubsub_subscription_iam_member.pubsub_acknowledges_forwarded.member,
    ]) == toset(["serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"])
    error_message = "The bindings are not the service agent's."
  }

  assert {
    condition = (
      google_service_account_iam_member.pubsub_signs_push_tokens.service_account_id == google_service_account.push.name
      && google_pubsub_topic_iam_member.pubsub_forwards_dead_letters.topic == "llm-jobs-dead-letter"
      && google_pubsub_subscription_iam_member.pubsub_acknowledges_forwarded.subscription == "llm-jobs-push"
    )
    error_message = "A binding stands on another resource."
  }
}

run "an_agent_has_its_own_role_and_no_other" {
  command = plan

  assert {
    condition = (
      alltrue([for service, binding in google_project_iam_member.agents_serve : binding.role == "roles/${service}.serviceAgent"])
      && toset(keys(google_project_iam_member.agents_serve)) == toset(["cloudbuild", "cloudfunctions", "cloudscheduler", "eventarc", "pubsub", "run"])
      && google_project_iam_member.agents_serve["eventarc"].member == "serviceAccount:service-123456789012@gcp-sa-eventarc.iam.gserviceaccount.com"
    )
    error_message = "The first trigger would be refused."
  }
}

run "the_agents_that_a_first_use_would_need_are_made_before_it" {
  command = plan

  assert {
    condition     = toset([for agent in google_project_service_identity.agent : agent.service]) == toset(["cloudbuild.googleapis.com", "cloudfunctions.googleapis.com", "cloudscheduler.googleapis.com", "eventarc.googleapis.com", "pubsub.googleapis.com", "run.googleapis.com"])
    error_message = "An agent is missing, or one is made without a use."
  }
}

run "traces_are_written_where_tracing_is_on" {
  command = plan
  variables {
    tracing = true
  }

  assert {
    condition     = length(google_project_iam_member.functions_write_traces) == 3 && contains(local.services, "telemetry.googleapis.com") && contains(local.services, "cloudtrace.googleapis.com")
    error_message = "A function may not send its spans."
  }
}

run "traces_need_no_right_where_tracing_is_off" {
  command = plan

  assert {
    condition     = length(google_project_iam_member.functions_write_traces) == 0
    error_message = "A right without a use."
  }
}
