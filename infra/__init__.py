"""What surrounds the code: the local environment, the operator's tools, Terraform."""
