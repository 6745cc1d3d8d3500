# The environment is .venv at the root; uv fills it from the constraints file.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench docs

demo: .venv/ready
	$(BIN)/python -m core.training.demo

test: .venv/ready
	$(BIN)/python -m pytest

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

docs: .venv/ready
	$(BIN)/python -m docs.tables

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[all,dev]'
	touch $@
