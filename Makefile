# make study      the whole study on the specimen, from nothing but Python >= 3.11
# make test       everything that continuous integration runs
# make bench      measure how fast analysis and capture are, against what one would do without them
# make notebooks  execute the committed notebooks again, in place
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help study test bench lint types pytest nbval notebooks format
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "locheads needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	       "Name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@

study: $(INSTALLED)
	$(BIN)/locheads run

test: lint types pytest nbval

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

pytest: $(INSTALLED)
	$(BIN)/pytest tests

nbval: $(INSTALLED)
	$(BIN)/pytest --nbval-lax notebooks --nbval-current-env --nbval-sanitize-with notebooks/nbval_sanitize.cfg

bench: $(INSTALLED)
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/capture.py --sweep --repeats 3

notebooks: $(INSTALLED)
	$(BIN)/locheads run --in-place

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
