# make train | test | coverage | lint | docs | bench | gpu-check: each builds the virtual environment
# when it has to.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
RUN ?= runs/metarims-$(shell date +%Y%m%d-%H%M%S)
FRAMES ?= 500000

.PHONY: train test coverage lint docs bench gpu-check

train: $(STAMP)
	$(VENV)/bin/python run.py train --env MiniGrid-DoorKey-5x5-v0 --agent metarims --frames $(FRAMES) --until 0.98 --seed 1 --out $(RUN)
	$(VENV)/bin/python run.py evaluate $(RUN) --episodes 500 \
		--env MiniGrid-DoorKey-5x5-v0 MiniGrid-DoorKey-6x6-v0 MiniGrid-DoorKey-8x8-v0

test: lint
	$(VENV)/bin/python -m pytest -n auto --dist worksteal

coverage: $(STAMP)
	$(VENV)/bin/python -m pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet --site-dir site

gpu-check: $(STAMP)
	$(VENV)/bin/python -m tests.gpu_check

bench: $(VENV)/.peers
	$(VENV)/bin/python run.py bench envs
	$(VENV)/bin/python run.py bench agents
	$(VENV)/bin/python run.py bench train

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cuda]'
	touch $@

$(VENV)/.peers: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	touch $@
