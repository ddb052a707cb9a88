# Two commands matter: `make run` and `make test`. Each installs what it needs first, all of it below .build/ but Debian's
# packages and, as root, the two system users.

# As root the programs run as other users, who cannot enter a private home, where pyenv and the like keep their Python.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11) python3)
# PyTorch may have builds for one version of Python only.
COMFYUI_BASE_PYTHON ?= $(PYTHON)
WORKSPACE ?= $(CURDIR)/workspace
# Of docker-bake.hcl: VARIANT-TORCH.
TARGET ?= standard-cu130
STATE_DIR ?= $(CURDIR)/.run
export COMFYUI_BASE_PYTHON
# Debian keeps nginx where only root's PATH looks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

VENV := .build/venv/bin
PROVISION := @$(PYTHON) -m provision
WITH_COMFYUI := @set -a; . ./.build/comfyui.env; exec

.PHONY: help run test test-faults-downloads conversion-check lint types check presets-check bench bench-downloads image image-test image-run frontend comfyui packages lock audit licences clean
help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 27

# exec, so that make's child is the suite itself: Ctrl-C and SIGTERM reach it, and make ends when it has ended.
run: export WORKSPACE := $(WORKSPACE)
run: export STATE_DIR := $(STATE_DIR)
run:  ## start everything; Ctrl-C stops it
	$(PROVISION) run
	$(WITH_COMFYUI) $(VENV)/python -m bootstrap

test:  ## all tests, or some: make test ARGS='tests/services -x'
	$(PROVISION) test
	$(WITH_COMFYUI) $(VENV)/python -m pytest $(ARGS)

test-faults-downloads:  ## every fault of a download, and a hundred kills: ARGS='--kills 20 --seed 7'
	$(PROVISION) test
	$(WITH_COMFYUI) $(VENV)/python -m pytest tests/faults tests/services/downloads tests/worker/test_surviving.py -m 'long or not long'
	$(WITH_COMFYUI) $(VENV)/python -m tests.faults $(ARGS)

conversion-check:  ## our conversion of workflows beside the editor's own: ARGS='--templates flux_schnell --verbose'
	$(PROVISION) conversion-check
	$(WITH_COMFYUI) $(VENV)/python -m tests.conversion $(ARGS)

lint:  ## ruff: rules and format
	$(PROVISION) lint
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .

types:  ## mypy
	$(PROVISION) lint
	@$(VENV)/mypy

check: lint types test  ## lint, types and test

presets-check:  ## check the catalogue, or files of presets: make presets-check ARGS='--verbose my-presets.yaml'
	$(PROVISION) lint
	@$(VENV)/python -m tools.presets_check $(ARGS)

bench:  ## measure the figures of docs/benchmarks.md
	$(PROVISION) bench
	$(WITH_COMFYUI) $(VENV)/python -m benchmarks $(ARGS)

bench-downloads:  ## measure downloads beside curl, aria2c, huggingface_hub and aiohttp
	$(PROVISION) bench-downloads
	$(WITH_COMFYUI) $(VENV)/python -m benchmarks.downloads $(ARGS)

image:  ## build the image: make image TARGET=standard-cu130; ARGS=--stand-ins where no container registry answers
	$(if $(findstring stand-ins,$(ARGS)),$(PROVISION) test)
	@$(PYTHON) -m image build $(TARGET) $(ARGS)

image-test:  ## build the four variants with stand-ins, run them, print their figures
	$(PROVISION) test
	$(WITH_COMFYUI) $(VENV)/python -m pytest tests/image -m 'engine or not engine' $(ARGS)

image-run:  ## start what make image built, on WORKSPACE: make image-run TARGET=standard-cu130
	@exec $(PYTHON) -m image run $(TARGET) --workspace $(WORKSPACE)

frontend comfyui packages:
	$(PROVISION) $@
frontend:  ## build dashboard/static
comfyui:  ## fetch ComfyUI and its packages
packages:  ## install nginx, Redis and git from Debian (root)

LOCK = $(VENV)/uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 $(ARGS)
# torch and what it brings follow TORCH_BACKEND, not a lock.
OF_TORCH = torch torchvision torchaudio triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas \
	nvidia-cuda-cccl nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile \
	nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
	nvidia-nvshmem-cu13 nvidia-nvtx
LOCK_IMAGE = $(VENV)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
	$(OF_TORCH:%=--no-emit-package %) $(ARGS)
# The node packs come on top of ComfyUI's packages: the same versions, and none of them twice.
ON_TOP_OF = -c image/comfyui.in $(1:%=-c %) $$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' $(1))
LOCK_NODES = $(PYTHON) image/nodes.py requirements --variant $(1) > .build/nodes-$(1).in && $(LOCK_IMAGE) \
	--excludes .build/nodes-excludes.txt $(call ON_TOP_OF,$(2)) .build/nodes-$(1).in -o image/custom-nodes-$(1).lock
lock:  ## pin what pyproject.toml asks for; newer versions too: make lock ARGS=--upgrade
	$(PROVISION) lint
	$(LOCK) -o requirements.lock
	$(LOCK) --extra dev -o requirements-dev.lock
	$(LOCK_IMAGE) image/comfyui.in -o image/comfyui.lock
	$(PYTHON) image/nodes.py excludes > .build/nodes-excludes.txt
	$(call LOCK_NODES,standard,image/comfyui.lock)
	$(call LOCK_NODES,full,image/comfyui.lock image/custom-nodes-standard.lock)
	$(LOCK_IMAGE) image/jupyter.in -o image/jupyter.lock

audit licences:
	$(PROVISION) $@
audit:  ## ask the advisory services about every locked package
licences:  ## write docs/licences.md

clean:  ## remove everything that was built; the workspace stays
	rm -rf .build .run node_modules dashboard/static
