# Everything is made incrementally: a second `make` without a change installs and compiles nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard _native/*.c _native/*.h _native/*.cdef _native/*.py)
PIP := $(BIN)/pip -qq --disable-pip-version-check
# A plain path in site-packages: type checkers follow it, and importing costs nothing extra.
EDITABLE := --config-settings editable_mode=compat

# Wheels built or fetched for another platform are of no use; a user's own PYTHONPATH is none of our business.
unexport PYTHONPATH
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: demo setup build lint format test bench soak clean

demo: build
	$(BIN)/python examples/demo.py

setup: $(VENV)/.dev build

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(wildcard _native/*.[ch] tests/payload/*.[ch])
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(wildcard _native/*.[ch] tests/payload/*.[ch])

test: setup
	$(BIN)/python tests/host/run.py $(ARGS)

bench: build
	$(BIN)/python -m benchmarks.bench $(ARGS)

soak: setup
	$(BIN)/python -m pytest -q -m soak tests $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	rm -f container_kit/ck-monitor container_kit/ck-files container_kit/*.so
	find container_kit tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

# ── how the above come about ─────────────────────────────────────────────────────────────────────

build: $(VENV)/.installed $(VENV)/.native

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# Installing builds the native parts too; they are stamped first, so that this does not count as out of date.
$(VENV)/.installed: pyproject.toml setup.py | $(VENV)/bin/pip
	$(PIP) install $(EDITABLE) --editable .
	touch $(VENV)/.native $@

$(VENV)/.native: $(NATIVE) | $(VENV)/.installed
	$(BIN)/python _native/build.py
	touch $@

$(VENV)/.dev: pyproject.toml setup.py | $(VENV)/bin/pip
	$(PIP) install $(EDITABLE) --editable '.[dev]'
	touch $(VENV)/.native $(VENV)/.installed $@
