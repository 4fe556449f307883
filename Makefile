PYTHON ?= python3
BIN := .venv/bin

.PHONY: check
check:
	$(BIN)/python tests/tools/xds_stubs.py .venv/stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
