# Variants times what torch computes on: `docker buildx bake standard-cu130`, or a whole column: `docker buildx bake cu130`.

variable "IMAGE" {
  default = "comfyui-docker"
}

variable "VERSION" {
  default = "0.1.0"
}

variable "REVISION" {
  default = "unknown"
}

# cu126 is for drivers and cards too old for CUDA 13.
variable "BASES" {
  default = {
    cu130 = "nvidia/cuda:13.0.2-base-ubuntu24.04"
    cu126 = "nvidia/cuda:12.6.3-base-ubuntu24.04"
    cpu   = "ubuntu:24.04"
  }
}

group "default" {
  targets = ["standard-cu130"]
}

group "cu130" {
  targets = ["minimal-cu130", "standard-cu130", "full-cu130", "dev-cu130"]
}

group "cu126" {
  targets = ["minimal-cu126", "standard-cu126", "full-cu126", "dev-cu126"]
}

group "cpu" {
  targets = ["minimal-cpu", "standard-cpu", "full-cpu", "dev-cpu"]
}

target "image" {
  name = "${variant}-${torch}"
  matrix = {
    variant = ["minimal", "standard", "full", "dev"]
    torch   = ["cu130", "cu126", "cpu"]
  }
  target = variant
  args = {
    RUNTIME_BASE  = BASES[torch]
    TORCH_BACKEND = torch
  }
  tags = ["${IMAGE}:${VERSION}-${variant}-${torch}"]
  labels = {
    "org.opencontainers.image.title"       = "ComfyUI-Docker"
    "org.opencontainers.image.description" = "ComfyUI with one login, one dashboard and durable model downloads"
    "org.opencontainers.image.version"     = VERSION
    "org.opencontainers.image.revision"    = REVISION
  }
}
