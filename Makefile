# Everything a developer or CI does. `make` alone lists it. Targets set up what they need themselves.
.DEFAULT_GOAL := help
.PHONY: help setup build generate demo test lint format verify bench soak guest clean
MAKEFLAGS += --no-print-directory
node = $(shell scripts/node-path.sh)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and running needs (Debian packages as root, npm packages, Node 24)
	@scripts/setup.sh base

build: setup ## build native programs and the bundle; bin/muster runs then
	@scripts/build.sh

generate: setup ## write the generated files (types, reference, ...) anew
	@scripts/generate.sh

demo: build ## a control plane, two agents and a real MPI job, from nothing to cleaned up
	@scripts/demo.sh

test: build ## run all tests; T=PART runs the files whose path has PART in it
	@scripts/setup.sh test
	@scripts/test.sh $(T)

lint: setup ## types, typed ESLint with import direction, formatting
	@scripts/setup.sh lint
	@scripts/lint.sh

format: setup ## format everything in place
	@scripts/setup.sh lint
	@scripts/lint.sh --fix

verify: setup ## regenerate the generated files; fails when they differ from what is committed
	@scripts/generate.sh
	@git diff --exit-code -- '*.gen.*' docs/reference docs/runbook.md docs/fencing.md && \
	  [ -z "$$(git ls-files --others --exclude-standard -- '*.gen.*' docs/reference docs/runbook.md docs/fencing.md)" ] || \
	  { echo 'verify: generated files differ; commit what "make generate" wrote'; exit 1; }

bench: build ## measure, as JSON lines on standard output; T=NAME runs one, GRID=full all sizes
	@scripts/setup.sh test
	@MUSTER_BENCH_GRID=$(GRID) scripts/bench.sh $(T)

soak: build ## run the long tests for MINUTES (default 30)
	@scripts/setup.sh test
	@MUSTER_SOAK_MINUTES=$(or $(MINUTES),30) scripts/test.sh test/soak

guest: build ## run the tests of nodes with control groups of version 2 or 1 alone, in emulated machines (minutes)
	@scripts/setup.sh test
	@scripts/test.sh test/guest

clean: ## remove what was built in the checkout (the cache of MPICH and CRIU stays)
	rm -rf build bin
