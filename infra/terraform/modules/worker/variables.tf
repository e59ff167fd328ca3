variable "project_id" {
  type        = string
  description = "The project that everything is made in. One environment, one project."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id (not its name or number)."
  }
}

variable "environment" {
  type        = string
  description = "Which environment this is; the functions see it as ENVIRONMENT and log it as env."

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment must be dev, staging or prod."
  }
}

variable "region" {
  type        = string
  description = "The one region of functions, trigger, buckets, queue and secret."

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a single region such as europe-west4."
  }
}

variable "database" {
  type = object({
    name                = optional(string, "(default)")
    create              = optional(bool, true)
    location            = optional(string)
    daily_backup_days   = optional(number)
    weekly_backup_weeks = optional(number)
    flow_runs_unindexed = optional(list(string))
  })
  description = "The Firestore database. create = false takes an existing one; location is its location, by default the region. daily_backup_days and weekly_backup_weeks say how long backups are kept, of which there are none by default. flow_runs_unindexed are the fields of flow_runs that have no index: by default steps in a database of its own, and none in an existing one."
  default     = {}
  nullable    = false

  # A trigger elsewhere than its database deploys without complaint and never fires.
  # https://cloud.google.com/firestore/docs/eventarc: nam5 is served from us-central1, eur3 from europe-west4.
  validation {
    condition = contains(
      concat([var.region], lookup({ us-central1 = ["nam5"], europe-west4 = ["eur3"] }, var.region, [])),
      coalesce(var.database.location, var.region),
    )
    error_message = "database.location must be the region itself (nam5 with us-central1, eur3 with europe-west4): set region to where the database is."
  }

  # https://cloud.google.com/firestore/docs/backups: at most 14 weeks.
  validation {
    condition     = alltrue([for days in [var.database.daily_backup_days, try(var.database.weekly_backup_weeks * 7, null)] : days == null ? true : days >= 1 && days <= 98])
    error_message = "database.daily_backup_days must be from 1 to 98, weekly_backup_weeks from 1 to 14."
  }

  validation {
    condition     = length(setintersection(coalesce(var.database.flow_runs_unindexed, []), ["createdAt", "flowKey", "scope", "scope.symbol", "status"])) == 0
    error_message = "database.flow_runs_unindexed names a field that the sweep or an operator asks for: the query would be refused."
  }
}

variable "bundles" {
  type = object({
    dispatcher = string
    executor   = string
  })
  description = "Paths of the source archives that `make bundles` wrote. Their hashes name the uploaded objects, so an apply redeploys what changed and nothing else."
}

variable "gemini" {
  type = object({
    backend           = optional(string, "ai_studio")
    location          = optional(string)
    api_key_version   = optional(number)
    max_output_tokens = optional(number, 0)
    service_tiers     = optional(list(string), ["standard"])
    media_resolution  = optional(string)
  })
  description = "How the model is reached: ai_studio with the secret's version number, or vertex with no secret at all, in location (by default the region). max_output_tokens caps what a step may ask for; 0 is no cap. service_tiers are those at which calls may be asked for, from the cheapest to the dearest (deferred, flex, standard, priority); media_resolution is how closely models look at charts (low, medium, high), by default as the provider sets it."
  nullable    = false

  validation {
    condition     = contains(["ai_studio", "vertex"], var.gemini.backend)
    error_message = "gemini.backend must be ai_studio or vertex."
  }

  # A number and never "latest": a new key takes effect by a deployment, and a bad one is rolled back by it.
  validation {
    condition     = (var.gemini.backend == "ai_studio") == (var.gemini.api_key_version != null)
    error_message = "gemini.api_key_version is required with ai_studio and must be absent with vertex."
  }

  validation {
    condition     = coalesce(var.gemini.api_key_version, 1) >= 1 && floor(coalesce(var.gemini.api_key_version, 1)) == coalesce(var.gemini.api_key_version, 1)
    error_message = "gemini.api_key_version must be a version number from 1 on."
  }

  validation {
    condition = length(var.gemini.service_tiers) > 0 && var.gemini.service_tiers == tolist([
      for tier in ["deferred", "flex", "standard", "priority"] : tier if contains(var.gemini.service_tiers, tier)
    ])
    error_message = "gemini.service_tiers must name some of deferred, flex, standard, priority, in this order."
  }

  validation {
    condition     = length(setintersection(var.gemini.service_tiers, ["deferred", "flex"])) == 0 || lookup(var.settings, "GEMINI_API", "generate_content") == "interactions"
    error_message = "gemini.service_tiers: deferred and flex need settings.GEMINI_API = \"interactions\": an instance that waits minutes for an answer costs more than the tier saves."
  }

  validation {
    condition     = var.gemini.backend == "vertex" ? !contains(var.gemini.service_tiers, "flex") || coalesce(var.gemini.location, var.region) == "global" : !contains(var.gemini.service_tiers, "deferred")
    error_message = "gemini.service_tiers: flex is served by Vertex at gemini.location = \"global\" alone, and deferred by Vertex alone."
  }

  validation {
    condition     = var.gemini.media_resolution == null ? true : contains(["low", "medium", "high"], var.gemini.media_resolution)
    error_message = "gemini.media_resolution must be low, medium or high."
  }
}

variable "cost" {
  type = object({
    prices = optional(map(list(object({
      from         = string
      input        = number
      output       = number
      cached       = optional(number)
      thought      = optional(number)
      image_tokens = optional(number)
      tiers = optional(map(object({
        input   = number
        output  = number
        cached  = optional(number)
        thought = optional(number)
      })), {})
    }))), {})
    max_run_usd = optional(number)
    max_day_usd = optional(number)
  })
  description = "Prices of models in USD per million tokens, each valid from a day (YYYY-MM-DD), those of other service tiers in tiers, and the most that one run, and all steps of one day (UTC), may cost. A step whose next call might pass a ceiling fails before it."
  default     = {}
  nullable    = false

  validation {
    condition = (var.cost.max_run_usd == null && var.cost.max_day_usd == null) || (
      length(var.cost.prices) > 0 && alltrue([for model in var.allowed_models : contains(keys(var.cost.prices), split(":", model)[0])])
    )
    error_message = "A cost ceiling needs cost.prices of every model in allowed_models: without them nobody knows what a call may cost."
  }

  validation {
    condition = (var.cost.max_run_usd == null && var.cost.max_day_usd == null) || alltrue([
      for price in flatten(values(var.cost.prices)) : length(setsubtract(var.gemini.service_tiers, concat(["standard"], keys(price.tiers)))) == 0
    ])
    error_message = "A cost ceiling needs cost.prices of every tier in gemini.service_tiers: without them nobody knows what a call may cost."
  }

  validation {
    condition     = alltrue([for usd in [var.cost.max_run_usd, var.cost.max_day_usd] : usd == null ? true : usd > 0])
    error_message = "cost.max_run_usd and cost.max_day_usd must be above zero."
  }
}

variable "allowed_models" {
  type        = list(string)
  description = "Models that steps may name, each `name` or `name:YYYY-MM-DD` with its last day of use. Empty allows every model, outside prod only."
  default     = []
  nullable    = false

  validation {
    condition     = length(var.allowed_models) > 0 || var.environment != "prod"
    error_message = "allowed_models is mandatory in prod: any model that a step names would be paid for."
  }

  validation {
    condition     = alltrue([for model in var.allowed_models : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(:\\d{4}-\\d{2}-\\d{2})?$", model))])
    error_message = "Each of allowed_models must be name or name:YYYY-MM-DD."
  }
}

variable "deadlines" {
  type = object({
    model_seconds           = optional(number, 480)
    finalize_seconds        = optional(number, 60)
    invocation_seconds      = optional(number, 540)
    function_seconds        = optional(number, 570)
    push_seconds            = optional(number, 600)
    redeliver_while_running = optional(bool, false)
  })
  description = "The chain of deadlines: model + finalize <= invocation < function < push. redeliver_while_running allows a function longer than the push deadline; the lease makes the early copy harmless."
  default     = {}
  nullable    = false

  validation {
    condition     = var.deadlines.model_seconds + var.deadlines.finalize_seconds <= var.deadlines.invocation_seconds
    error_message = "deadlines.invocation_seconds must be at least model_seconds + finalize_seconds: the outcome of a slow call must still be written."
  }

  validation {
    condition     = var.deadlines.invocation_seconds < var.deadlines.function_seconds
    error_message = "deadlines.invocation_seconds must be below function_seconds: the platform must not end what the worker wants to end itself."
  }

  validation {
    condition     = var.deadlines.function_seconds < var.deadlines.push_seconds || var.deadlines.redeliver_while_running
    error_message = "deadlines.function_seconds must be below push_seconds, or a message comes again while its first delivery works (redeliver_while_running = true accepts that)."
  }

  # https://cloud.google.com/pubsub/docs/push: the acknowledgement deadline is the push request's timeout.
  # https://cloud.google.com/run/quotas: an HTTP function may run for an hour.
  validation {
    condition     = var.deadlines.push_seconds >= 10 && var.deadlines.push_seconds <= 600 && var.deadlines.function_seconds <= 3600
    error_message = "deadlines.push_seconds must be from 10 to 600, function_seconds at most 3600."
  }

  # The Gemini Developer API answers a shorter server timeout with 400.
  validation {
    condition     = var.deadlines.model_seconds >= 10 && var.deadlines.finalize_seconds >= 1
    error_message = "deadlines.model_seconds must be at least 10, finalize_seconds at least 1."
  }
}

variable "executor" {
  type = object({
    max_instances = optional(number, 10)
    concurrency   = optional(number, 4)
    cpu           = optional(string, "1")
    memory        = optional(string, "1Gi")
  })
  description = "Size of the executor. Waiting for the model is what costs: concurrency is the lever (docs/reference/cost.md)."
  default     = {}
  nullable    = false

  validation {
    condition     = var.executor.max_instances >= 1 && var.executor.concurrency >= 1 && var.executor.concurrency <= 1000
    error_message = "executor.max_instances must be at least 1, concurrency from 1 to 1000."
  }

  # https://cloud.google.com/run/docs/about-concurrency
  validation {
    condition     = var.executor.concurrency == 1 || tonumber(var.executor.cpu) >= 1
    error_message = "executor.concurrency above 1 needs at least one whole cpu."
  }
}

variable "max_parallel_model_calls" {
  type        = number
  description = "Ceiling on model calls under way at once, and so on the rate of spending: executor.max_instances times executor.concurrency may not exceed it."
  default     = 40
  nullable    = false

  validation {
    condition     = var.executor.max_instances * var.executor.concurrency <= var.max_parallel_model_calls
    error_message = "executor.max_instances times executor.concurrency exceeds max_parallel_model_calls."
  }
}

variable "attempts" {
  type = object({
    per_step       = optional(number, 5)
    model_calls    = optional(number, 5)
    max_deliveries = optional(number, 10)
    call_policy    = optional(string, "at_least_once")
  })
  description = "Budgets of one step (attempts, and model calls with the repair call included), the deliveries after which Pub/Sub forwards a message to the dead-letter topic, and what happens when an attempt dies in a model call: at_least_once calls again, at_most_once fails the step."
  default     = {}
  nullable    = false

  validation {
    condition     = var.attempts.max_deliveries > var.attempts.per_step
    error_message = "attempts.max_deliveries must be above per_step: only what crashes or cannot be read should reach the dead-letter topic."
  }

  validation {
    condition     = contains(["at_least_once", "at_most_once"], var.attempts.call_policy)
    error_message = "attempts.call_policy must be at_least_once or at_most_once."
  }

  # https://cloud.google.com/pubsub/docs/dead-letter-topics
  validation {
    condition     = var.attempts.max_deliveries >= 5 && var.attempts.max_deliveries <= 100 && var.attempts.per_step >= 1 && var.attempts.model_calls >= 1
    error_message = "attempts.max_deliveries must be from 5 to 100, per_step and model_calls at least 1."
  }
}

variable "notify" {
  type = object({
    enabled        = optional(bool, false)
    secret_version = optional(number)
    public_keys    = optional(list(string), [])
    wait_seconds   = optional(number, 600)
    max_instances  = optional(number, 2)
  })
  description = "Whether the provider announces the ends of calls in the background, to the one function that anybody may call: off by default, and then the sweep looks for them. With it, the version of the secret webhook-secret that signs the addresses, the provider's public keys of Standard Webhooks (whpk_…) if it signs, how long a job waits for the hook of a call whose beginner died, and the instances that bound what requests can cost."
  default     = {}
  nullable    = false

  validation {
    condition     = var.notify.enabled == (var.notify.secret_version != null)
    error_message = "notify.secret_version is required with notify.enabled, and must be absent without."
  }

  validation {
    condition     = !var.notify.enabled || lookup(var.settings, "GEMINI_API", "generate_content") == "interactions"
    error_message = "notify needs settings.GEMINI_API = \"interactions\": only calls in the background are announced."
  }

  # A secret would be in the state.
  validation {
    condition     = alltrue([for key in var.notify.public_keys : can(regex("^whpk_[A-Za-z0-9+/]{43}=$", key))])
    error_message = "Each of notify.public_keys must be an Ed25519 public key, whpk_ and 32 bytes in base64."
  }

  validation {
    condition     = var.notify.wait_seconds >= 0 && var.notify.wait_seconds <= 86400 && var.notify.max_instances >= 1 && var.notify.max_instances <= 20
    error_message = "notify.wait_seconds must be from 0 to 86400, max_instances from 1 to 20."
  }
}

variable "tracing" {
  type        = bool
  description = "Send spans of both functions to Cloud Trace."
  default     = false
  nullable    = false
}

variable "settings" {
  type        = map(string)
  description = "Further settings of the functions (docs/reference/settings.md) that no other variable here decides, by name."
  default     = {}
  nullable    = false

  validation {
    condition = length(setintersection(keys(var.settings), [
      "ARTIFACTS_BUCKET", "ARTIFACTS_PREFIX", "CALL_POLICY", "CONTEXT_BUCKETS", "DEAD_LETTER_TOPIC", "ENVIRONMENT", "FINALIZE_BUDGET_SECONDS",
      "FIRESTORE_DATABASE", "FLOW_RUNS_COLLECTION", "GCP_PROJECT", "GCP_REGION", "GEMINI_ALLOWED_MODELS", "GEMINI_API_KEY", "GEMINI_BACKEND",
      "GEMINI_LOCATION", "GEMINI_MEDIA_RESOLUTION", "GEMINI_SERVICE_TIERS", "GEMINI_TIMEOUT_SECONDS", "INVOCATION_TIMEOUT_SECONDS", "JOBS_TOPIC", "LOG_EXECUTION_ID", "MAX_ATTEMPTS", "MAX_DAY_COST_USD",
      "MAX_LLM_CALLS", "MAX_OUTPUT_TOKENS", "MAX_RUN_COST_USD", "MODEL_PRICES", "OTEL_EXPORTER_OTLP_ENDPOINT",
      "WEBHOOK_SECRET", "WEBHOOK_SIGNING_KEYS", "WEBHOOK_URL", "WEBHOOK_WAIT_SECONDS",
    ])) == 0
    error_message = "settings must not name what another variable decides: it would be checked against nothing."
  }
}

variable "artifacts" {
  type = object({
    prefix            = optional(string, "")
    context_buckets   = optional(set(string), [])
    soft_delete_days  = optional(number)
    retention_days    = optional(number)
    lock_retention    = optional(bool, false)
    event_based_hold  = optional(bool, false)
    access_log_bucket = optional(string)
  })
  description = "Folder of the reports in the artifacts bucket, and further existing buckets that steps may take inputs from. What protects reports: soft_delete_days (0 for none; by default what Google sets), retention_days within which nobody may delete one (in place of versions), lock_retention that nobody can ever shorten, event_based_hold that puts a hold on each. access_log_bucket is an existing bucket for the access logs of both buckets."
  default     = {}
  nullable    = false

  # https://cloud.google.com/storage/docs/soft-delete
  validation {
    condition     = var.artifacts.soft_delete_days == null ? true : var.artifacts.soft_delete_days == 0 || (var.artifacts.soft_delete_days >= 7 && var.artifacts.soft_delete_days <= 90)
    error_message = "artifacts.soft_delete_days must be 0, or from 7 to 90."
  }

  # https://cloud.google.com/storage/docs/bucket-lock: at most 100 years.
  validation {
    condition     = var.artifacts.retention_days == null ? true : var.artifacts.retention_days >= 1 && var.artifacts.retention_days <= 36500
    error_message = "artifacts.retention_days must be from 1 to 36500."
  }

  validation {
    condition     = !var.artifacts.lock_retention || var.artifacts.retention_days != null
    error_message = "artifacts.lock_retention needs artifacts.retention_days: there is nothing to lock."
  }
}

variable "sweep_schedule" {
  type        = string
  description = "When the sweep runs, in cron format (UTC): recovery takes up to one lease and one sweep."
  default     = "* * * * *"
  nullable    = false
}

variable "alerts" {
  type = object({
    emails = optional(set(string), [])
    channels = optional(map(object({
      type   = string
      labels = map(string)
    })), {})
    existing_channels        = optional(set(string), [])
    renotify_minutes         = optional(number, 60)
    runbooks_url             = string
    queue_age_seconds        = optional(number, 900)
    model_latency_seconds    = optional(number, 240)
    tokens_per_hour          = optional(number, 5000000)
    lease_takeovers_per_hour = optional(number, 5)
    rate_limits_per_hour     = optional(number, 20)
    invalid_outputs_per_hour = optional(number, 10)
    function_errors_per_hour = optional(number, 20)
    rejected_hooks_per_hour  = optional(number, 1000)
    patience_share           = optional(number, 0.5)
    steps_succeeding         = optional(number, 0.99)
  })
  description = "Who is told: mail addresses, further channels by name with their type and labels, and existing channels (projects/P/notificationChannels/N), such as those whose labels hold a secret; after how many minutes a critical alert is told again; where docs/how-to/runbooks of this version is published, the thresholds, the share of its patience with the provider that a job may wait unnoticed, and the share of steps that the worker must bring to success (the SLO's goal)."
  nullable    = false

  validation {
    condition     = length(var.alerts.emails) + length(var.alerts.channels) + length(var.alerts.existing_channels) > 0 || var.environment != "prod"
    error_message = "alerts.emails, channels or existing_channels is mandatory in prod: an alert that nobody gets is none."
  }

  validation {
    condition     = alltrue([for name in var.alerts.existing_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", name))])
    error_message = "Each of alerts.existing_channels must be a channel's full name: projects/P/notificationChannels/N."
  }

  validation {
    condition     = alltrue([for channel in var.alerts.channels : length(setintersection(keys(channel.labels), ["auth_token", "password", "service_key"])) == 0])
    error_message = "alerts.channels must hold no secret, which would be in the state: make that channel by hand and name it in existing_channels."
  }

  # https://cloud.google.com/monitoring/alerts/manage-alerts: from 30 minutes to a day.
  validation {
    condition     = var.alerts.renotify_minutes >= 30 && var.alerts.renotify_minutes <= 1440
    error_message = "alerts.renotify_minutes must be from 30 to 1440."
  }

  validation {
    condition     = startswith(var.alerts.runbooks_url, "https://") && !endswith(var.alerts.runbooks_url, "/")
    error_message = "alerts.runbooks_url must be an https:// URL without a slash at its end."
  }

  validation {
    condition     = var.alerts.steps_succeeding > 0 && var.alerts.steps_succeeding < 1
    error_message = "alerts.steps_succeeding must lie between 0 and 1."
  }

  validation {
    condition     = var.alerts.patience_share > 0 && var.alerts.patience_share < 1
    error_message = "alerts.patience_share must lie between 0 and 1."
  }

  validation {
    condition     = var.alerts.model_latency_seconds < var.deadlines.model_seconds
    error_message = "alerts.model_latency_seconds must be below deadlines.model_seconds: no call lasts longer than that."
  }
}

variable "labels" {
  type        = map(string)
  description = "Labels of everything that can carry them."
  default     = {}
  nullable    = false
}
