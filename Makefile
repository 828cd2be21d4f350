# Every target sets up .venv by itself; all it needs is Python 3.11 or later (make PYTHON=python3.12 to name one).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
STAMP := .venv/installed
PIP := -m pip --quiet --disable-pip-version-check
# The generated code loads with any protobuf from that protoc's own (5.29) to Flower's limit (below 7),
# but this protoc's package wants protobuf 5, so it gets a little environment of its own.
PROTOC := .venv/protoc
PROTOC_PACKAGE := grpcio-tools==1.71.2
GENERATED := build/protos

.PHONY: help venv demo test lint bench figures api protos clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 10

venv: $(STAMP)  ## set up .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "fedbits needs Python 3.11 or later, but $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo 'not there'): name another one with make PYTHON=..." >&2; \
	  exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Setting up .venv (the first time takes minutes: PyTorch is large) ..." >&2
	@$(BIN)/python $(PIP) install --editable '.[federated,exchange,continual,beams,tokens,dev]'
	@touch $@

demo: $(STAMP)  ## five nodes exchange distilled digits, beside FedAvg; the report is in runs/
	OMP_NUM_THREADS=1 $(BIN)/fedbits simulate --data digits --nodes 5 --partition dirichlet:0.3 --budget 1KiB --steps 100 --repeats 1 --yardstick fedavg

test: lint  ## lint, then every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## measure everything (days, on two cores); SUITE=... for some, MINUTES=... for a while
	OMP_NUM_THREADS=1 $(BIN)/fedbits bench $(SUITE) $(if $(MINUTES),--minutes $(MINUTES))

figures: $(STAMP)  ## draw the figures from what was measured
	$(BIN)/fedbits bench --figures

api: $(STAMP)  ## the reference of all modules, from their docstrings, into build/api/html
	@$(BIN)/python $(PIP) install --quiet --editable '.[docs]'
	rm -rf build/api && mkdir -p build/api && cp docs/api/* build/api
	for package in fedbits nodes scenarios; do \
	  $(BIN)/python -m sphinx.ext.apidoc -q --separate --module-first --no-toc -o build/api/pages $$package fedbits/wire; done
	$(BIN)/python -m sphinx -q -b html build/api build/api/html

protos: $(PROTOC)/installed  ## regenerate fedbits/wire/ from protos/
	rm -rf $(GENERATED) && mkdir -p $(GENERATED)
	$(PROTOC)/bin/python -m grpc_tools.protoc --proto_path=protos --python_out=$(GENERATED) --pyi_out=$(GENERATED) protos/fedbits/v1/*.proto
	cd $(GENERATED)/fedbits/v1 && for file in *; do \
	  sed -E 's/^from fedbits\.v1 import/from fedbits.wire import/' "$$file" > "$(CURDIR)/fedbits/wire/$$file"; done

$(PROTOC)/installed: $(STAMP)
	$(PYTHON) -m venv $(PROTOC)
	$(PROTOC)/bin/python $(PIP) install '$(PROTOC_PACKAGE)'
	@touch $@

clean:  ## remove what is built and cached, but neither .venv nor runs/
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find fedbits nodes scenarios benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
