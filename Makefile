# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
KIZU := .venv/bin/kizu
export KIZU_HOME ?= $(CURDIR)/.kizu

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## The environments, from lock files with hashes (every target below calls it)
	@tools/setup dev edge labelstudio

.PHONY: demo
demo: setup ## The whole loop, twice. DATA=<folder> for real images, PEOPLE=real to be the people, FRESH=1 to begin again
	@$(KIZU) demo $(if $(DATA),--data "$(DATA)") $(if $(filter real,$(PEOPLE)),--people real) $(if $(FRESH),--fresh) $(if $(STOP),--stop)

.PHONY: up down status logs
up: setup ## Start S3, MLflow, Label Studio, the signer and an MQTT broker on this machine
	@$(KIZU) up
down: setup ## Stop them; their data stays
	@$(KIZU) down
status: setup ## Which of them run, and where
	@$(KIZU) status
logs: setup ## The last lines of their logs
	@$(KIZU) logs

.PHONY: clean
clean: ## Stop all and remove the state of this machine (.kizu); the environments stay
	@if [ -x $(KIZU) ]; then $(KIZU) down; fi
	rm -rf "$(KIZU_HOME)"

.PHONY: lint
lint: setup ## Format, lint, types, the walls between the rooms, and dead links in the documents
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m tools.docs.links

.PHONY: test
test: setup ## Unit and integration tests against real servers, and the loop once; no Docker
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not containers and not manifests and not soak"

.PHONY: test-manifests
test-manifests: setup ## Render every overlay and check it strictly
	.venv/bin/python -m pytest -m manifests

.PHONY: test-containers
test-containers: setup ## Build the images but training, run each as its manifest says, and a pipeline in them
	.venv/bin/python -m pytest -m containers

.PHONY: bench bench-edge bench-labels bench-training bench-accuracy
bench: bench-edge bench-labels bench-training ## All benchmarks, written to docs/benchmarks.md; nothing else should run meanwhile
bench-edge: setup ## The device's inference beside Ultralytics'. KIZU_PUBLIC_TAGS=<folder> for real images, WEIGHTS=<file.pt> to train none
	.venv/bin/python -m benchmarks.edge $(if $(WEIGHTS),--weights "$(WEIGHTS)")

bench-labels: setup ## A million images and label events: what has no approved label. OPTIONS='--images 100000' for less
	.venv/bin/python -m benchmarks.labels $(OPTIONS)

bench-accuracy: setup ## Scores on parts never seen, beside plain training, with KIZU_PUBLIC_TAGS=<folder>; an hour or two, goes on where it was
	.venv/bin/python -m benchmarks.accuracy $(OPTIONS)

bench-training: setup ## Fetching a dataset beside the sample's way, training beside plain yolo. KIZU_PUBLIC_TAGS=<folder> for real images
	.venv/bin/python -m benchmarks.training $(OPTIONS)

.PHONY: bench-soak
bench-soak: setup ## Ten thousand frames on one agent: memory and descriptors (some minutes)
	.venv/bin/python -m pytest -m soak

.PHONY: images
images: ## Build every container image, training included; needs a Docker engine
	@tools/images

.PHONY: compile
compile: setup ## Compile the pipelines to pipelines/compiled/
	@$(KIZU) compile

.PHONY: docs reference
docs: ## Build the documentation site into docs/_build/html, offline and searchable
	@tools/setup docs
	.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -b html -c docs . docs/_build/html
	@.venv-docs/bin/python tools/docs/offline.py docs/_build/html

reference: setup ## Write the pages of docs/reference/ that are generated from code again
	.venv/bin/python -m tools.docs.reference

.PHONY: lock
lock: ## Write the lock files again
	@tools/lock
