# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-run
SEED ?= 0
INSTALLED := $(VENV)/.installed
# Two processes with one thread each: tiny models gain nothing from threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests plugins -n 2 --dist loadfile

.PHONY: demo test test-slow lint bench install clean

demo: $(INSTALLED)
	$(BIN)/biot-bd demo $(DEMO) --seed $(SEED)

test: $(INSTALLED) lint
	$(PYTEST)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/all.py $(ARGS)

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt plugins/biot-bd-tutorial/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]" -e plugins/biot-bd-tutorial
	touch $@

clean:
	rm -rf $(VENV) demo-run
