# Steward. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help run test lint fuzz audit mutations bench requirements clean

python := .venv/bin/python
# A running demo keeps its folder: tests and benchmarks have databases of their own.
apart = STEWARD_PROFILE=embedded STEWARD_VAR="$(CURDIR)/var/test"
# `make run` means the self-contained profile, also with a PostgreSQL or a broker of yours.
run: export STEWARD_PROFILE ?= embedded

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: ## start everything on this machine (PORT=8000, DATABASE_URL=…, CELERY_BROKER_URL=…)
	@sh requirements/install.sh runtime
	@exec $(python) manage.py serve

test: ## run all tests, or a part: make test ARGS="tests/catalog -k register"
	@sh requirements/install.sh dev
	@sh requirements/chromium.sh
	@$(apart) $(python) -m pytest $(or $(ARGS),-n 2 --dist loadfile --no-loadscope-reorder -q)
	@echo 'A part: make test ARGS="tests/catalog"    One: make test ARGS="tests/catalog -k register"'

lint: ## style, types, import law, migrations, API schema
	@sh requirements/install.sh dev
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	@# Types need the settings, not a database; mypy ends without saying goodbye to one.
	STEWARD_PROFILE=embedded DATABASE_URL=postgres://nobody@localhost/types $(python) -m mypy
	@$(python) -c "from importlinter.cli import lint_imports_command as main; main()"
	@$(apart) $(python) manage.py check --fail-level WARNING
	@$(apart) $(python) manage.py makemigrations --check --dry-run
	@$(apart) $(python) manage.py spectacular --validate --fail-on-warn --file /dev/null

mutations: ## leave out every permission check, one at a time, and write down who notices (takes minutes)
	@sh requirements/install.sh dev
	@PERMISSION_MATRIX=write $(apart) $(python) -m pytest tests/architecture/test_every_door.py \
		tests/architecture/test_every_page.py -q --tb=short --show-capture=no -k missing
	@$(apart) $(python) -m tests.architecture.questions

fuzz: ## call every operation of the API in many ways: make fuzz FUZZ_EXAMPLES=20 FUZZ_SEED=7
	@sh requirements/install.sh dev
	@FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),10) FUZZ_SEED=$(or $(FUZZ_SEED),1) $(apart) $(python) -m pytest \
		tests/security/test_schema.py -q --tb=short --show-capture=no

audit: ## ask whether a dependency has a known weakness; says so loudly when nobody can be asked
	@sh requirements/install.sh runtime
	@sh requirements/audit.sh

bench: ## measure hot paths and print JSON lines: make bench ARGS=list
	@sh requirements/install.sh dev
	@STEWARD_PROFILE=embedded STEWARD_VAR="$(CURDIR)/var/bench" $(python) -m bench $(ARGS)

requirements: ## compile requirements/*.txt from pyproject.toml, with hashes and without addresses
	@sh requirements/install.sh dev
	$(python) -m piptools compile $(compile) -o requirements/runtime.txt pyproject.toml
	$(python) -m piptools compile $(compile) --extra dev -o requirements/dev.txt pyproject.toml
compile = --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-options \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

clean: ## forget everything local: environment, databases, caches (asks first)
	@printf 'Remove .venv, var and static_built of this clone? [y/N] '; read answer; [ "$$answer" = y ]
	rm -rf .venv var static_built .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
