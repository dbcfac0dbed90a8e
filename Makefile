# Everything that people and CI do with this project. `make` alone lists it.
#
# Nothing needs to be installed by hand besides Rust (rustup), Go, Python 3.11 and a C compiler: each target installs
# or builds what it needs. Builds that clones share go to $DRCTL_CACHE (default: ~/.cache/drctl).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BED := testbed/bed
TEST_LOG := $(CURDIR)/target/tests-that-ran.tsv
SAY = @printf '\n==> %s\n' $(1)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: toolchain ## the whole story on a real cluster: back up, destroy, restore, compare
	$(call SAY,"The demo. The first time builds a Kubernetes control plane: about 15 minutes on two cores; later 1 minute")
	@$(BED) build source s3 tools $(if $(filter azure,$(REPO)),azurite)
	testbed/demo

.PHONY: build
build: toolchain ## the optimised binary: target/release/drctl
	$(call SAY,"Compiling the release. The first time takes about 8 minutes on two cores")
	cargo build --release

.PHONY: test
test: toolchain ## all tests; those with servers on a fresh test bed of their own
	$(call SAY,"Compiling the tests. The first time takes about 4 minutes on two cores")
	cargo test --no-run
	$(call SAY,"Quick tests")
	cargo test --lib --bins
	cargo test --doc
	cargo test --test architecture
	$(call SAY,"Building the test bed. The first time takes about 20 minutes on two cores; later nothing")
	$(BED) build source target s3 azurite postgres postgres18 mongodb helm node tools
	$(call SAY,"Tests with servers")
	@rm -f $(TEST_LOG)
	DRCTL_TEST_LOG=$(TEST_LOG) $(BED) run --fresh -- cargo test --test integration
	testbed/check-not-run $(TEST_LOG)

.PHONY: model
model: toolchain ## prune and backup in more orders than the tests have: hours
	DRCTL_MODEL_WHOLE=1 cargo test --lib -- repository::tests::model:: --nocapture

.PHONY: bench
bench: toolchain ## the numbers, side by side, measured on this machine
	$(call SAY,"The benchmarks. They take some minutes and are honest only on an idle machine")
	benches/run
	benches/postgres
	benches/mongodb
	$(if $(SCALE),benches/scale,@echo 'benches/scale (50,000 objects, 20 minutes more) was left out: make bench SCALE=1')

.PHONY: lint
lint: toolchain ## format and clippy; nothing is changed
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

.PHONY: fmt
fmt: toolchain ## format the code
	cargo fmt

.PHONY: doc
doc: toolchain ## the API documentation; a broken link is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

.PHONY: deny
deny: toolchain ## licences, sources and unwanted crates in the dependency tree
	@$(BED) build cargo-deny
	"$$($(BED) path cargo-deny)/bin/cargo-deny" check bans licenses sources

.PHONY: advisories
advisories: toolchain ## known vulnerabilities in the dependency tree (needs the advisory database)
	@$(BED) build cargo-deny
	"$$($(BED) path cargo-deny)/bin/cargo-deny" check advisories

.PHONY: bed-up
bed-up: ## start the test bed in .bed/ and say how to use it
	$(BED) up
	@echo 'Use it with:  eval "$$($(BED) env)"'

.PHONY: bed-down
bed-down: ## stop the test bed of .bed/ and remove it
	$(BED) down

.PHONY: ci
ci: ## what CI runs, from format to tests
	bash .ci/run

# The toolchain that rust-toolchain.toml names, where rustup does not fetch it by itself.
.PHONY: toolchain
toolchain:
	@cargo --version >/dev/null 2>&1 || rustup toolchain install
