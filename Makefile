# Two commands do everything on a fresh machine; each works a second time in seconds.
#   make quickstart   a student that ranks, from bundled data without labels, offline, on a CPU
#   make test         lint, types, tests
#   make docs         the site, in the folder site; without a network, once the packages are installed
#   make wheel        wheel and sdist, in the folder dist, and a smoke test of the wheel in a fresh environment
#   make evidence     the tables of docs/results that need trained models; DATA=folder (default: the hub), SIZE=tiny|small|medium|full,
#                   LARGE=folder or hub id of all-mpnet-base-v2 (default: no rows of a larger teacher)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export HF_HUB_OFFLINE := 1

.PHONY: help install quickstart test lint types docs wheel evidence clean
help:
	@sed -n 's/^#   //p' Makefile

install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

quickstart: install
	$(BIN)/dse quickstart

# Two processes of one thread each: two threads in each of them would fight over the cores.
test: lint types install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

docs: install $(VENV)/.docs
	$(BIN)/mkdocs build --strict
$(VENV)/.docs: pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

wheel: install
	PYTHON=$(BIN)/python ./smoke_test.sh

DATA ?=
SIZE ?= small
evidence: install
	$(BIN)/python -m benchmarks.evidence --size $(SIZE) $(if $(DATA),--data $(DATA)) $(if $(LARGE),--large-backbone $(LARGE))

lint: install
	$(BIN)/ruff check src tests benchmarks examples docs packages
	$(BIN)/ruff format --check src tests benchmarks examples docs packages

types: install
	$(BIN)/mypy

clean:
	rm -rf $(VENV) dse-quickstart site dist .mypy_cache .pytest_cache .ruff_cache
