# make demo   sets up, then pretrains, fine-tunes and draws a CHRO-map on the embedded phantom
# make test   sets up, then runs the whole test suite
# make docs   sets up, then builds the site into build/docs
# make chaos  sets up, then kills every command, fills its disk, and spoils every file that it reads: an hour or more
# make notebooks   sets up, then runs the notebooks from their sources
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint docs notebooks bench chaos clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("densecf needs Python 3.11 or later, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,dev,docs,notebooks]'
	touch .venv/.ready

demo: setup
	$(BIN)/densecf pretrain --method s-mvd-cl
	$(BIN)/densecf finetune --folds 5
	$(BIN)/densecf chromap data/phantom/examples/effusion.png

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy densecf

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo 'Open build/docs/index.html'

notebooks: setup
	$(BIN)/python notebooks/make.py

bench: setup
	$(BIN)/python -m benchmarks

chaos: setup
	$(BIN)/python -m chaos

clean:
	rm -rf .venv build dist *.egg-info
