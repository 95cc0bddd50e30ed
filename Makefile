# `make` alone lists the targets. Options for a command go in ARGS: make test ARGS='-k rename'

PIP := .venv/bin/pip --disable-pip-version-check --quiet
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --extra uvloop pyproject.toml

.PHONY: help run test bench lint format lock setup prerequisites bench-prerequisites clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: setup ## mirror a stand-in for Cloudinary on an embedded Kafka and PostgreSQL, until Ctrl-C
	@exec .venv/bin/mediamirror up $(ARGS)

test: setup ## the whole test suite, on two cores
	@exec .venv/bin/pytest --numprocesses 2 --dist worksteal $(ARGS)

bench: setup .venv/.bench ## all benchmarks, beside peers and limits (20 minutes)
	@exec .venv/bin/mediamirror-bench $(ARGS)

lint: setup ## style, types, and which package may import which
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: setup ## reformat the code and repair what ruff can
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

lock: setup ## pin the dependencies of pyproject.toml; ARGS=--upgrade for newer ones
	@$(LOCK) --output-file requirements.txt $(ARGS)
	@$(LOCK) --group dev --constraint requirements.txt --output-file requirements-dev.txt $(ARGS)
	@$(LOCK) --group bench --constraint requirements-dev.txt --output-file requirements-bench.txt $(ARGS)

setup: .venv/.ready ## the environment in .venv; the targets above do this by themselves

# Looked at every time, which is quick: programs come and go.
prerequisites:
	@deploy/install-prerequisites.sh

bench-prerequisites:
	@deploy/install-prerequisites.sh bench

# A folder is no proof of a finished installation; these two files are, written last.
.venv/.packages: requirements-dev.txt | prerequisites
	@rm -rf .venv
	@echo "making .venv"
	@python3 -m venv .venv
	@echo "installing the packages of requirements-dev.txt"
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@touch $@

# What only the benchmarks need, beside what is there.
.venv/.bench: requirements-bench.txt .venv/.packages | bench-prerequisites
	@echo "installing the packages of requirements-bench.txt"
	@$(PIP) install --require-hashes --requirement requirements-bench.txt
	@touch $@

.venv/.ready: .venv/.packages pyproject.toml
	@echo "installing mediamirror"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

clean: ## remove what was made here, but for the data in .mediamirror
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
