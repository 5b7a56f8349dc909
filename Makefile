# The verbs of this repository. `make demo` and `make test` set up everything that they need.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
FOR ?=
ONLY ?=
FLOOR ?=
WORKERS ?= auto


.PHONY: demo stack test compat company smoke-docker check fmt lint types rooms boards bench bench-ledger clean help

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

demo: $(VENV)/.demo ## the main job against a local stand-in provider; FOR=10s ends it by itself
	@$(BIN)/otel-llm-usage demo $(if $(FOR),--for $(FOR),)

stack: $(VENV)/.dev $(VENV)/.packages ## the demo with Prometheus and Alertmanager; FOR=60s proves the chain and ends
	@$(BIN)/python -m stack $(if $(FOR),--for $(FOR),)

smoke-docker: ## docker-compose.yml on a machine with Docker: everything starts and answers
	@sh stack/smoke-docker.sh

test: $(VENV)/.dev $(VENV)/.packages ## all the tests
	@$(BIN)/python -m pytest -n $(WORKERS)

compat: $(VENV)/.dev ## the contract with every supported version; ONLY=openai-1 and FLOOR=1 narrow it
	@$(BIN)/python -m tests.compat --workers $(WORKERS) $(if $(ONLY),--only $(ONLY),) $(if $(FLOOR),--floor,)

company: $(VENV)/.dev ## beside other instrumentations and under frameworks; ONLY=logfire,litellm narrows it, PIN=1 takes their newest
	@$(BIN)/python -m tests.company $(if $(ONLY),--only $(ONLY),) $(if $(PIN),--pin,)

check: lint types rooms ## everything that reads the code without running it

fmt: $(VENV)/.dev ## format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lint: $(VENV)/.dev ## style, and no file names a path of somebody's machine
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

rooms: $(VENV)/.dev ## who may import whom
	@$(BIN)/lint-imports

boards: $(VENV)/.dev ## write grafana/dashboards/ anew from grafana/boards/
	@$(BIN)/python -m grafana.boards

bench: $(VENV)/.dev ## what it costs, paired with the uninstrumented clients in one run
	@$(BIN)/python -m tests.bench

bench-ledger: $(VENV)/.dev ## a million records: how fast they are taken, how fast questions are answered
	@$(BIN)/python -m tests.bench.ledger

clean: ## remove what these verbs made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.packages: stack/packages.sh | $(VENV)/bin/python
	@sh stack/packages.sh $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -qy --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV); \
	  else echo "The venv module is missing: apt-get install python3-venv" >&2; exit 1; fi; }
	@$(BIN)/python -m pip install -q -c constraints.txt --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[gemini,openai,anthropic]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[gemini,openai,anthropic,server]' --group dev
	@touch $@
