# One command for each thing a person does: `make help` lists them.
#
#   make test PYTHON=python3.12 VENV=.venv-3.12     another interpreter beside the first
#   make test ARGS="-k scheduler -x"                more words for pytest
#   make test JOBS=2                                two files at a time, each in one process

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
JOBS ?= 0
BIN := $(VENV)/bin
PY := $(BIN)/python
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
POSTGRESQL = $(shell command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -1)
CHROMIUM = $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.NOTPARALLEL:
.PHONY: help demo lab test portable kernels lint soak bench dist clean chromium postgresql testsuite

help:  ## list the commands
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/installed-demo  ## run the quick start and show what came out
	@echo "running notebooks/01-quickstart.ipynb ..."
	@$(PY) notebooks/run.py notebooks/01-quickstart.ipynb build/01-quickstart.ipynb

lab: $(VENV)/installed-demo  ## open the quick start in JupyterLab
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01-quickstart.ipynb

test: $(VENV)/installed-dev chromium postgresql testsuite  ## run every test, doctest, and notebook
	$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --nbval --nbval-cell-timeout=120 $(if $(CHROMIUM),,-m "not browser") tests wpc_magic $(NOTEBOOKS) $(ARGS)

portable: $(VENV)/installed-dev  ## run the tests of the pool as on a system that has only what all have
	PYTHONPATH=$(CURDIR)/tests/portable $(PY) -m pytest tests/pool $(ARGS)

kernels:  ## run the tests of kernels on ipykernel 6, in an environment of its own
	@$(MAKE) --no-print-directory VENV=.venv-6 .venv-6/installed-dev
	@.venv-6/bin/python -m pip install --quiet 'ipykernel==6.31.*'
	.venv-6/bin/python -m pytest tests/kernel tests/notebook $(ARGS)

lint: $(VENV)/installed-dev  ## check style, format, and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(VENV)/installed-dev  ## everything at once, at random (SECONDS=600 SEED=1)
	$(PY) -m tests.soak --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: $(VENV)/installed-bench chromium  ## compare with other pools (QUICK=1: in less than ten minutes)
	$(PY) -m tests.benchmarks $(if $(QUICK),--quick) --json build/benchmarks.json \
		--markdown build/benchmarks.md --plot build/benchmarks.svg $(ARGS)

dist: $(VENV)/installed-dist  ## build what is published, and try it in empty environments (PYTHONS="python3.11 ...")
	$(PY) -m tests.distribution --keep dist $(or $(PYTHONS),$(PYTHON))

clean:  ## remove what the commands above made
	rm -rf build dist .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find tests wpc_magic notebooks -name __pycache__ -prune -exec rm -rf {} +

# The tests that drive a browser use the system's Chromium.
chromium:
	@if [ -n "$(CHROMIUM)" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	elif [ -n "$$CI" ]; then echo "CI leaves nothing out, and there is no Chromium for the browser tests"; exit 1; \
	else echo "Chromium is not installed, so the browser tests are left out. To run them: sudo apt-get install chromium"; fi

# The tests of databases start a PostgreSQL of their own.
postgresql:
	@if [ -n "$(POSTGRESQL)" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null; \
	elif [ -n "$$CI" ]; then echo "CI leaves nothing out, and there is no PostgreSQL for the tests of databases"; exit 1; \
	else echo "PostgreSQL is not installed, so its tests are skipped. To run them: sudo apt-get install postgresql"; fi

# CPython's own tests of executors are run with ours. Not every interpreter comes with them; Debian has them in a
# package, which those of another Python of the same version can use, too.
HAS_TESTSUITE = import glob, sys, sysconfig; version = "%d.%d" % sys.version_info[:2]; \
	sys.exit(not any(glob.glob(folder + "/test/test_concurrent_futures*") \
	for folder in (sysconfig.get_path("stdlib"), "/usr/lib/python" + version)) and version)
testsuite: $(PY)
	@version=$$($(PY) -c '$(HAS_TESTSUITE)' 2>&1) && exit 0; \
	package=libpython$$version-testsuite; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$package >/dev/null 2>&1; then :; \
	else echo "CPython's tests of executors are not here, so they are skipped. Debian has them: sudo apt-get install $$package"; fi

# One stamp for each extra of pyproject.toml that has been installed.
$(VENV)/installed-%: pyproject.toml $(PY)
	@echo "installing wpc_magic and what \"make $(MAKECMDGOALS)\" needs into $(VENV) ..."
	@$(PY) -m pip install --quiet --editable '.[$*]'
	@touch $@

$(PY):
	@[ -n "$(PYTHON)" ] || { echo "wpc_magic needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
