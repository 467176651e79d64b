# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-run
SEED ?= 0
N ?= 2000
INSTALLED := $(VENV)/.installed
# Two processes with one thread each: tiny models gain nothing from threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
# These load OpenVINO and onnxruntime: in processes of their own, as a worker that is forked beside them crashed.
ENGINES := tests/export tests/commands/test_export_command.py tests/test_docs_deploy.py \
	$(addprefix tests/deploy/test_,light_path.py engine_choice.py engine_bench.py engines.py)
SITE ?= docs/_build/html
# Where `make runtime` makes an environment without torch; removed before and after.
RUNTIME ?= build/runtime

.PHONY: demo test test-slow runtime fuzz docs pictures browser lint bench install clean

demo: $(INSTALLED)
	$(BIN)/biot-bd demo $(DEMO) --seed $(SEED)

# The examples in docstrings are tests, too; the site is built without its gallery, which test-slow runs.
test: $(INSTALLED) lint
	$(PYTEST) tests plugins $(addprefix --ignore=,$(ENGINES))
	$(PYTEST) $(ENGINES)
	$(PYTEST) --doctest-modules biot_bd plugins/*/src

test-slow: $(INSTALLED) browser
	$(PYTEST) tests plugins -m slow $(addprefix --ignore=,$(ENGINES))
	$(PYTEST) $(ENGINES) -m slow

# An environment without torch, in a fresh folder: it detects, streams and scores with exported models as torch does.
runtime: $(INSTALLED)
	rm -rf $(RUNTIME)
	$(PYTHON) -m venv $(RUNTIME)/venv
	$(RUNTIME)/venv/bin/python -m pip install --quiet -c constraints.txt -r requirements/runtime.txt onnxruntime openvino
	$(RUNTIME)/venv/bin/python -m pip install --quiet --no-deps .
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -W ignore tests/runtime/make_models.py $(RUNTIME)/work $(RECORDINGS) >/dev/null
	cd $(RUNTIME) && venv/bin/python $(CURDIR)/tests/runtime/try_runtime.py $(abspath $(RUNTIME))/work
	rm -rf $(RUNTIME)

# N damaged inputs for each reader; what is found is printed as seed and number.
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz/fuzz_frame.py --n $(N) --seed $(SEED)

# Runs the gallery; a warning is an error. Needs no network.
docs: $(INSTALLED)
	$(BIN)/python -W ignore -m sphinx -b html -q -W --keep-going docs $(SITE)
	@echo "$(SITE)/index.html"

# Draws the pictures of the documentation; those of a study are made by it, and its command is printed.
pictures: $(INSTALLED)
	$(BIN)/python benchmarks/pictures.py

# The live page and the report are tested in Chromium; without one those tests skip and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "no Chromium: install it to run the browser tests"; fi

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/all.py $(ARGS)

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt plugins/biot-bd-tutorial/pyproject.toml plugins/biot-bd-clinical/pyproject.toml plugins/biot-bd-hms/pyproject.toml plugins/biot-bd-things/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]" $(addprefix -e plugins/biot-bd-,tutorial clinical hms things)
	touch $@

clean:
	rm -rf $(VENV) demo-run docs/_build docs/examples docs/outside docs/reference
