# Everything is set up in .venv on first use; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help serve test check format simulate damage soak bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# A stamp file remembers which lock file an environment was made from.
$(VENV)/serve.stamp: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

serve: $(VENV)/serve.stamp ## run the server on http://127.0.0.1:8080, data in ./data
	$(BIN)/bitburst serve $(ARGS)

# Tests of one file share servers, so they stay together; the longest are of few tests, and would be
# left to one core if the files with the most came first.
test: $(VENV)/dev.stamp ## run the whole test suite, on up to four cores
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/dev.stamp ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## let ruff mend lint and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

damage: $(VENV)/dev.stamp ## flip each bit of a small store, and cut it at each byte; long, ARGS="--sample 2000"
	$(BIN)/python tests/damage/records.py
	$(BIN)/python tests/damage/damage.py $(ARGS)
	$(BIN)/python tests/damage/damage.py --kind truncations $(ARGS)
	$(BIN)/python tests/damage/damage.py --file log/high-water-mark $(ARGS)
	$(BIN)/python tests/damage/damage.py --file log/high-water-mark --kind truncations $(ARGS)
	$(BIN)/python tests/damage/damage.py --file snapshot/data.mdb --judge verify $(ARGS)
	$(BIN)/python tests/damage/damage.py --file snapshot/data.mdb --kind truncations $(ARGS)

soak: $(VENV)/dev.stamp ## half an hour of everything that can go wrong; ARGS="--seconds 60"
	$(BIN)/python tests/chaos/soak.py $(ARGS)

SEEDS ?= 1000
simulate: $(VENV)/dev.stamp ## run the ledger through crashes and faults; SEEDS=1000, ARGS="--first 0"
	PYTHONPATH=tests $(BIN)/python -m simulation run --seeds $(SEEDS) $(ARGS)

bench: $(VENV)/dev.stamp ## measure it against its peers; report in bench/report
	$(BIN)/python -m bench all $(ARGS)

lock: $(VENV)/dev.stamp ## bring both lock files up to date
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
	  --no-header --extra build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
	  --no-header --extra dev pyproject.toml -o requirements-dev.lock

clean: ## remove the environment and what tools left behind (never ./data)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis bench/report
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
