"""What an empty project needs before the first `terraform apply`."""
