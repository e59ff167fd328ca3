# The bucket is named at init: terraform init -backend-config=bucket=STATE_BUCKET
terraform {
  backend "gcs" {
    prefix = "worker-llm-client/prod"
  }
}
