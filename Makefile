# Every target installs what it needs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
KIZU := .venv/bin/kizu
export KIZU_HOME ?= $(CURDIR)/.kizu

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install the environments from lock files with hashes (every target that needs them does this itself)
	@tools/setup dev edge labelstudio

.PHONY: demo
demo: setup ## Run the whole loop twice; ROUNDS=3: three times, turned by the reconciler; START=good: once, from good parts alone. DATA=<folder>: real images, USE_CASE=<name>: of this product; PEOPLE=real: you label and approve; FRESH=1: start from the beginning
	@$(KIZU) demo $(if $(DATA),--data "$(DATA)") $(if $(USE_CASE),--use-case "$(USE_CASE)") $(if $(START),--start "$(START)") $(if $(filter real,$(PEOPLE)),--people real) $(if $(FRESH),--fresh) $(if $(STOP),--stop) $(if $(ROUNDS),--rounds "$(ROUNDS)")

.PHONY: up down status logs
up: setup ## Start S3, MLflow, Label Studio, the signer, an MQTT broker and the reconciler on this machine
	@$(KIZU) up
down: setup ## Stop the servers; their data stays
	@$(KIZU) down
status: setup ## Show which servers run, and where
	@$(KIZU) status
logs: setup ## Show the last lines of the servers' logs
	@$(KIZU) logs

.PHONY: clean
clean: ## Stop the servers and delete the state of this machine (.kizu); the environments stay
	@if [ -x $(KIZU) ]; then $(KIZU) down; fi
	rm -rf "$(KIZU_HOME)"

.PHONY: lint
lint: setup ## Check format, lint, types, imports between the folders, and links in the documents
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m tools.docs.links

.PHONY: test
test: setup ## Run unit and integration tests against real servers, and the loop once; needs no Docker
	.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not containers and not manifests and not soak and not arm and not cluster and not bundle and not training_image"

.PHONY: test-manifests
test-manifests: setup ## Render every overlay and check it against the schemas
	.venv/bin/python -m pytest -m manifests

.PHONY: test-containers
test-containers: setup ## Build all images except training, run each as its manifest says, and run a pipeline in them
	.venv/bin/python -m pytest -m containers

.PHONY: test-training-image
test-training-image: setup ## Train in the image `training`, as a pipeline's step, by Docker. Needs the image (tools/images training); once a day or when you ask
	KIZU_REQUIRE_ALL=1 .venv/bin/python -m pytest -s -m training_image tests/containers

.PHONY: test-arm
test-arm: setup ## Build the device's image for ARM, run it emulated, and compare it with this machine. Needs tools/arm-emulation; not in CI
	KIZU_REQUIRE_ALL=1 .venv/bin/python -m pytest -s -m arm tests/containers

.PHONY: test-cluster
test-cluster: setup ## Install the product on the cluster of KUBECONFIG, turn the loop once, check what is refused, remove all. Not in CI
	.venv/bin/python -m pytest -m cluster -p no:xdist tests/cluster

.PHONY: bench bench-edge bench-labels bench-training bench-accuracy bench-anomaly bench-fleet
bench: bench-edge bench-labels bench-training ## Run all benchmarks and write docs/benchmarks.md; nothing else should run on the machine
bench-edge: setup ## Compare the device's inference with Ultralytics'. KIZU_PUBLIC_TAGS=<folder>: real images; WEIGHTS=<file.pt>: no training
	.venv/bin/python -m benchmarks.edge $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(OPTIONS)

bench-labels: setup ## Time a scan for images without an approved label, of a million. OPTIONS='--images 100000': fewer
	.venv/bin/python -m benchmarks.labels $(OPTIONS)

bench-fleet: setup ## Roll good and bad releases out to simulated fleets: how far they come, how soon they are stopped. OPTIONS='--campaigns 70': fewer
	.venv/bin/python -m benchmarks.fleet $(OPTIONS)

bench-reconcile: setup ## Time a pass of the reconciler over 10 use cases, 10,000 versions and 10,000 devices
	.venv/bin/python -m benchmarks.reconcile $(OPTIONS)

bench-accuracy: setup ## Compare scores on parts never seen with plain training. Needs KIZU_PUBLIC_TAGS=<folder>, or with OPTIONS=--pcb KIZU_PUBLIC_PCB=<folder>; one or two hours, continues where it stopped
	.venv/bin/python -m benchmarks.accuracy $(OPTIONS)

bench-anomaly: setup ## Learn from good parts alone and tell other good parts from defective ones; some minutes. KIZU_PUBLIC_PCB=<folder>: circuit boards too
	.venv/bin/python -m benchmarks.anomaly $(OPTIONS)

bench-training: setup ## Compare fetching a dataset with the published sample, and training with plain yolo. KIZU_PUBLIC_TAGS=<folder>: real images
	.venv/bin/python -m benchmarks.training $(OPTIONS)

.PHONY: bench-soak
bench-soak: setup ## Run ten thousand frames on one agent and check memory and descriptors (some minutes)
	.venv/bin/python -m pytest -m soak

.PHONY: mutation
mutation: setup ## Change inspection/ and edge_agent/ota/ one thing at a time, and list the changes that no test notices
	@tools/mutation

.PHONY: images
images: ## Build every container image, including training; needs a Docker engine. PLATFORM=linux/arm64: for another processor
	@tools/images $(if $(PLATFORM),--platform "$(PLATFORM)")

.PHONY: agent-wheels
agent-wheels: setup ## Fetch and make the wheels of the agent into TO=<folder>, for `kizu agent publish`. KINDS='3.11-aarch64': for other devices
	@tools/agent-wheels "$(or $(TO),.kizu/agent-wheels)" $(KINDS)

.PHONY: bundle unbundle test-bundle
bundle: setup ## Write one folder to carry into a site without internet: TO=<folder>. PARTS='wheels manifests'; PLAN=1: say sizes only; KFP_MANIFESTS=<folder>; LOCKS=, IMAGES=, WEIGHTS=<file>; KEY=<private key> signs
	@.venv/bin/python -m tools.site_bundle "$(or $(TO),build/site-bundle)" --parts "$(PARTS)" $(if $(LOCKS),--locks "$(LOCKS)") \
		$(if $(DEVICE_KINDS),--device-kinds "$(DEVICE_KINDS)") $(if $(SERVER_KINDS),--server-kinds "$(SERVER_KINDS)") \
		$(if $(IMAGES),--images "$(IMAGES)") $(if $(KFP_MANIFESTS),--kfp-manifests "$(KFP_MANIFESTS)") \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(KEY),--key "$(KEY)") $(if $(PLAN),--plan)

# It installs nothing: a closed site has only Python. A signature is checked where the environment is there.
unbundle: ## Compare a bundle and take it in: FROM=<bundle> INTO=<folder> REGISTRY=registry.example.com/kizu. KEY=<public key>; REGISTRY_USER=, PASSWORD_FILE=
	@$$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3) -m tools.site_bundle.unbundle "$(FROM)" $(if $(INTO),"$(INTO)") \
		$(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(KEY),--key "$(KEY)") \
		$(if $(REGISTRY_USER),--user "$(REGISTRY_USER)") $(if $(PASSWORD_FILE),--password-file "$(PASSWORD_FILE)")

test-bundle: setup ## Make a whole bundle from the network, take it in, and install from it without one. Some GB; not in CI
	.venv/bin/python -m pytest -s -m bundle tests/site_bundle

.PHONY: changed-teams assets verify-assets workflow
changed-teams: ## Print the teams whose stages a change since BASE=<commit> runs
	@python3 -m tools.teams changed --base "$(BASE)"

assets: setup ## The first stage of TEAM=labeling|training|edge: test, images, compile, render, sbom. REGISTRY= pushes, KEY=<private key> signs; STEPS='compile render'
	@.venv/bin/python -m tools.assets assets "$(TEAM)" --steps "$(STEPS)" $(if $(REGISTRY),--registry "$(REGISTRY)") \
		$(if $(KEY),--key "$(KEY)") $(if $(REGISTRY_USER),--user "$(REGISTRY_USER)") $(if $(PASSWORD_FILE),--password-file "$(PASSWORD_FILE)")

verify-assets: setup ## Compare the assets of TEAM with their signed provenance: KEY=<public key>
	@.venv/bin/python -m tools.assets.provenance verify "build/assets/$(TEAM)" --key "$(KEY)"

workflow: setup ## The second stage of TEAM: submit its pipeline. ENDPOINT=<Kubeflow Pipelines>, USE_CASE=<file>, REGISTRY=; KEY=<public key> verifies the assets first
	@.venv/bin/python -m tools.assets workflow "$(TEAM)" $(if $(ENDPOINT),--endpoint "$(ENDPOINT)") $(if $(USE_CASE),--use-case "$(USE_CASE)") \
		$(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(KEY),--key "$(KEY)")

.PHONY: compile
compile: setup ## Compile the pipelines to pipelines/compiled/
	@$(KIZU) compile

.PHONY: docs reference
docs: ## Build the documentation site into docs/_build/html, offline and searchable
	@tools/setup docs
	.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -b html -c docs . docs/_build/html
	@.venv-docs/bin/python tools/docs/offline.py docs/_build/html

reference: setup ## Generate the reference pages from the code
	.venv/bin/python -m tools.docs.reference

.PHONY: lock check-locks
lock: ## Resolve the dependencies and write the lock files
	@tools/lock
check-locks: ## Ask the package index whether the lock files hold for Python 3.11 to 3.13, on x86_64 and aarch64
	@tools/check-locks
