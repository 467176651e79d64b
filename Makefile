# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-run
SEED ?= 0
N ?= 2000
# Two stamps: the core, which the demo needs, and the tools of the tests with the plugins.
CORE := $(VENV)/.core
INSTALLED := $(VENV)/.installed
# MLflow wants another pyarrow and brings forty packages: its plugin has an environment of its own.
HEAVY := plugins/biot-bd-mlflow
PLUGINS := $(filter-out $(HEAVY),$(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
MLFLOW ?= build/mlflow
# Two processes with one thread each: tiny models gain nothing from threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
# These load OpenVINO and onnxruntime: in processes of their own, as a worker that is forked beside them crashed.
ENGINES := tests/export tests/commands/test_export_command.py tests/test_docs_deploy.py \
	$(addprefix tests/deploy/test_,light_path.py engine_choice.py engine_bench.py engines.py)
SITE ?= docs/_build/html
PEERS ?= build/peers
# Where `make runtime` makes an environment without torch; removed before and after.
RUNTIME ?= build/runtime
# Where `make dist` builds packages and tries them; its environments are removed after.
DIST ?= build/dist

.PHONY: demo test test-slow runtime mlflow dist fuzz audit docs linkcheck pictures peers browser lint bench install clean

demo: $(CORE)
	$(BIN)/biot-bd demo $(DEMO) --seed $(SEED)

# The examples in docstrings are tests, too; the site is built without its gallery, which test-slow runs.
test: $(INSTALLED) lint
	$(PYTEST) --durations 20 tests $(PLUGINS) $(addprefix --ignore=,$(ENGINES))
	$(PYTEST) $(ENGINES)
	$(PYTEST) --doctest-modules biot_bd $(addsuffix /src,$(PLUGINS))

test-slow: $(INSTALLED) browser mlflow
	$(PYTEST) tests $(PLUGINS) -m slow $(addprefix --ignore=,$(ENGINES))
	$(PYTEST) $(ENGINES) -m slow

mlflow:
	rm -rf $(MLFLOW)
	$(PYTHON) -m venv $(MLFLOW)
	$(MLFLOW)/bin/python -m pip install --quiet -c constraints.txt torch
	$(MLFLOW)/bin/python -m pip install --quiet -c requirements/mlflow.txt -e ".[hub]" -e $(HEAVY) pytest hypothesis
	OMP_NUM_THREADS=1 $(MLFLOW)/bin/python -m pytest --doctest-modules $(HEAVY) -m "slow or not slow"
	rm -rf $(MLFLOW)

# An environment without torch, in a fresh folder: it detects, streams and scores with exported models as torch does.
runtime: $(INSTALLED)
	rm -rf $(RUNTIME)
	$(PYTHON) -m venv $(RUNTIME)/venv
	$(RUNTIME)/venv/bin/python -m pip install --quiet -c constraints.txt -r requirements/runtime.txt onnxruntime openvino
	$(RUNTIME)/venv/bin/python -m pip install --quiet --no-deps .
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -W ignore tests/runtime/make_models.py $(RUNTIME)/work $(RECORDINGS) >/dev/null
	cd $(RUNTIME) && venv/bin/python $(CURDIR)/tests/runtime/try_runtime.py $(abspath $(RUNTIME))/work
	rm -rf $(RUNTIME)

# Wheels and sdists, installed and used in fresh environments: the core, each extra alone, the lowest versions, Python 3.13.
dist: $(INSTALLED)
	rm -rf $(DIST)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/release/try_dist.py $(DIST)

# N damaged inputs for each reader; what is found is printed as seed and number.
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz/fuzz_frame.py --n $(N) --seed $(SEED)

# Known vulnerabilities of the pinned packages, by pip-audit in an environment of its own; says what was not looked up.
AUDIT ?= build/audit
audit:
	test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet pip-audit; }
	$(AUDIT)/bin/python tests/audit_packages.py constraints.txt $(ARGS)

# Runs the gallery; a warning is an error. Needs no network.
docs: $(INSTALLED)
	$(BIN)/python -W ignore -m sphinx -b html -q -W --keep-going docs $(SITE)
	@echo "$(SITE)/index.html"

# Draws the pictures of the documentation; those of a study are made by it, and its command is printed.
pictures: $(INSTALLED)
	$(BIN)/python benchmarks/pictures.py

# Asks every address that a page of the site names; needs the network, so no other target calls it.
linkcheck: $(INSTALLED)
	$(BIN)/python -W ignore -m sphinx -b linkcheck -q --keep-going -D plot_gallery=0 docs docs/_build/linkcheck

# The checks of docs/peers.md against the releases that they name, in a folder of their own.
peers: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --target $(PEERS) --no-deps --ignore-requires-python -r benchmarks/peers/requirements.txt
	OMP_NUM_THREADS=1 PYTHONPATH=$(PEERS) $(BIN)/python -m pytest -m peers tests/test_peers.py
	rm -rf $(PEERS)

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

$(CORE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(INSTALLED): $(CORE) $(addsuffix /pyproject.toml,$(PLUGINS))
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]" $(addprefix -e ,$(PLUGINS))
	touch $@

clean:
	rm -rf $(VENV) demo-run docs/_build docs/commands docs/examples docs/learn docs/outside docs/reference
