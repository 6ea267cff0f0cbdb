# make install   a virtual environment in .venv with the package (editable) and its tools
# make test      lint, types and the quick tests
# make test-slow the tests that take longer
# make demo      the whole method on synthetic data
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed

.PHONY: help install test test-slow demo

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@

# One thread a process: pytest already runs two. nnU-Net's commands take one a core whatever they are told; threads
# that spin while they wait would take the cores from the other process.
test test-slow: export OMP_NUM_THREADS = 1
test test-slow: export OMP_WAIT_POLICY = passive

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

demo: $(STAMP)
	PATH="$(BIN):$$PATH" bash scripts/demo.sh
