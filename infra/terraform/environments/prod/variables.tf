variable "project_id" {
  type        = string
  description = "The project of this environment."
}

variable "region" {
  type        = string
  description = "The one region of everything, which is the database's too."
}

variable "bundle_folder" {
  type        = string
  description = "Where `make bundles` wrote the source archives."
  default     = "../../../../build"
}

variable "gemini" {
  type        = any
  description = "How the model is reached: the version of the secret with ai_studio, or backend = \"vertex\"; further as in the module."
}

variable "allowed_models" {
  type        = list(string)
  description = "Models that steps may name, each `name` or `name:YYYY-MM-DD` with its last day of use."
}

variable "alert_emails" {
  type        = set(string)
  description = "Who gets the alerts."
  default     = []
}

variable "runbooks_url" {
  type        = string
  description = "Where docs/how-to/runbooks of this version is published."
}

# Passed to the module, whose variables of these names say what may be in them (docs/reference/terraform.md). So an
# upgrade finds no file of this folder changed: what is yours is in terraform.tfvars, and in files of your own.

variable "alerts" {
  type        = any
  description = "Further fields of the module's alerts."
  default     = {}
}

variable "executor" {
  type        = any
  description = "Fields of the module's executor that are to be others than this environment's."
  default     = {}
}

variable "max_parallel_model_calls" {
  type        = number
  description = "Ceiling on model calls under way at once."
  default     = 80
}

variable "sweep_schedule" {
  type        = string
  description = "When the sweep runs, in cron format (UTC)."
  default     = "* * * * *"
}

variable "database" {
  type        = any
  description = "The module's database."
  default     = {}
}

variable "cost" {
  type        = any
  description = "The module's cost."
  default     = {}
}

variable "deadlines" {
  type        = any
  description = "The module's deadlines."
  default     = {}
}

variable "attempts" {
  type        = any
  description = "The module's attempts."
  default     = {}
}

variable "artifacts" {
  type        = any
  description = "The module's artifacts."
  default     = {}
}

variable "logs" {
  type        = any
  description = "The module's logs."
  default     = {}
}

variable "network" {
  type        = any
  description = "The module's network."
  default     = {}
}

variable "people" {
  type        = any
  description = "The module's people."
  default     = {}
}

variable "waits" {
  type        = any
  description = "The module's waits."
  default     = {}
}

variable "budget" {
  type        = any
  description = "The module's budget."
  default     = null
}

variable "encryption_key" {
  type        = string
  description = "The module's encryption_key."
  default     = null
}

variable "scheduler_region" {
  type        = string
  description = "The module's scheduler_region."
  default     = null
}

variable "notify" {
  type        = any
  description = "The module's notify."
  default     = {}
}

variable "tracing" {
  type        = bool
  description = "The module's tracing."
  default     = false
}

variable "settings" {
  type        = map(string)
  description = "The module's settings."
  default     = {}
}

variable "labels" {
  type        = map(string)
  description = "The module's labels."
  default     = {}
}
