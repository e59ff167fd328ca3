output "dispatcher" {
  description = "Name of the dispatcher function."
  value       = google_cloudfunctions2_function.dispatcher.name
}

output "executor" {
  description = "Name of the executor function."
  value       = google_cloudfunctions2_function.executor.name
}

output "artifacts_bucket" {
  description = "Bucket of the reports."
  value       = google_storage_bucket.artifacts.name
}

output "jobs_topic" {
  description = "Topic of the jobs."
  value       = google_pubsub_topic.jobs.id
}

output "dead_letter_subscription" {
  description = "Subscription from which an operator takes dead letters."
  value       = google_pubsub_subscription.dead_letters.id
}

output "executor_account" {
  description = "Identity of the executor, for exporters that grant access to buckets of their own."
  value       = google_service_account.executor.email
}

output "bundles" {
  description = "Objects that the functions were built from; their names are the archives' hashes."
  value       = { for stage, bundle in google_storage_bucket_object.bundle : stage => bundle.name }
}

output "dashboard" {
  description = "Where to look first."
  value       = "https://console.cloud.google.com/monitoring/dashboards?project=${var.project_id}"
}
