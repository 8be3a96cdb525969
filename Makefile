# Everything sets itself up: a machine needs Python 3.11 or newer (with venv) and make.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick check format up down clean
PYTHON ?= python3
RUN := .venv/bin/python -m
ARGS ?=

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: ## install the platform and the tools it is developed with into .venv
	@$(PYTHON) cdc_platform/local/bootstrap.py

demo: install ## capture a small shop into the lake, prove it, and open the UI (ARGS="--once --seconds 30 --report demo.json")
	@$(RUN) cdc_platform.demo $(ARGS)

test: install ## every test, on real MongoDB, Kafka and Kafka Connect
	@$(RUN) pytest -q -n 2 -m "not stack" $(ARGS)
	@$(RUN) pytest -m stack $(ARGS)

test-quick: install ## the unit tests
	@CDC_SIMULATION_SEEDS=100 $(RUN) pytest -q -n 2 -m "not stack" $(ARGS)

check: install ## format, lint, types, import contracts and unit tests
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@.venv/bin/lint-imports
	@CDC_SIMULATION_SEEDS=100 $(RUN) pytest -q -n 2 -m "not stack"

format: install ## format the code
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

up: install ## start MongoDB, Kafka and Kafka Connect on this machine
	@.venv/bin/cdc stack up

down: ## stop them; their data stays
	@.venv/bin/cdc stack down

clean: ## remove the virtual environment and the local stack's data
	@if [ -x .venv/bin/cdc ]; then .venv/bin/cdc stack reset --yes; fi
	@rm -rf .venv .cdc
