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
  type = object({
    backend         = optional(string, "ai_studio")
    location        = optional(string)
    api_key_version = optional(number)
  })
  description = "How the model is reached: the version of the secret with ai_studio, or backend = \"vertex\"."
}

variable "allowed_models" {
  type        = list(string)
  description = "Models that steps may name, each `name` or `name:YYYY-MM-DD` with its last day of use."
  default     = []
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
