# make demo    a real machine: compose, boot, change, publish, upgrade, roll back (about ten minutes)
# make test    every test, real boots included        make check   the fast ones: format, types, layers, unit tests
# make bench   benchmarks beside the reference programs
PYTHON ?= python3
VENV := .venv
PYTEST := $(VENV)/bin/pytest

.PHONY: venv system system-test judges demo test check bench fuzz docs clean

venv: $(VENV)/.done

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

system:
	scripts/setup-debian

system-test:
	scripts/setup-debian --test

# Programs of Debian unstable that some tests and benchmarks compare with, in a folder of their own.
judges:
	scripts/setup-judges

demo: system
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python demo/demo.py

check: venv
	$(VENV)/bin/ruff format --check src tests bench demo scripts
	$(VENV)/bin/ruff check src tests bench demo scripts
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PYTEST) tests/unit -q

test: system-test judges
	@$(MAKE) --no-print-directory check
	$(PYTEST) tests/fuzz tests/interop tests/e2e

bench: system-test judges
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python bench/run.py

docs: venv
	$(VENV)/bin/python scripts/generate_reference.py
	$(VENV)/bin/python scripts/generate_man.py

# SECONDS for each reader, guided by coverage.
fuzz: venv
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(VENV)/bin/python -m tests.fuzz.guided --seconds $(or $(SECONDS),300)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
