# Needs Rust, Go and make; everything else is built from published packages and cached.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help build demo demo-down test generate

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## The operator, release build, in target/release/leasehold
	cargo build --release --bin leasehold

demo: ## The story on a real control plane, left running (CONTEXT=<kubectl context>: on your cluster)
	@cargo build --workspace
	@target/debug/leasehold-demo up target/debug/leasehold config

demo-down: ## End what the demo left running
	@cargo build --quiet -p leasehold-demo
	@target/debug/leasehold-demo down

# What a step is called, and how long it took.
step = @echo "== $(1)"; start=$$SECONDS; $(2); echo "== $(1): $$((SECONDS - start)) s"

test: ## Everything that must hold: format, lints, generated files, all tests on a real control plane
	$(call step,format,cargo fmt --all --check)
	$(call step,lints,cargo clippy --workspace --all-targets -- -D warnings)
	$(call step,generated files,cargo run --quiet --bin crdgen -- crds --check && cargo run --quiet --bin docgen -- docs/reference --check)
	$(call step,control plane,cargo run --quiet -p leasehold-harness --bin controlplane -- build)
	$(call step,tests,cargo test --workspace)

generate: ## Write crds/ and docs/reference from the types
	cargo run --quiet --bin crdgen -- crds
	cargo run --quiet --bin docgen -- docs/reference
