# What a newcomer needs: `make demo` and `make test` set everything up by themselves in .venv.
# Needs on the machine: Python >= 3.10 with venv, a C compiler, make. CMake and Ninja come with the build.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
# edgelm itself is built by pip, so that the editable install and the wheel take the same road.
EXTRAS := cli,onnx,tflite,export,train,dev
NATIVE := $(wildcard runtimes/native/CMakeLists.txt runtimes/native/src/*)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check wheels arm arm-test arm-gate arm-report accuracy clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.installed ## make the virtual environment with everything in it

demo: $(VENV)/.installed ## export the bundled model, find faces in photos with it, time it
	$(BIN)/python -m edgelm.cli.demo --output $(OUT)

test: check ## check, and run all tests
	$(BIN)/pytest $(PYTEST_ARGS)

check: $(VENV)/.installed ## lint, formats and types
	PATH="$(abspath $(BIN)):$$PATH" .ci/check.sh

wheels: $(VENV)/.wheels ## build the wheels for x86-64 and ARM, 64 and 32 bit, into dist/; MUSL=1 for Alpine too
	$(BIN)/python .ci/wheels.py --selftest $(if $(MUSL),--musl)

arm: wheels ## make emulated Raspberry Pis in .arm, with Debian, the engines and our wheel: .arm/pi4/python and others
	$(BIN)/python .ci/arm/make_room.py

arm-test: arm $(VENV)/.installed ## test there: self-tests, files against x86, commands; FULL=1: all tests without torch, too
	$(BIN)/python .ci/arm/run_tests.py $(if $(FULL),--full)

arm-gate: arm $(VENV)/.installed ## fail where two small networks take over 1 % more instructions there than recorded
	$(BIN)/python benchmarks/arm/gate.py

arm-report: arm $(VENV)/.installed ## count instructions there, ours and other engines', into docs/arm-speed.md
	$(BIN)/pip install --quiet ai-edge-quantizer
	$(BIN)/python benchmarks/arm/report.py

accuracy: $(VENV)/.installed ## train and measure the rows missing in the tables of accuracy; DATA=FACES, POSES=PEOPLE, each with train/ and val/
	@: $(or $(DATA),$(POSES),$(error which photos? make accuracy DATA=FACES or POSES=PEOPLE or both))
	$(if $(DATA),$(BIN)/python benchmarks/accuracy.py $(DATA))
	$(if $(POSES),$(BIN)/python benchmarks/pose_accuracy.py $(POSES))

clean: ## remove what building, testing and the demo made; .venv and .arm stay
	rm -rf .build build dist $(OUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .coverage
	find edgelm export models runtimes tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: edgelm needs Python 3.10 or newer, $(PYTHON) is older; say make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "make: $(PYTHON) has no venv; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || \
	  { echo "make: no C compiler here; on Debian and Ubuntu: sudo apt install gcc"; exit 1; }
	@echo "== making $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)

# Alone and first: the plain version is the CPU build where one is offered, and any other order lets a dependency pull
# in a newer torch with gigabytes of GPU libraries.
$(VENV)/.torch: | $(VENV)/bin/python
	@echo "== installing torch (a few hundred MB)"
	$(BIN)/pip install --quiet torch==2.13.0
	@touch $@

$(VENV)/.installed: pyproject.toml $(NATIVE) | $(VENV)/.torch
	@echo "== building edgelm and installing what it needs"
	$(BIN)/pip install --quiet -e ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.wheels: pyproject.toml | $(VENV)/bin/python
	@echo "== installing what builds wheels"
	$(BIN)/pip install --quiet -e ".[wheels]"
	@touch $@
