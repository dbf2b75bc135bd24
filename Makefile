# Every target sets up what it needs, in .venv, and does so once; PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
PYTEST_ARGS ?=
SOAK_ARGS ?=
SWEEP_ARGS ?=

VENV = .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
TRACE = traces/natt-3des-md5-server

.PHONY: demo test check bench bench-tables bench-network bench-ike soak negotiations sweep rules rules-break clean

demo: $(VENV)/.installed
	$(BIN)/nicsim replay $(TRACE).pcap --sas $(TRACE).sas.json --expect $(TRACE).expect.json

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.installed-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_floors.py

bench: $(VENV)/.installed
	$(BIN)/python bench/replay.py

bench-tables: $(VENV)/.installed
	$(BIN)/python bench/tables.py

bench-network: $(VENV)/.installed
	$(BIN)/python bench/network.py

bench-ike: $(VENV)/.installed
	$(BIN)/python bench/ike.py

soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

negotiations: $(VENV)/.installed-test
	$(BIN)/python -m tests.negotiations

sweep: $(VENV)/.installed-test
	$(BIN)/python -m tests.sweep_loss $(SWEEP_ARGS)

rules: $(VENV)/.installed-test
	$(BIN)/python -m tests.rules_report

rules-break: $(VENV)/.installed-test
	$(BIN)/python -m tests.rules_break $(RULES)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages; a change of pyproject.toml makes all of them old.

$(VENV)/.made:
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made pyproject.toml
	@$(INSTALL) '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-check: $(VENV)/.made pyproject.toml
	@$(INSTALL) '.[check,test]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed
