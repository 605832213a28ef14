# Everything a contributor runs. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEER_VENV := .venv-bench
PEER_READY := $(PEER_VENV)/.ready
LOCKS := requirements/run.txt requirements/dev.txt
PROJECTS := pyproject.toml relman_client/pyproject.toml

# pytest arguments of a single run: make test ARGS="-k approvals -x"
ARGS ?=
WORKERS ?= auto
# Of make model, on each database, and of make fuzz: without a seed every run is another one.
EXAMPLES ?= 500
STEPS ?= 60
RACES ?= 1000
SEED ?=
OPERATIONS ?= 100000
ENGINE ?= both
# Of make chaos: which setup (sqlite, postgresql, redis), and in each how many servers are killed.
SETUP ?= all
KILLS ?= 50
# Of make soak: how many streams.
CYCLES ?= 20000
# Of make bench: which benchmarks, all of them without a name; and whether only to show that they work.
NAMES ?=
QUICK ?=
# At most; of make model it bounds only the lives.
MINUTES ?= 20

.PHONY: help
help: ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Create .venv with everything pinned by hash (done again only when a pin changes)
	@echo "$(VENV) is ready"

$(READY): $(LOCKS) $(PROJECTS)
	@python=""; \
	for candidate in python3.11 python3 python; do \
	  if command -v $$candidate >/dev/null && $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "relman needs Python 3.11 or newer: none of python3.11, python3, python is." >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python cannot create virtual environments: on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; fi; \
	if [ -x $(BIN)/python ]; then echo "updating $(VENV)"; \
	else echo "setting up $(VENV) with $$("$$python" -V) (about a minute the first time)"; "$$python" -m venv $(VENV); fi
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e ./relman_client -e .
	@touch $@

.PHONY: run
run: $(READY) ## Start a server that keeps its data in a local file
	@$(BIN)/relman-server serve

.PHONY: demo
demo: $(READY) ## See it work: this repository as a release, from a draft to production
	@$(BIN)/python -m scripts.demo

.PHONY: test
test: $(READY) ## Run the tests (ARGS="-k approvals -x", WORKERS=0 to stay in one process)
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Call every RPC with corrupt and random messages (SEED=1, OPERATIONS=, ENGINE=sqlite, MINUTES=)
	@$(BIN)/python -m tests.fuzz --operations $(OPERATIONS) --engine $(ENGINE) --minutes $(MINUTES) \
	  $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: model
model: $(READY) ## Random lives of deployments against a model, on both databases (EXAMPLES=, STEPS=, MINUTES= at most, RACES=)
	@RELMAN_MODEL_EXAMPLES=$(EXAMPLES) RELMAN_MODEL_STEPS=$(STEPS) RELMAN_MODEL_MINUTES=$(MINUTES) RELMAN_RACES=$(RACES) \
	  $(BIN)/python -m pytest -n 2 -rP tests/lifecycle/test_lifecycle.py tests/approvals/test_races.py $(ARGS)

.PHONY: chaos
chaos: $(READY) ## Kill servers and break what they need while everyone works (KILLS=, SETUP=redis, SEED=1, MINUTES= each)
	@$(BIN)/python -m tests.chaos --kills $(KILLS) --setup $(SETUP) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: soak
soak: $(READY) ## Open streams and leave them, and see what is left of them (CYCLES=, ENGINE=sqlite, SEED=1, MINUTES= each)
	@$(BIN)/python -m tests.soak --cycles $(CYCLES) --engine $(ENGINE) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: bench
bench: $(READY) $(PEER_READY) ## Measure relman beside its peer and its ceiling (NAMES="read create", QUICK=1 for a smoke)
	@QUICK=$(QUICK) $(BIN)/python -m bench $(NAMES) $(ARGS)

$(PEER_READY): requirements/bench.txt | $(READY)
	@echo "setting up $(PEER_VENV), for the peer of the benchmarks"
	@$(BIN)/python -m venv $(PEER_VENV)
	@$(PEER_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

.PHONY: check
check: $(READY) ## Lint, types, import contracts, the proto contract, drift of what is generated
	@$(BIN)/python scripts/check.py

.PHONY: format
format: $(READY) ## Format Python and proto files, and fix what can be fixed
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format
	@$(BIN)/python scripts/check_proto.py --format

.PHONY: proto
proto: $(READY) ## Generate relman_client/v1 from proto/
	@$(BIN)/python scripts/generate.py

.PHONY: release-contract
release-contract: $(READY) ## Record proto/ as the contract that later changes must not break (when releasing)
	@$(BIN)/python scripts/check_proto.py --release

.PHONY: lock
lock: $(READY) ## Pin requirements/*.txt anew, each file by hash, without naming any index
	@$(BIN)/python scripts/lock.py $(ARGS)
