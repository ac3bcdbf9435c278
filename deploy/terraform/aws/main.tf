# Tollgate on an EKS cluster that exists: an image repository, an encrypted volume class, secrets, and the Helm release.
#   terraform init && terraform apply -var cluster_name=prod -var image_tag=0.1.0

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws        = { source = "hashicorp/aws", version = "~> 6.0" }
    helm       = { source = "hashicorp/helm", version = "~> 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 2.38" }
    random     = { source = "hashicorp/random", version = "~> 3.7" }
  }
}

provider "aws" {
  region = var.region
  default_tags { tags = { app = "tollgate" } }
}

data "aws_caller_identity" "current" {}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_eks_cluster_auth" "this" {
  name = var.cluster_name
}

provider "kubernetes" {
  host                   = data.aws_eks_cluster.this.endpoint
  cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
  token                  = data.aws_eks_cluster_auth.this.token
}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    token                  = data.aws_eks_cluster_auth.this.token
  }
}

# One key for the image repository and the volume; the account decides by IAM who may use it.
resource "aws_kms_key" "tollgate" {
  description             = "Tollgate: images and volumes"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_ecr_repository" "tollgate" {
  name                 = "tollgate"
  image_tag_mutability = "IMMUTABLE"
  image_scanning_configuration { scan_on_push = true }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.tollgate.arn
  }
}

resource "aws_ecr_lifecycle_policy" "tollgate" {
  repository = aws_ecr_repository.tollgate.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the last 20 images"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
      action       = { type = "expire" }
    }]
  })
}

# The volume of the embedded store: encrypted, and kept when the claim is deleted.
resource "kubernetes_storage_class_v1" "tollgate" {
  metadata { name = "tollgate-gp3" }
  storage_provisioner    = "ebs.csi.aws.com"
  reclaim_policy         = "Retain"
  volume_binding_mode    = "WaitForFirstConsumer"
  allow_volume_expansion = true
  parameters = {
    type      = "gp3"
    encrypted = "true"
    kmsKeyId  = aws_kms_key.tollgate.arn
  }
}

resource "kubernetes_namespace_v1" "tollgate" {
  metadata {
    name   = var.namespace
    labels = { "pod-security.kubernetes.io/enforce" = "restricted" }
  }
}

resource "random_password" "api_key" {
  length  = 48
  special = false
}

resource "kubernetes_secret_v1" "tollgate" {
  metadata {
    name      = "tollgate"
    namespace = kubernetes_namespace_v1.tollgate.metadata[0].name
  }
  data = merge(
    { api-key = random_password.api_key.result },
    var.store_url == "" ? {} : { store = var.store_url },
  )
}

resource "helm_release" "tollgate" {
  name      = "tollgate"
  chart     = "${path.module}/../../helm/tollgate"
  namespace = kubernetes_namespace_v1.tollgate.metadata[0].name
  atomic    = true
  timeout   = 600
  values = [yamlencode({
    mode     = var.store_url == "" ? "embedded" : "shared"
    image    = { repository = aws_ecr_repository.tollgate.repository_url, tag = var.image_tag }
    embedded = { size = var.volume_size, storageClass = kubernetes_storage_class_v1.tollgate.metadata[0].name }
    catalog  = var.catalog_file == "" ? "" : file(var.catalog_file)
  })]
  depends_on = [kubernetes_secret_v1.tollgate]
}
