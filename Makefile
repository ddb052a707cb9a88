# Two commands matter: `make run` and `make test`. Each installs what it needs first, all of it below .build/ but Debian's
# packages and, as root, the two system users.

# As root the programs run as other users, who cannot enter a private home, where pyenv and the like keep their Python.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11) python3)
# PyTorch may have builds for one version of Python only.
COMFYUI_BASE_PYTHON ?= $(PYTHON)
WORKSPACE ?= $(CURDIR)/workspace
STATE_DIR ?= $(CURDIR)/.run
export COMFYUI_BASE_PYTHON
# Debian keeps nginx where only root's PATH looks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

VENV := .build/venv/bin
PROVISION := @$(PYTHON) -m provision
WITH_COMFYUI := @set -a; . ./.build/comfyui.env; exec

.PHONY: help run test lint types check bench frontend comfyui packages lock clean
help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# exec, so that make's child is the suite itself: Ctrl-C and SIGTERM reach it, and make ends when it has ended.
run: export WORKSPACE := $(WORKSPACE)
run: export STATE_DIR := $(STATE_DIR)
run:  ## start everything; Ctrl-C stops it
	$(PROVISION) run
	$(WITH_COMFYUI) $(VENV)/python -m bootstrap

test:  ## all tests, or some: make test ARGS='tests/services -x'
	$(PROVISION) test
	$(WITH_COMFYUI) $(VENV)/python -m pytest $(ARGS)

lint:  ## ruff: rules and format
	$(PROVISION) lint
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .

types:  ## mypy
	$(PROVISION) lint
	@$(VENV)/mypy

check: lint types test  ## lint, types and test

bench:  ## measure the figures of docs/benchmarks.md
	$(PROVISION) bench
	$(WITH_COMFYUI) $(VENV)/python -m benchmarks $(ARGS)

frontend comfyui packages:
	$(PROVISION) $@
frontend:  ## build dashboard/static
comfyui:  ## fetch ComfyUI and its packages
packages:  ## install nginx, Redis and git from Debian (root)

LOCK = $(VENV)/uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 $(ARGS)
lock:  ## pin what pyproject.toml asks for; newer versions too: make lock ARGS=--upgrade
	$(PROVISION) lint
	$(LOCK) -o requirements.lock
	$(LOCK) --extra dev -o requirements-dev.lock

clean:  ## remove everything that was built; the workspace stays
	rm -rf .build .run node_modules dashboard/static
