output "worker" {
  description = "Names and addresses, as the operator's commands take them."
  value       = module.worker
}
