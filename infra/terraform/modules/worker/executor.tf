locals {
  # As the executor reads them: without what is not given.
  model_prices = {
    for model, prices in var.cost.prices : model => [
      for price in prices : {
        for name, value in {
          from        = price.from
          input       = tostring(price.input)
          output      = tostring(price.output)
          cached      = price.cached == null ? null : tostring(price.cached)
          thought     = price.thought == null ? null : tostring(price.thought)
          imageTokens = price.image_tokens
          tiers = length(price.tiers) == 0 ? null : {
            for tier, amounts in price.tiers : tier => { for name, value in amounts : name => tostring(value) if value != null }
          }
        } : name => value if value != null
      }
    ]
  }
}

# Executes one job per push: context, model call, artifact, outcome.
resource "google_cloudfunctions2_function" "executor" {
  project     = var.project_id
  name        = local.functions.executor
  location    = var.region
  description = "Executes LLM_REPORT jobs"
  labels      = local.labels
  # Of the source and the image; null is Google's own key.
  kms_key_name = var.encryption_key

  build_config {
    runtime           = local.runtime
    entry_point       = "execute"
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.functions.id
    worker_pool       = var.network.worker_pool
    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.bundle["executor"].name
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.executor.email
    ingress_settings                 = "ALLOW_INTERNAL_ONLY"
    vpc_connector                    = var.network.connector
    vpc_connector_egress_settings    = local.egress
    available_cpu                    = var.executor.cpu
    available_memory                 = var.executor.memory
    max_instance_count               = var.executor.max_instances
    max_instance_request_concurrency = var.executor.concurrency
    timeout_seconds                  = var.deadlines.function_seconds

    environment_variables = merge(local.shared_environment, {
      ARTIFACTS_BUCKET           = google_storage_bucket.artifacts.name
      ARTIFACTS_PREFIX           = var.artifacts.prefix
      CONTEXT_BUCKETS            = join(",", concat([google_storage_bucket.artifacts.name], sort(var.artifacts.context_buckets)))
      DEAD_LETTER_TOPIC          = google_pubsub_topic.dead_letters.id
      GEMINI_BACKEND             = var.gemini.backend
      GEMINI_LOCATION            = coalesce(var.gemini.location, var.region)
      GEMINI_ALLOWED_MODELS      = join(",", var.allowed_models)
      GEMINI_TIMEOUT_SECONDS     = tostring(var.deadlines.model_seconds)
      FINALIZE_BUDGET_SECONDS    = tostring(var.deadlines.finalize_seconds)
      INVOCATION_TIMEOUT_SECONDS = tostring(var.deadlines.invocation_seconds)
      MAX_ATTEMPTS               = tostring(var.attempts.per_step)
      CALL_POLICY                = var.attempts.call_policy
      MAX_OUTPUT_TOKENS          = tostring(var.gemini.max_output_tokens)
      GEMINI_SERVICE_TIERS       = join(",", var.gemini.service_tiers)
      GEMINI_MEDIA_RESOLUTION    = var.gemini.media_resolution == null ? "" : var.gemini.media_resolution
      MAX_LLM_CALLS              = tostring(var.attempts.model_calls)
      MODEL_PRICES               = jsonencode(local.model_prices)
      }, {
      # A variable without a value would be no ceiling and look like one.
      for name, usd in { MAX_RUN_COST_USD = var.cost.max_run_usd, MAX_DAY_COST_USD = var.cost.max_day_usd } :
      name => tostring(usd) if usd != null
      }, {
      for function in google_cloudfunctions2_function.notify : "WEBHOOK_URL" => function.service_config[0].uri
      }, {
      for function in google_cloudfunctions2_function.notify : "WEBHOOK_WAIT_SECONDS" => tostring(var.notify.wait_seconds)
    })

    dynamic "secret_environment_variables" {
      for_each = google_secret_manager_secret.gemini_api_key
      content {
        key        = "GEMINI_API_KEY"
        project_id = var.project_id
        secret     = secret_environment_variables.value.secret_id
        version    = tostring(var.gemini.api_key_version)
      }
    }

    dynamic "secret_environment_variables" {
      for_each = google_secret_manager_secret.webhook_secret
      content {
        key        = "WEBHOOK_SECRET"
        project_id = var.project_id
        secret     = secret_environment_variables.value.secret_id
        version    = tostring(var.notify.secret_version)
      }
    }
  }

  depends_on = [time_sleep.grants]
}
