# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/demo

.PHONY: help setup demo test test-full tables lint docs bench lock clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP)  ## Build .venv with the pinned requirements and this package

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "voxcert needs Python 3.11 or newer; choose one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps wespeaker-unofficial==0.0.2 speakerlab==0.0.6
	@$(BIN)/uv pip install --quiet --python $(BIN)/python pesq==0.0.4 || echo "PESQ is left out: it needs a C compiler"
	@touch $@

demo: $(STAMP)  ## Train, watch certified accuracy, export, certify: the main job on synthetic voices
	rm -rf $(DEMO)
	$(BIN)/python train.py fit --config configs/train/demo.yaml 
	$(BIN)/voxcert export $(DEMO)/train/last.ckpt $(DEMO)/checkpoint
	$(BIN)/python certify.py --checkpoint $(DEMO)/checkpoint --config configs/certify/espeak.yaml --output_dir $(DEMO)/certify

test: $(STAMP)  ## Run the tests
	$(BIN)/python -m pytest -m "not slow"

test-full: $(STAMP)  ## Run the tests, the slow soundness and training ones too
	$(BIN)/python -m pytest

tables: $(STAMP)  ## Draw the tables and figures of the docs from the rows in docs/results
	$(BIN)/python docs/tables.py

lint: $(STAMP)  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(STAMP)  ## Build the documentation as a site in runs/site; anything broken is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(STAMP)  ## Measure the speed of certifier, encoders, SSED and inversion; JSON in benchmarks/results
	$(BIN)/python benchmarks/bench_certify.py
	$(BIN)/python benchmarks/bench_encoders.py
	$(BIN)/python benchmarks/bench_onnx.py
	$(BIN)/python benchmarks/bench_memory.py
	$(BIN)/python benchmarks/bench_ssed.py
	$(BIN)/python benchmarks/bench_inversion.py

lock:  ## Pin the newest versions that fit pyproject.toml (maintainers)
	$(BIN)/uv pip compile --universal --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:  ## Remove the virtual environment
	rm -rf $(VENV)
