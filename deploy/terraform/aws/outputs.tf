output "repository_url" {
  description = "Where to push the image."
  value       = aws_ecr_repository.tollgate.repository_url
}

output "url" {
  description = "The server, from inside the cluster."
  value       = "http://tollgate.${var.namespace}.svc:8080"
}

output "api_key" {
  description = "The first admin key: terraform output -raw api_key"
  value       = random_password.api_key.result
  sensitive   = true
}
