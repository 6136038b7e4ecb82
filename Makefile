# Atelier's commands. `make help` lists them.

PYTHON ?= python3
PROFILE ?= cpu
BIN := .venv/bin
DATASETS ?= ../shared/datasets

.DEFAULT_GOAL := help
.PHONY: help demo test documents slow setup ui lint run soak scale edges acceptance pages screenshots chromium clean lock

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: setup  ## the whole chain on the embedded catalogue, into var/demo
	ATELIER_HOME=$${ATELIER_HOME:-var/demo} $(BIN)/python -m pipeline.run --profile demo

test: setup  ## the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

documents: setup  ## the commands of README and docs/, run as they are written
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m documents tests/documents

slow: setup  ## the tests that take minutes: a week of drops, an erasure, kills, a UI that ends, two ranks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

setup: .venv/.installed  ## make .venv and install the pinned requirements

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.txt --allow-empty-requirements
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	touch $@

ui: setup  ## Dagster's UI and daemon, and MLflow's UI, on loopback; the ports are printed
	$(BIN)/python -m pipeline.ui

lint: setup  ## ruff and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check

run: setup  ## your own data, as the environment names it: make run PROFILE=cpu
	$(BIN)/python -m pipeline.run --profile $(PROFILE)

soak: setup  ## fifty kill -9 of everything at random moments; the last line says what was lost
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak --kills $${KILLS:-50}

scale: setup  ## several processes: a Ray cluster, ranks, another machine, killed while at it; how work grows
	ATELIER_SCALE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/scale
	$(BIN)/python -m benchmarks.scale

edges: setup  ## every command by every kind of failure and signal, as processes: exit code, reason, seconds to its end
	ATELIER_EDGES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -vvv tests/edges tests/pipeline/home/test_moved_home.py \
		tests/models/training/test_command_lines.py

acceptance: setup  ## the chain on the H&M and Myntra samples, checked against their known counts
	$(BIN)/python -m tests.acceptance --datasets $(DATASETS)

pages: setup chromium  ## the lookbook's pages in headless Chromium: width, links, keyboard, axe
	ATELIER_PAGES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/pages

screenshots: setup chromium  ## the pictures in docs/ from the demo's lookbook and UIs (make demo first)
	$(BIN)/python -m tests.pages.screenshots --home $${ATELIER_HOME:-var/demo} --out docs
	$(BIN)/python -m tests.pages.uis --home $${ATELIER_HOME:-var/demo} --out docs

chromium:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -yqq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
		|| echo "no Chromium, and it cannot be installed here: the pages' tests will be skipped"

lock:  ## compile requirements.txt anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
		--group dev pyproject.toml --output-file requirements.txt

clean:  ## remove .venv and every output under var/
	rm -rf .venv var .pytest_cache .ruff_cache
