# make study      the whole study on the specimen, from nothing but Python >= 3.11
# make quick      ruff, mypy, the unit tests and the examples in docstrings, in under two minutes
# make test       everything that continuous integration runs
# make bench      measure how fast analysis and capture are, against what one would do without them
# make lab        open the notebooks in JupyterLab; begin with 00_start_here.ipynb
# make book       the book in build/book/html, from the notebooks as they are committed
# make book-test  the book and JupyterLab in a real browser (Chromium), and the wheel outside the repository
# make course     the student edition in build/course: exercises with solutions blanked, and checks
# make notebooks  execute the committed notebooks and the solutions again, in place
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

BOOK := build/book
EXPLORER := $(BOOK)/explorer.html
COURSE := build/course
BOOKED := $(VENV)/.book-installed

## Bytecode is kept, whatever the shell says: tests start a hundred kernels, and each would compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

## Two workers; a file is one worker's, with its fixtures or its kernel.
TWO_AT_ONCE := $(BIN)/pytest -n 2 --dist loadfile
EXAMPLES := locheads/method locheads/evaluation/metrics.py locheads/evaluation/scores.py locheads/model/attention.py
NBVAL := --nbval-lax --nbval-current-env --nbval-sanitize-with notebooks/nbval_sanitize.cfg
NOTEBOOKS = $(sort $(wildcard notebooks/[0-9]*.ipynb))
SOLUTIONS = $(sort $(wildcard notebooks/solutions/[0-9]*.ipynb))

.PHONY: help study quick test bench lint types data unit pytest doctests nbval notebooks format lab book book-test \
  course
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

## Types and examples are checked while the data set is written and the workers start.
quick: lint
	@$(MAKE) --no-print-directory --jobs 2 types unit doctests

test: lint
	@$(MAKE) --no-print-directory --jobs 2 types pytest doctests
	@$(MAKE) --no-print-directory nbval

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

## The specimen's data set, which two workers must not write at the same time.
data: $(INSTALLED)
	$(BIN)/locheads data

unit: data
	OMP_NUM_THREADS=1 $(TWO_AT_ONCE) -m 'not slow and not browser' tests

pytest: data
	OMP_NUM_THREADS=1 $(TWO_AT_ONCE) --no-loadscope-reorder -m 'not browser' tests

doctests: $(INSTALLED)
	$(BIN)/pytest --doctest-modules $(EXAMPLES)

## In this order: notebook 01 fills the profile store that all others wait for and read, solutions read the stores of
## all. One thread each: a second one would add little. It moves the last digits of results.
nbval: data
	OMP_NUM_THREADS=1 $(TWO_AT_ONCE) --no-loadscope-reorder $(NBVAL) $(NOTEBOOKS) $(SOLUTIONS)

bench: $(INSTALLED)
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/capture.py --sweep --repeats 3

notebooks: $(INSTALLED)
	$(BIN)/locheads run --in-place
	$(BIN)/python docs/solve.py

lab: data
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

$(BOOKED): $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock -e '.[book]'
	@touch $@

## From stored maps: with new weights it is made again.
$(EXPLORER): $(INSTALLED) $(wildcard locheads/explorer/* locheads/specimen/weights/*/*)
	mkdir -p $(BOOK)
	$(BIN)/locheads explore $@

book: $(BOOKED) $(EXPLORER)
	mkdir -p $(BOOK)/source
	BOOK_SOURCE=$(CURDIR)/$(BOOK)/source $(BIN)/sphinx-build -q -W --keep-going -E -c docs/book $(BOOK)/source $(BOOK)/html
	$(BIN)/python docs/book/slides.py $(BOOK)/html
	@echo "open $(BOOK)/html/index.html"

course: $(INSTALLED)
	$(BIN)/python docs/course.py $(COURSE)

book-test: book
	$(BIN)/pytest -rs tests/book
	$(BIN)/pytest -rs -m browser tests/explorer

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
