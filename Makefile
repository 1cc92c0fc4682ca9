# Everything runs in .venv, which these targets make and keep in step with the lock files.
# ARGS goes to the command: make test ARGS="-k fold", make run ARGS="--port 9000", make lock ARGS=--upgrade

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SILENT:
.PHONY: help setup run test fault fuzz bench check format lock clean

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
export PIP_ROOT_USER_ACTION := ignore

# The newest Python from 3.11 on that can make a virtual environment. Prints nothing if there is none.
FIND_PYTHON = for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys, ensurepip, venv; assert sys.version_info >= (3, 11); print(sys.executable)' \
	2>/dev/null && break; done
NO_PYTHON = No Python 3.11 or newer with venv was found on the PATH. Install one, e.g. apt install python3 python3-venv.

help: ## list the targets
	sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-12s %s\n' "$$name" "$$text"; done

setup: .venv/.dev ## make the environment in .venv: locked dependencies, tools, the gateway itself

run: .venv/.runtime ## start the gateway on http://127.0.0.1:8080 (Ctrl-C ends it)
	exec $(BIN)/gateway serve $(ARGS)

test: .venv/.dev ## run the whole test suite
	$(BIN)/python -m pytest $(ARGS)

fault: .venv/.dev ## kill, freeze and cut off real gateways and count broken promises (ARGS="--runs 1000 --database sqlite --seed 7")
	$(BIN)/python -m tests.fault $(ARGS)

fuzz: .venv/.dev ## search for surprises with random sequences of calls and faults, for half an hour
	$(BIN)/python -m pytest --hypothesis-profile=search tests/machine $(ARGS)

bench: .venv/.dev ## measure what the gateway costs, in under three minutes (ARGS=--short: in seconds)
	$(BIN)/python -m bench $(ARGS)

check: .venv/.dev ## lint, formatting, types, architecture, lengths
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo >.venv/.imports 2>&1 || { cat .venv/.imports; exit 1; }
	$(BIN)/python scripts/lengths.py

format: .venv/.dev ## put the code into its format
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .

lock: ## write the lock files again (ARGS=--upgrade: with the newest versions)
	python=$$($(FIND_PYTHON)); [ -n "$$python" ] || { echo "$(NO_PYTHON)" >&2; exit 1; }; \
	tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && $$python -m venv "$$tools" && \
	"$$tools/bin/python" -m pip install --quiet --quiet --disable-pip-version-check uv==0.13.8 && \
	lock() { "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate $(ARGS) "$$@"; } && \
	lock pyproject.toml -o requirements.txt && \
	lock --group build -c requirements.txt -o requirements-build.txt && \
	lock pyproject.toml --extra otel -c requirements.txt -o requirements-otel.txt && \
	lock pyproject.toml --group dev -c requirements-otel.txt -c requirements-build.txt -o requirements-dev.txt

clean: ## remove what make and the tools have made; data/ stays
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- the environment ---

$(BIN)/pip:
	python=$$($(FIND_PYTHON)); [ -n "$$python" ] || { echo "$(NO_PYTHON)" >&2; exit 1; }; \
	$$python -m venv --clear .venv

.venv/.runtime: requirements.txt requirements-build.txt pyproject.toml | $(BIN)/pip
	$(PIP) install --require-hashes -r requirements.txt -r requirements-build.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: requirements-dev.txt .venv/.runtime
	$(PIP) install --require-hashes -r requirements-dev.txt
	touch $@
