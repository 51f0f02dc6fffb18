# On a fresh machine: `make install` to use it, `make demo` to see it, `make test` to work on it. Each sets up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIGHT := $(VENV)/.light

.PHONY: install demo test test-all lint format bench docs clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(LIGHT): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt .
	touch $@

## what it takes to use it, without what it takes to work on it
install:
	test -e $(READY) || $(MAKE) $(LIGHT)

## make a scene, segment it, say how well that went and where the GeoPackage is
demo: install
	$(BIN)/landweave demo --out demo-run

## the tests that take minutes, on up to four cores
test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not browser and not qgis" --numprocesses auto --maxprocesses 4 --dist worksteal

## all of them: also slow ones, QGIS and a browser; two at once, for many start processes of their own
test-all: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m benchmarks.house

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## end to end and by stage, as ratios to the bare network and to a pure read + write pass
bench: $(READY)
	$(BIN)/python -m benchmarks.end_to_end

## the documentation as pages in site/, whose every link leads somewhere; neither building nor reading asks another host
docs: $(READY)
	$(BIN)/python -m docs.build

clean:
	rm -rf $(VENV) demo-run build site *.egg-info
