variable "project" {
  type = string
}

variable "region" {
  type    = string
  default = "europe-west1"
}

variable "image" {
  type = string
}

variable "api_key_secret" {
  type        = string
  default     = "tollgate-api-key"
  description = "A Secret Manager secret that exists, with the admin API key."
}

variable "store_secret" {
  type        = string
  default     = "tollgate-store"
  description = "A Secret Manager secret that exists, with the URL of the store: postgres://…"
}

variable "network" {
  type    = string
  default = "default"
}

variable "subnetwork" {
  type    = string
  default = "default"
}

variable "instances_max" {
  type    = number
  default = 4
}

variable "callers" {
  type        = list(string)
  default     = []
  description = "Who may call: serviceAccount:… of your services. Never allUsers."
}
