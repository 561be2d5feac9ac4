# Every target does its own set-up and is safe to repeat.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_DISABLE_XET := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_DISABLE_UPDATE_CHECK := 1
export HF_UPDATE_DOWNLOAD_COUNTS := 0

.PHONY: quickstart test lint bench clean

quickstart: .venv/installed
	$(BIN)/hf-listops quickstart --out outputs/quickstart

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	mkdir -p results/benchmarks
	$(BIN)/python benchmarks/generator_speed.py | tee /dev/stderr | tail -n 1 > results/benchmarks/generator_speed.json
	$(BIN)/python benchmarks/training_speed.py | tee /dev/stderr | tail -n 1 > results/benchmarks/training_speed.json

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[hub,interp,report,test,track]'
	touch $@

clean:
	rm -rf .venv outputs
