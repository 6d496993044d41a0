# `make repro` and `make test` do everything on a fresh machine; both make .venv if need be.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: repro test lint clean
repro: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ..."; exit 1; }
	@if command -v uv >/dev/null; then \
	  uv venv --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --python $(BIN)/python -r requirements.txt; \
	else \
	  $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -r requirements.txt; \
	fi
	@touch $@

clean:
	rm -rf .venv
