# make demo   sets up, then pretrains, fine-tunes and draws a CHRO-map on the embedded phantom
# make test   sets up, then runs the whole test suite
# make docs   sets up, then builds the site into build/docs
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint docs bench clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("densecf needs Python 3.11 or later, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,dev,docs]'
	touch .venv/.ready

demo: setup
	$(BIN)/densecf pretrain --method s-mvd-cl
	$(BIN)/densecf finetune --folds 5
	$(BIN)/densecf chromap data/phantom/examples/effusion.png

test: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy densecf

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo 'Open build/docs/index.html'

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist *.egg-info
