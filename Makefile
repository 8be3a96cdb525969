# Everything sets itself up: a machine needs Python 3.11 or newer (with venv) and make.
.DEFAULT_GOAL := help
.PHONY: help install hooks demo bench test test-matrix test-quick test-e2e test-coverage soak check format \
	up health watch-logs deploy-connector down teardown clean
PYTHON ?= python3
RUN := .venv/bin/python -m
ARGS ?=
SERVICE ?= connect
# Two at a time, each with databases, Kafka and Connect of its own; a file's tests share what it sets up. With
# `STACKS=` one at a time, which takes longer and leaves each test more of the machine.
STACKS ?= -n 2 --dist loadfile

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: ## install the platform and the tools it is developed with into .venv
	@$(PYTHON) cdc_platform/local/bootstrap.py

hooks: install ## check every commit before it is made (pre-commit)
	@.venv/bin/pre-commit install

demo: install ## capture three small databases into the lake, prove it, and open the UI (ARGS="--once --seconds 30 --report demo.json")
	@$(RUN) cdc_platform.demo $(ARGS)

test: install ## every test, on real databases, Kafka and Kafka Connect
	@$(RUN) pytest -q -n 2 -m "not stack and not matrix" $(ARGS)
	@$(RUN) pytest -q $(STACKS) -m "stack and not matrix" $(ARGS)

test-matrix: install ## every combination of format, catalog and store (`make test` has pairs of them)
	@$(RUN) pytest -q -n 2 -m "matrix and not stack" $(ARGS)
	@$(RUN) pytest -q $(STACKS) -m "matrix and stack" $(ARGS) || [ $$? -eq 5 ]  # 5: there is none, or ARGS chose others

bench: install ## measure throughput, merges and lag beside what people use; writes bench/results.json
	@$(RUN) bench $(ARGS)

soak: install ## what takes long: 10,000 simulated programs, kills, a hot key, memory; goes on where it was interrupted
	@$(RUN) pytest -v -n 2 -m "soak and not stack" tests/soak $(ARGS) || [ $$? -eq 5 ]  # 5: ARGS chose others
	@$(RUN) pytest -v -m "soak and stack" tests/soak $(ARGS) || [ $$? -eq 5 ]

test-quick: install ## the unit tests that take no time, under a minute
	@$(RUN) pytest -q -n 2 -m "not stack and not matrix and not long" $(ARGS)

test-e2e: install ## the tests on real components alone
	@$(RUN) pytest -q $(STACKS) -m "stack and not matrix" $(ARGS)

test-coverage: install ## every test, and how much of the code they run; fails below 80 %
	@$(RUN) pytest -q -n 2 -m "not stack and not matrix" --cov --cov-report= --cov-fail-under=0 $(ARGS)
	@$(RUN) pytest -q $(STACKS) -m "stack and not matrix" --cov --cov-append --cov-report=term $(ARGS)

check: install ## format, lint, types, import contracts and unit tests
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@.venv/bin/lint-imports
	@CDC_SIMULATION_SEEDS=40 $(RUN) pytest -q -n 2 -m "not stack and not matrix"

format: install ## format the code
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

up: install ## start the databases, Kafka, Kafka Connect and a schema registry here (ARGS="mongodb postgresql": these)
	@.venv/bin/cdc stack up $(ARGS)

health: ## show the state of each of them
	@.venv/bin/cdc stack status

watch-logs: ## follow a service's log (SERVICE=mongodb, postgresql, mariadb, registry, kafka or connect)
	@.venv/bin/cdc stack logs $(SERVICE) --follow

deploy-connector: install ## capture the declared sources, and wait for their snapshots (ARGS="shop --timeout 60")
	@.venv/bin/cdc connector apply --wait $(ARGS)

down: ## stop them; their data stays
	@.venv/bin/cdc stack down

teardown: ## stop them and remove their data, logs and configuration (ARGS=--yes: without asking)
	@.venv/bin/cdc stack reset $(ARGS)

clean: ## remove the virtual environment and the local stack's data
	@if [ -x .venv/bin/cdc ]; then .venv/bin/cdc stack reset --yes; fi
	@rm -rf .venv .cdc
