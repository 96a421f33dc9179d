# Everything starts here: `make help`. Needs Rust, Go and make; Go builds the control plane of the tests and the demo.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where rustup and Go's own installer put them, for shells that were not told.
export PATH := $(HOME)/.cargo/bin:/usr/local/go/bin:$(HOME)/go/bin:$(PATH)

# $(call step,what,command): says which step runs, and how long it took.
define step
@printf '\n==> %s\n' '$(1)'; begun=$$SECONDS; \
if $(2); then printf '<== %s: ok, %d s\n' '$(1)' $$((SECONDS - begun)); \
else printf '<== %s: FAILED after %d s\n' '$(1)' $$((SECONDS - begun)); exit 1; fi
endef

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: tools ## the story on a real control plane, in about two minutes; CONTEXT=<kubectl context> for a cluster of yours
	$(call step,build the operator and the plugin and the demo,cargo build --package leasehold --bin leasehold --bin kubectl-lease && cargo build --package leasehold-demo)
	@cargo run --quiet --package leasehold-demo -- up $(if $(CONTEXT),--context '$(CONTEXT)') $(if $(YES),--yes)

.PHONY: demo-down
demo-down: tools ## ends what `make demo` left running
	@cargo run --quiet --package leasehold-demo -- down

.PHONY: build
build: tools ## the operator and the plugin, optimised: target/release/leasehold and target/release/kubectl-lease
	$(call step,build,cargo build --release --bin leasehold --bin kubectl-lease)

# One test at a time: they measure when a holder is refused, and two control planes on two cores would measure each other.
.PHONY: test
test: tools ## everything that must hold: format, lints, generated files, all tests
	$(call step,format,cargo fmt --all --check)
	$(call step,lints,cargo clippy --workspace --all-targets -- -D warnings && cargo clippy --test faults --test node -- -D warnings)
	$(call step,crds/ is what src/api says,cargo run --quiet --bin crdgen -- crds --check)
	$(call step,charts/ is what config/ says,cargo run --quiet --bin chartgen -- charts/leasehold/files --check)
	$(call step,docs/reference is what the code says,cargo run --quiet --bin docgen -- docs/reference --check)
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,tests,RUST_TEST_THREADS=1 cargo test --workspace)

.PHONY: faults
faults: tools ## faults at every call of the operator, a sample in under 12 minutes; FULL=1 for all, SEED=n, PLAN='name'
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,build,cargo test --test faults --no-run)
	@cargo test --quiet --test faults

# The word for where it is skipped; nothing where it runs. A kubelet needs root; containerd and buildah come from Debian's packages.
NO_NODE := $(if $(filter-out 0,$(shell id -u)),it needs root,$(if $(shell command -v apt-get),,it needs apt-get))

.PHONY: test-node
test-node: tools ## the image in pods of a real node, with Helm: installed, used, upgraded, rolled back, taken away. Needs root and Debian
ifneq ($(NO_NODE),)
	@echo 'test-node: skipped: $(NO_NODE)'
else
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,build,cargo test --test node --no-run)
	@cargo test --quiet --test node
endif

.PHONY: image
image: tools ## the image where there is no container engine: target/image/leasehold.tar; NAME=registry/repository:tag
	$(call step,image,LEASEHOLD_COMMIT='$(COMMIT)' cargo run --quiet --package leasehold-harness --bin image -- $(NAME))

.PHONY: generate
generate: tools ## writes crds/ and docs/reference/ from the code, and the chart's files from config/
	$(call step,crds/,cargo run --quiet --bin crdgen -- crds)
	$(call step,charts/leasehold/files/,cargo run --quiet --bin chartgen -- charts/leasehold/files)
	$(call step,charts/leasehold/README.md,cargo run --quiet --package leasehold-harness --bin tool -- helm-docs --log-level warning --chart-search-root charts --sort-values-order file)
	$(call step,docs/reference/,cargo run --quiet --bin docgen -- docs/reference)

.PHONY: tools
tools:
	@for tool in cargo go; do command -v $$tool > /dev/null || { echo "$$tool is not on PATH: install it first (Rust 1.95 or later, Go 1.26 or later)" >&2; exit 1; }; done
