# Tollgate on Google Cloud Run. Cloud Run keeps no disk, so the store is a database: its URL is a secret that exists.
#   terraform init && terraform apply -var project=my-project -var image=europe-docker.pkg.dev/my-project/apps/tollgate:0.1.0

terraform {
  required_version = ">= 1.9"
  required_providers {
    google = { source = "hashicorp/google", version = "~> 7.0" }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

resource "google_service_account" "tollgate" {
  account_id   = "tollgate"
  display_name = "Tollgate"
}

# The server may read these two secrets and nothing else.
resource "google_secret_manager_secret_iam_member" "tollgate" {
  for_each  = toset([var.api_key_secret, var.store_secret])
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.tollgate.email}"
}

resource "google_cloud_run_v2_service" "tollgate" {
  name                = "tollgate"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = true

  template {
    service_account                  = google_service_account.tollgate.email
    max_instance_request_concurrency = 250
    timeout                          = "60s"

    # A check that waits for a cold start is too late.
    scaling {
      min_instance_count = 1
      max_instance_count = var.instances_max
    }

    # The database is reached by its private address.
    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      image = var.image
      ports { container_port = 8080 }
      resources {
        limits = { cpu = "2", memory = "1Gi" }
        # Background work goes on between requests.
        cpu_idle = false
      }
      env {
        name  = "TOLLGATE_LOG_JSON"
        value = "true"
      }
      env {
        name = "TOLLGATE_API_KEY"
        value_source {
          secret_key_ref {
            secret  = var.api_key_secret
            version = "latest"
          }
        }
      }
      env {
        name = "TOLLGATE_STORE"
        value_source {
          secret_key_ref {
            secret  = var.store_secret
            version = "latest"
          }
        }
      }
      startup_probe {
        period_seconds    = 2
        failure_threshold = 60
        http_get { path = "/ready" }
      }
      liveness_probe {
        period_seconds = 10
        http_get { path = "/health" }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.tollgate]
}

# Who may call it, beside the API key that Tollgate asks for.
resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = toset(var.callers)
  name     = google_cloud_run_v2_service.tollgate.name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}
