.PHONY: test generate
test:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo run --quiet --bin crdgen -- crds --check
	cargo test --workspace
generate:
	cargo run --quiet --bin crdgen -- crds
