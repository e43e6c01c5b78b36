# Everything here works from a fresh clone with Python 3.11 or newer, make and pip; .venv is made on demand.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
DATA ?=
OUT ?= runs/demo
SLOW ?=
BENCH ?=
SECONDS ?= 300
CONSTRAINTS ?= constraints.txt
# One process more than cores, eight at most: some tests wait for others, for peers or for the disk.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(min(8, (os.cpu_count() or 2) + 1))")
PYTEST := pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
CHOSEN = $(if $(SLOW),$(if $(filter only,$(SLOW)),-m slow),-m "not slow and not peers and not ci")

.DEFAULT_GOAL := help
.PHONY: help demo test coverage snapshots schemas docs lint format fuzz model bench bench-quick sbom audit-dependencies clean

help:           ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-18s %s\n", $$1, $$2}'

demo: $(READY)  ## The whole way, on phantoms or on DATA=folder: train, evaluate, report
	$(BIN)/hilum demo $(DATA) --out $(OUT)

test: $(READY)  ## All tests that take seconds; SLOW=1 runs all, SLOW=only the long ones alone, SLOW=full all at full size
	$(if $(filter full,$(SLOW)),HILUM_TESTS=full) $(BIN)/python -m $(PYTEST) $(CHOSEN)

coverage: $(READY)  ## The tests that take seconds, those of the node included, and how much of the source they run: lines and branches
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m $(PYTEST) -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

snapshots: $(READY)  ## Keep today's wording of messages, help and reports (SLOW=1: of long tests, too); look at the diff
	$(BIN)/python -m $(PYTEST) --renew-snapshots $(CHOSEN)

schemas: $(READY)  ## Write docs/schemas: the JSON Schema of what commands write
	for kind in audit findings metrics prediction; do $(BIN)/hilum schema $$kind | $(BIN)/python -m json.tool > docs/schemas/$$kind.json; done

docs: $(READY)  ## The documentation as a site: site/index.html; a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: $(READY)  ## Style, types, and the words and sentences of the documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/prose.py

fuzz: $(READY)  ## Damaged inputs of every kind for SECONDS (300); what is answered wrongly stays in tests/corpus
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev,fuzz]'
	PYTHONPATH=tests $(BIN)/python -m fuzzing --seconds $(SECONDS)

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

model: $(READY) ## Rebuild a model that comes with hilum: NAME=paediatric-pneumonia|adult-pneumonia DATA=seed-cxr|darkcovidnet
	$(BIN)/python -m hilum.exporting.pretrained $(or $(NAME),paediatric-pneumonia) \
	    $(or $(DATA),../shared/data/$(if $(filter adult-pneumonia,$(NAME)),darkcovidnet,seed-cxr))

bench: $(READY)  ## Everything measured, side by side in one run, into benchmarks/results; BENCH=options
	$(BIN)/python -m benchmarks $(BENCH)

bench-quick: $(READY) ## The same in five minutes: few repeats, short trainings
	$(BIN)/python -m benchmarks --quick $(BENCH)

sbom: $(READY)  ## Bill of materials in CycloneDX: build/sbom.json
	$(BIN)/python -m supply_chain.sbom build/sbom.json

audit-dependencies: $(READY) ## Known vulnerabilities of what is pinned; says so where the database cannot be reached
	test -x build/pip-audit/bin/pip-audit || { $(PYTHON) -m venv build/pip-audit && \
		build/pip-audit/bin/python -m pip install --quiet pip-audit==2.10.1; }
	$(BIN)/python -m supply_chain.vulnerabilities build/pip-audit/bin/pip-audit

clean:          ## Remove what make has made; your runs stay
	rm -rf .venv runs/demo build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null || \
		{ echo "hilum needs Python 3.11 or newer; found: $(PYTHON). Set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing hilum into .venv: a minute or two, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@
