# What an organization's policies ask for. All of it is off by default.

variable "encryption_key" {
  type        = string
  description = "Cloud KMS key of your own, in the region, that encrypts the database, buckets, topics, secret, images, functions, events on their way and the log bucket: projects/P/locations/REGION/keyRings/R/cryptoKeys/K. Only new stores take it: set it before the first apply."
  default     = null

  validation {
    condition     = var.encryption_key == null || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[^/]+/cryptoKeys/[^/]+$", var.encryption_key))
    error_message = "encryption_key must be a key's full name in the region: a store refuses a key from elsewhere."
  }

  validation {
    condition     = var.encryption_key == null || coalesce(var.database.location, var.region) == var.region
    error_message = "encryption_key needs a database in the region itself: one in nam5 or eur3 wants a multi-region key."
  }
}

variable "network" {
  type = object({
    connector   = optional(string)
    egress      = optional(string, "PRIVATE_RANGES_ONLY")
    worker_pool = optional(string)
  })
  description = "Serverless VPC Access connector that the functions send through (projects/P/locations/REGION/connectors/C), what they send through it (PRIVATE_RANGES_ONLY or ALL_TRAFFIC), and the private worker pool of Cloud Build that builds their images (projects/P/locations/REGION/workerPools/W). The connector's subnetwork needs Private Google Access with ALL_TRAFFIC."
  default     = {}
  nullable    = false

  validation {
    condition     = contains(["PRIVATE_RANGES_ONLY", "ALL_TRAFFIC"], var.network.egress)
    error_message = "network.egress must be PRIVATE_RANGES_ONLY or ALL_TRAFFIC."
  }

  validation {
    condition     = var.network.connector != null || var.network.egress == "PRIVATE_RANGES_ONLY"
    error_message = "network.egress needs network.connector: without one there is nothing to send through."
  }

  validation {
    condition     = var.network.connector == null || can(regex("^projects/[^/]+/locations/${var.region}/connectors/[^/]+$", var.network.connector))
    error_message = "network.connector must be a connector's full name in the region."
  }

  validation {
    condition     = var.network.worker_pool == null || can(regex("^projects/[^/]+/locations/${var.region}/workerPools/[^/]+$", var.network.worker_pool))
    error_message = "network.worker_pool must be a worker pool's full name in the region."
  }
}

variable "people" {
  type = object({
    operators    = optional(set(string), [])
    key_rotators = optional(set(string), [])
    domains      = optional(set(string), [])
  })
  description = "Who operates steps and dead letters, and who adds versions of the key and of the secret of hooks, each as user:, group: or serviceAccount: with an address. domains, when given, are the only ones that users and groups may come from."
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for member in setunion(var.people.operators, var.people.key_rotators) : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", member))])
    error_message = "people must be user:, group: or serviceAccount: with an address; nobody is everybody."
  }

  validation {
    condition = length(var.people.domains) == 0 || alltrue([
      for member in setunion(var.people.operators, var.people.key_rotators) :
      startswith(member, "serviceAccount:") || contains(var.people.domains, try(split("@", member)[1], ""))
    ])
    error_message = "people names somebody from outside people.domains."
  }
}

variable "scheduler_region" {
  type        = string
  description = "Region of the sweep's schedule, by default the region. Cloud Scheduler is in fewer regions than the rest (`gcloud scheduler locations list`)."
  default     = null

  validation {
    condition     = var.scheduler_region == null || can(regex("^[a-z]+-[a-z]+[0-9]+$", var.scheduler_region))
    error_message = "scheduler_region must be a single region such as europe-west1."
  }
}

variable "logs" {
  type = object({
    retention_days = optional(number)
    audit          = optional(bool, false)
  })
  description = "retention_days keeps the worker's log in a bucket of its own for so long. audit logs who reads and writes documents, objects, messages and the key, the worker itself left out; it replaces the project's own audit settings of these services."
  default     = {}
  nullable    = false

  # https://cloud.google.com/logging/quotas#logs_retention_periods
  validation {
    condition     = var.logs.retention_days == null ? true : var.logs.retention_days >= 1 && var.logs.retention_days <= 3650
    error_message = "logs.retention_days must be from 1 to 3650."
  }
}

variable "budget" {
  type = object({
    billing_account = string
    monthly_amount  = number
    currency        = optional(string)
    shares          = optional(list(number), [0.5, 0.9, 1])
  })
  description = "The month's budget of the whole project, in whole units of the billing account's currency, and the shares of it at which those who pay and the alerts' mail addresses are told; also when the forecast passes it."
  default     = null

  validation {
    condition     = var.budget == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "budget.billing_account must be the account's id, such as 012345-6789AB-CDEF01."
  }

  validation {
    condition     = var.budget == null ? true : var.budget.monthly_amount >= 1 && floor(var.budget.monthly_amount) == var.budget.monthly_amount && length(var.budget.shares) > 0 && alltrue([for share in var.budget.shares : share > 0])
    error_message = "budget.monthly_amount must be a whole number from 1 on, and each of budget.shares above 0."
  }
}

variable "waits" {
  type = object({
    services_seconds   = optional(number, 60)
    identities_seconds = optional(number, 30)
    grants_seconds     = optional(number, 180)
    metrics_seconds    = optional(number, 600)
  })
  description = "How long an apply waits after it enabled services, made accounts, granted roles and made metrics, before it uses them; only where something was made or changed."
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for seconds in [var.waits.services_seconds, var.waits.identities_seconds, var.waits.grants_seconds, var.waits.metrics_seconds] : seconds >= 0 && seconds <= 3600])
    error_message = "Each of waits must be from 0 to 3600 seconds."
  }
}
