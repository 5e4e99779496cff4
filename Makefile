# Needs Python 3.10 or later with venv, and a C++17 compiler. Everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Python compiles what it imports; to compile all that is installed takes a minute.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check -q install --no-compile -c constraints.txt
# The editable install knows files by name: a folder changes when a file of Python comes or goes.
FOLDERS := $(filter-out %__pycache__/,$(wildcard src/*/ src/thinned/*/))
# Tests run in a process for each core, each of which computes with one thread: threads that wait for cores spin.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*) $(FOLDERS)

.PHONY: compare test test-browser test-gpu lint bench bench-gpu evidence install docs sanitize clean

compare: .venv/installed  ## train without dropout, with torch's and with ours on handwritten digits; leaves a report
	$(BIN)/thinned compare

test: .venv/developer  ## all tests, doctests included
	$(PYTEST)

test-browser: .venv/browser  ## the pages of the laboratory in a real Chromium, which must be installed
	$(PYTEST) tests/test_browser.py -m browser

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed  ## the correctness gate, then every case; writes benchmarks/results/
	$(BIN)/python -m benchmarks

evidence: .venv/installed  ## DATA=DIR: the published networks on MNIST; hours in all, goes on where it was stopped
	$(if $(DATA),,$(error DATA must be given: make evidence DATA=DIR, the folder with the four files of MNIST))
	$(BIN)/python -m benchmarks.evidence --data "$(DATA)"

# On a machine with a GPU and without registries. What these need is installed there: torch, triton, nanobind,
# scikit-build-core, cmake, ninja; and pytest, hypothesis and the lab extra for the tests.
install:
	$(PYTHON) -m pip install -q --no-build-isolation --no-deps .

test-gpu: install  ## all tests; those that are not about the CPU make their tensors on the GPU
	$(PYTHON) -m pytest --device cuda tests

bench-gpu: install  ## copy bandwidth first; writes benchmarks/results/
	$(PYTHON) -m benchmarks.gpu

docs: .venv/developer
	$(BIN)/mkdocs build --strict

sanitize:  ## the C++ kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	tests/cpp/sanitize

clean:
	rm -rf .venv build dist site runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv; the first time takes a minute or two."
	$(INSTALL) pip

.venv/installed: .venv/bin/python $(SOURCES)
	$(INSTALL) --group build
	$(INSTALL) --no-build-isolation -e '.[lab]'
	@touch $@

.venv/developer: .venv/installed
	$(INSTALL) --group test --group lint --group docs
	@touch $@

.venv/browser: .venv/developer
	$(INSTALL) --group browser
	@touch $@
