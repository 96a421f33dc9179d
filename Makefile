# Everything starts here: `make help`. Needs Rust, Go and make; Go builds the control plane of the tests and the demo.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where rustup and Go's own installer put them, for shells that were not told.
export PATH := $(HOME)/.cargo/bin:/usr/local/go/bin:$(HOME)/go/bin:$(PATH)

# What the executables say they were built from.
COMMIT = $(shell git rev-parse --short=12 HEAD 2>/dev/null)$(shell test -z "$$(git status --porcelain 2>/dev/null)" || echo -dirty)

# Tools that crates.io has, each built once for all checkouts. Unoptimised: they run for seconds and would be built for minutes.
CARGO_TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/leasehold/cargo-tools
# $(call cargo_tool,name,version,features)
define cargo_tool
$(CARGO_TOOLS)/$(1)-$(2)/bin/$(1):
	@echo 'building $(1) $(2), once'
	@cargo install --quiet --debug --locked --no-default-features $(3) --root $(CARGO_TOOLS)/$(1)-$(2) $(1)@$(2)
$(1) := $(CARGO_TOOLS)/$(1)-$(2)/bin/$(1)
endef
$(eval $(call cargo_tool,mdbook,0.5.4,--features search))
$(eval $(call cargo_tool,cargo-deny,0.20.2,))
$(eval $(call cargo_tool,cargo-cyclonedx,0.5.9,))
$(eval $(call cargo_tool,cargo-mutants,27.1.0,))

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
	$(call step,build,LEASEHOLD_COMMIT=$(COMMIT) cargo build --release --locked --bin leasehold --bin kubectl-lease)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PLATFORM := linux-$(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
FROM := target/release
INTO := target/dist

# The same executable of the same commit makes the same archive, byte for byte: no owners, no clock.
.PHONY: package
package: ## the plugin as an archive, with checksums: target/dist/; FROM=<directory of the executable> PLATFORM=linux-arm64
	@mkdir -p $(INTO)
	@tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=a+rX,u+w,go-w --mtime=@$$(git log -1 --format=%ct) \
		-c -C $(abspath $(FROM)) kubectl-lease -C $(CURDIR) LICENSE | gzip -n > $(INTO)/kubectl-lease-$(VERSION)-$(PLATFORM).tar.gz
	@cd $(INTO) && sha256sum kubectl-lease-$(VERSION)-*.tar.gz | tee SHA256SUMS

# In the gate: what begins within so many seconds of one sample, always the same. `make faults` runs more of it, and other samples.
FAULTS_FOR := 200
FAULTS_SEED := 8

# Two tests at a time: most of them wait for a time to pass. Those that measure to the millisecond hold tests/e2e/support's QUIET.
.PHONY: test
test: tools ## everything that must hold: format, lints, generated files, all tests
	$(call step,format,cargo fmt --all --check)
	$(call step,lints,cargo clippy --workspace --all-targets -- -D warnings && cargo clippy --test faults --test outages --test node -- -D warnings)
	$(call step,crds/ is what src/api says,cargo run --quiet --bin crdgen -- crds --check)
	$(call step,charts/ is what config/ says,cargo run --quiet --bin chartgen -- charts/leasehold/files --check)
	$(call step,docs/reference is what the code says,cargo run --quiet --bin docgen -- docs/reference --check)
	$(call step,licences and sources of what others wrote,$(MAKE) --no-print-directory deny)
	$(call step,the book,$(MAKE) --no-print-directory book)
	$(call step,bill of materials,$(MAKE) --no-print-directory sbom)
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,tests,RUST_TEST_THREADS=2 cargo test --workspace)
	$(call step,faults at every call (a small sample),FOR=$(FAULTS_FOR) SEED=$(FAULTS_SEED) cargo test --quiet --test faults)

.PHONY: faults
faults: tools ## faults at every call of the operator, a sample in under 12 minutes; FOR=<seconds>, FULL=1 for all, PART=2/5 of that, PLANS=n, SEED=n, PLAN='name'
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,build,cargo test --test faults --no-run)
	@cargo test --quiet --test faults
	$(if $(FULL),$(if $(PART),,@$(MAKE) --no-print-directory outages))

.PHONY: outages
outages: tools ## API servers, etcd and clocks that fail, and what the operator stands on taken away; SCENE=name for one, QUICK=1
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,build,cargo test --test outages --no-run)
	@cargo test --quiet --test outages

# What is measured is the release executable, kept apart: cargo builds its own beside the bench, with the features of tests.
BENCH := $(CURDIR)/target/bench
.PHONY: bench
bench: tools ## speed beside what is possible, most of an hour, into docs/benchmarks.md; QUICK=1 for minutes, ONLY=B-3, FULL=1, LEASES=n
	$(call step,control plane for the tests (built once),cargo run --quiet --package leasehold-harness --bin controlplane -- build)
	$(call step,build the operator,LEASEHOLD_COMMIT=$(COMMIT) cargo build --release --locked --bin leasehold && mkdir -p $(BENCH) && cp target/release/leasehold $(BENCH)/)
	$(call step,build the bench,cargo bench --bench bench --no-run)
	@LEASEHOLD_EXECUTABLE=$(BENCH)/leasehold LEASEHOLD_COMMIT=$(COMMIT) cargo bench --quiet --bench bench

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

# In a copy of the pure part (tests/pure/tree.sh): the checkout is not touched. FILE is a file or a glob.
IN_TREE = PATH="$(dir $(cargo-mutants)):$$PATH" CARGO_TARGET_DIR='$(CURDIR)/target'
.PHONY: mutants
mutants: tools $(cargo-mutants) ## each guard and each part of a condition taken away, all in one build: does a test miss it? FILE=<file> for a part; EACH=1: one build each, in hours
	@tests/pure/tree.sh target/mutants.tree
# cargo-mutants takes a --file beside the files that its configuration names, not in their place.
ifdef FILE
	@sed -i '/^examine_globs = \[/,/^\]/c examine_globs = ["$(FILE)"]' target/mutants.tree/.cargo/mutants.toml
endif
ifdef EACH
	@cd target/mutants.tree && $(IN_TREE) cargo mutants --in-place --output '$(CURDIR)/target'
else
	@$(IN_TREE) tests/pure/at_once.py target/mutants.tree
endif

FUZZ := $(CURDIR)/target/fuzz.tree
FUZZ_TARGETS := words expression lease lifecycle policy system decision status answer login operation
# What libFuzzer needs to see which way was taken: stable flags, and only for the code that is looked at.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table trace-compares)

# libFuzzer is built from C++: needs c++. What it finds is in target/fuzz.tree/found; what led further, in target/fuzz.tree/corpus.
.PHONY: fuzz
fuzz: tools ## coverage leads through whatever reads strangers' documents, a minute for each kind; FOR=<seconds>, TARGET=status for one
	@tests/pure/tree.sh $(FUZZ) fuzz
	$(call step,seeds,FUZZ_SEEDS=$(FUZZ)/seeds cargo test --quiet --lib seeds_are_written_where_they_are_asked_for > /dev/null)
	$(call step,build,cd $(FUZZ) && CARGO_TARGET_DIR=$(FUZZ)/target cargo rustc --quiet --bin fuzz -- $(FUZZ_FLAGS))
	@for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
		mkdir -p $(FUZZ)/corpus/$$target $(FUZZ)/found $(FUZZ)/seeds/$$target; \
		printf '\n==> %s\n' "$$target"; \
		FUZZ_TARGET=$$target $(FUZZ)/target/debug/fuzz -max_total_time=$(or $(FOR),60) -timeout=20 -rss_limit_mb=1024 -max_len=16384 \
			-verbosity=0 -print_funcs=0 -print_final_stats=1 -artifact_prefix=$(FUZZ)/found/$$target- \
			$(FUZZ)/corpus/$$target $(FUZZ)/seeds/$$target; done

.PHONY: image
image: tools ## the image where there is no container engine: target/image/leasehold.tar; NAME=registry/repository:tag
	$(call step,image,LEASEHOLD_COMMIT='$(COMMIT)' cargo run --quiet --package leasehold-harness --bin image -- $(NAME))

.PHONY: generate
generate: tools ## writes crds/ and docs/reference/ from the code, and the chart's files and README from config/ and its values
	$(call step,crds/,cargo run --quiet --bin crdgen -- crds)
	$(call step,charts/leasehold/files/,cargo run --quiet --bin chartgen -- charts/leasehold/files)
	$(call step,charts/leasehold/README.md,cargo run --quiet --package leasehold-harness --bin tool -- helm-docs --log-level warning --chart-search-root charts --sort-values-order file)
	$(call step,docs/reference/,cargo run --quiet --bin docgen -- docs/reference)

.PHONY: deny
deny: $(cargo-deny) ## licences, bans and sources of dependencies, as deny.toml allows them
	@PATH="$(dir $(cargo-deny)):$$PATH" cargo deny --locked check --hide-inclusion-graph bans licenses sources

# What pages link to beside docs/ lies beside the book: files as they are, directories with an index, Markdown as text.
.PHONY: book
book: $(mdbook) ## docs/ as a book: target/book/docs/index.html
	@rm -rf target/book
	@$(mdbook) build
	@cp -r $(wildcard *.md Dockerfile LICENSE config crds charts) target/book/
	@cd target/book && find . -path ./docs -prune -o -name '*.md' -print | while read -r page; do \
		{ printf '<!doctype html><meta charset="utf-8"><title>%s</title><pre style="white-space: pre-wrap">' "$$page"; \
		sed 's/&/\&amp;/g; s/</\&lt;/g' "$$page"; } > "$${page%.md}.html"; done
	@cd target/book && find $(wildcard config crds charts) -type d | while read -r directory; do \
		{ printf '<!doctype html><meta charset="utf-8"><title>%s</title><ul>' "$$directory"; \
		ls "$$directory" | sed 's/.*/<li><a href="&">&<\/a>/'; } > "$$directory/index.html"; done

# Made in a copy: the tool writes beside every Cargo.toml. No clock, no random serial number and no path: made again, it is the same.
SBOM := target/sbom
.PHONY: sbom
sbom: $(cargo-cyclonedx) ## what is in the executables of the image, as CycloneDX: target/sbom/; TARGET=aarch64-unknown-linux-musl
	@rm -rf target/sbom.tree && mkdir -p target/sbom.tree $(SBOM)
	@tar -c Cargo.toml Cargo.lock src tests | tar -x -C target/sbom.tree
	@cd target/sbom.tree && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) PATH="$(dir $(cargo-cyclonedx)):$$PATH" cargo cyclonedx --quiet \
		--format json --spec-version 1.5 --describe binaries --target $(or $(TARGET),x86_64-unknown-linux-musl)
	@for name in leasehold kubectl-lease; do \
		sed -e 's|path+file://$(CURDIR)/target/sbom.tree#|path+file:///#|g' -e '/"serialNumber":/d' \
		target/sbom.tree/$${name}_bin.cdx.json > $(SBOM)/$$name.cdx.json; done
	@rm -rf target/sbom.tree

.PHONY: release-notes
release-notes: ## the notes of one version out of CHANGELOG.md; VERSION=0.1.0, or Unreleased
	@awk -v version='$(VERSION)' 'index($$0, "## [" version "]") == 1 {inside = 1; next} /^## \[/ {inside = 0} inside && (NF || seen) {seen = 1; print} END {if (!seen) {print "no section [" version "] in CHANGELOG.md" > "/dev/stderr"; exit 1}}' CHANGELOG.md

.PHONY: tools
tools:
	@for tool in cargo go; do command -v $$tool > /dev/null || { echo "$$tool is not on PATH: install it first (Rust 1.95 or later, Go 1.26 or later)" >&2; exit 1; }; done
