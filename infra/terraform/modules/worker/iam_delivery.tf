# Who may call the functions, and what the services between them need.
# The invoker bindings are authoritative: an apply removes everybody else who was let in.

# Pub/Sub pushes jobs with this identity, and nobody else calls the executor.
resource "google_cloud_run_v2_service_iam_binding" "executor_invokers" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.executor.name
  role     = "roles/run.invoker"
  members  = [google_service_account.push.member]
}

# The trigger delivers events with the dispatcher's own identity.
resource "google_cloud_run_v2_service_iam_binding" "dispatcher_invokers" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.dispatcher.name
  role     = "roles/run.invoker"
  members  = [google_service_account.dispatcher.member]
}

# Cloud Scheduler calls the sweep with this identity.
resource "google_cloud_run_v2_service_iam_binding" "sweep_invokers" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.sweep.name
  role     = "roles/run.invoker"
  members  = [google_service_account.scheduler.member]
}

# The provider calls without an account of ours, so anybody may: what counts is the signature in the address.
resource "google_cloud_run_v2_service_iam_binding" "notify_invokers" {
  count = var.notify.enabled ? 1 : 0

  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.notify[0].name
  role     = "roles/run.invoker"
  members  = ["allUsers"]
}

# Lets the trigger's identity receive events; Eventarc has this on the project only.
resource "google_project_iam_member" "dispatcher_receives_events" {
  project = var.project_id
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.dispatcher.member

  depends_on = [time_sleep.identities]
}

# Pub/Sub signs the tokens of its push requests: on the push account, not on the project.
resource "google_service_account_iam_member" "pubsub_signs_push_tokens" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_project_service_identity.agent["pubsub"].member

  depends_on = [time_sleep.identities]
}

# Pub/Sub forwards dead letters itself; without this it neither forwards nor counts deliveries.
resource "google_pubsub_topic_iam_member" "pubsub_forwards_dead_letters" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letters.name
  role    = "roles/pubsub.publisher"
  member  = google_project_service_identity.agent["pubsub"].member

  depends_on = [time_sleep.identities]
}

# It acknowledges on the source what it forwarded.
resource "google_pubsub_subscription_iam_member" "pubsub_acknowledges_forwarded" {
  project      = var.project_id
  subscription = google_pubsub_subscription.jobs_push.name
  role         = "roles/pubsub.subscriber"
  member       = google_project_service_identity.agent["pubsub"].member

  depends_on = [time_sleep.identities]
}

# What a service does by itself it does as its agent. Google grants this role by itself only where the agent comes into
# being by a first use, and then some time after it (https://cloud.google.com/iam/docs/create-service-agents).
resource "google_project_iam_member" "agents_serve" {
  #checkov:skip=CKV_GCP_49:It is the role that Google itself gives the agent, and which the service cannot do without.
  for_each = setsubtract(local.agents, ["secretmanager"])

  project = var.project_id
  role    = "roles/${each.key}.serviceAgent"
  member  = google_project_service_identity.agent[each.key].member

  depends_on = [time_sleep.identities]
}
