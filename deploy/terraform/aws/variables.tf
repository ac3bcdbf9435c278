variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "cluster_name" {
  type        = string
  description = "An EKS cluster with the EBS CSI driver."
}

variable "namespace" {
  type    = string
  default = "tollgate"
}

variable "image_tag" {
  type        = string
  description = "A tag that was pushed to the repository of this module."
}

variable "volume_size" {
  type    = string
  default = "50Gi"
}

variable "store_url" {
  type        = string
  default     = ""
  sensitive   = true
  description = "postgres://… for several servers on one database. Empty: one server with a volume."
}

variable "catalog_file" {
  type        = string
  default     = ""
  description = "A catalog as TOML, applied at start."
}
