# The two commands: `make demo` and `make test`. Both need Rust and a C compiler,
# and no GPU: without one everything renders on the processor.

CARGO ?= cargo
DEMO_OUT ?= target/demo

.PHONY: help demo test bench arm fuzz chaos simulate lint deny

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## A master and two nodes on loopback render a scene to EXR and PNG
	$(CARGO) build --release --locked --bin farm --bin farm-master --bin farm-node
	@sh scripts/demo.sh target/release $(DEMO_OUT)

test: ## All tests
	$(CARGO) build --workspace --bins --tests --locked
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo '$(CARGO) nextest run --workspace --locked'; \
		$(CARGO) nextest run --workspace --locked; \
	else \
		echo '$(CARGO) test --workspace --locked'; \
		$(CARGO) test --workspace --locked; \
	fi

bench: ## Criterion benchmarks: kernel, scheduler, farm against bare kernel
	$(CARGO) bench --workspace --locked --benches

arm: ## Every scene on aarch64 under qemu: the same bits as here
	@CARGO='$(CARGO)' sh scripts/arm.sh

FUZZ_SECONDS ?= 60

fuzz: ## Bytes from strangers for every decoder, FUZZ_SECONDS each (needs cargo-fuzz and a nightly compiler)
	@CARGO='$(CARGO)' sh scripts/fuzz.sh $(FUZZ_SECONDS)

CHAOS ?=

chaos: ## Render a job 50 times while programs are killed; CHAOS='--weather storm --namespaces' for more
	$(CARGO) build --release --locked --bin farm-master --bin farm-node --bin chaos
	target/release/chaos $(CHAOS)

simulate: ## 10,000 seeds of the whole farm on a virtual clock, with every fault
	$(CARGO) run --release --locked -p farm-tests --bin simulate -- --seeds 10000

lint: ## Format and clippy, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny: ## Advisories, licences, bans and sources (needs cargo-deny and its database)
	$(CARGO) deny --locked check
