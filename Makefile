# Every target sets up what it needs: a virtual environment with pinned packages, and for the real Hadoop a JDK and the jars.
# `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9

help:            ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(READY) java  ## start a small real Hadoop, ship the environment, run the ETL on YARN, show the answer
	@$(BIN)/python examples/demo.py

# Tests on Hadoop wait for most of their time, so the others run beside them; what they print comes at the end.
test: lint types $(READY) java  ## everything: lint, types and every test, those on the real Hadoop among them
	@mkdir -p build; \
	$(BIN)/python -m pytest -m hadoop --durations=10 >build/hadoop.txt 2>&1 & hadoop=$$!; \
	trap 'kill -INT $$hadoop 2>/dev/null || true' EXIT; \
	code=0; $(BIN)/python -m pytest -n 2 -m "not hadoop" --durations=10 || code=$$?; \
	wait $$hadoop || code=$$?; \
	cat build/hadoop.txt; exit $$code

check: lint types unit  ## lint, types and the tests that need no Hadoop (3 minutes at most)

unit: $(READY)  ## the tests that need no Hadoop
	@$(BIN)/python -m pytest -n 2 -m "not hadoop and not slow"

lint: $(READY)  ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# From a folder of its own: seen from the root, `io/` would hide the standard library's.
types: $(READY)  ## mypy, strict
	@mkdir -p build/types && ln -sfn ../../howdah build/types/howdah
	@cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p howdah

docs: $(READY)   ## the pages and an API reference from the docstrings, as HTML in build/docs/html
	@$(BIN)/python docs/build.py && echo "build/docs/html/index.html"

bench: $(READY)  ## every measure against its mark, distributed in the same run; figures go to docs/benchmarks.md by hand
	@$(BIN)/python tests/bench

SECONDS ?= 600
SEED ?= 1

soak: $(READY)  ## seeded trouble for SECONDS=600 with SEED=1: scenarios for the scheduler, chaos on real processes
	@$(BIN)/python tests/soak.py --seconds $(SECONDS) --seed $(SEED)

simulate: $(READY)  ## 1,000 modelled workers, a million tasks, published rates of failures: what is lost and redone
	@$(BIN)/python -m howdah.engine.scheduler.simulation.failure_study

lock: $(READY)  ## write requirements.lock anew from pyproject.toml (versions and hashes, no addresses)
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-find-links --no-emit-index-url --no-annotate \
	    --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:           ## remove what the targets above made here (the jars and HDFS data of `howdah mini` stay)
	@rm -rf $(VENV) build dist *.egg-info

venv: $(READY)   ## the virtual environment alone

# The first Python of 3.11 to 3.13 that runs; PYTHON=... chooses another.
$(READY): requirements.lock pyproject.toml
	@python=$${PYTHON:-}; \
	if [ -z "$$python" ]; then for p in python3 python3.13 python3.12 python3.11; do \
	  if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then python=$$p; break; fi; done; fi; \
	if [ -z "$$python" ]; then echo "howdah needs Python 3.11, 3.12 or 3.13: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi; \
	if ! "$$python" -m venv $(VENV); then \
	  echo "'$$python -m venv' does not work here: on Debian, apt-get install python3-venv" >&2; exit 1; fi
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

# A JDK 11 to 21 and Maven, for the real Hadoop: Debian's packages where they are missing and can be installed.
java:
	@missing=""; \
	command -v java >/dev/null 2>&1 || [ -x "$${JAVA_HOME:-/nowhere}/bin/java" ] || missing="openjdk-17-jdk-headless"; \
	command -v mvn >/dev/null 2>&1 || missing="$$missing maven"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing $$missing"; apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "The small Hadoop needs a JDK (11 to 21) and Maven. Run: sudo apt-get install $$missing" >&2; exit 1; fi; fi

.PHONY: help demo test check unit lint types docs bench soak simulate lock clean venv java
