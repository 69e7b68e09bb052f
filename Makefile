# The main commands are `make repro` and `make test`. They first build the environment in .venv.

PYTHON ?= python3
PROFILE ?=
BRANCH ?= main
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(BIN):$(PATH)
ifdef LATENTLAB_DATA
export LATENTLAB_DATA := $(shell cd "$(LATENTLAB_DATA)" 2>/dev/null && pwd || echo "$(LATENTLAB_DATA)")
endif

.DEFAULT_GOAL := env
.PHONY: env repro report test test-all lint format gate ci ui bench results reference screenshots lock clean help

env: $(READY)  ## build the environment (the other commands do this when necessary)

$(READY): requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' sh scripts/build-environment.sh $(VENV)
	@touch $@

repro: $(READY)  ## run the pipeline; PROFILE=fashion-mnist merges that profile first
	@dvc pull data.dvc </dev/null || { echo "dvc pull failed, see above. If data/ was changed on"\
	  "purpose, run \`dvc add data\` to keep the change." >&2; exit 3; }
	@$(if $(PROFILE),latentlab profile $(PROFILE))
	@latentlab fetch --dry-run >/dev/null  # check params.yaml first: DVC deletes outputs before a stage runs
	dvc repro
	@echo "report: $(CURDIR)/outputs/report/index.html"

report: $(READY)  ## open the report of the last run of the pipeline
	@test -f outputs/report/index.html || { echo "outputs/report/index.html is missing; run"\
	  "\`make repro\` first" >&2; exit 4; }
	@python -c "import pathlib, webbrowser as w; w.open(pathlib.Path('outputs/report/index.html').resolve().as_uri())"
	@echo "$(CURDIR)/outputs/report/index.html"

test: $(READY)  ## run the tests
	pytest -n auto --dist loadfile --no-loadscope-reorder

test-all: $(READY)  ## run all tests, including slow ones
	pytest -n auto --dist loadfile --no-loadscope-reorder -m "slow or not slow"

lint: $(READY)  ## check style, formatting, types and spelling
	ruff check .
	ruff format --check .
	mypy
	codespell

format: $(READY)  ## fix style and formatting
	ruff check --fix .
	ruff format .

gate: $(READY)  ## compare the metrics with the accepted baseline; AGAINST=main takes that of a revision
	latentlab gate $(if $(AGAINST),--against $(AGAINST)) $(if $(FORMAT),--format $(FORMAT))

ci:  ## run what CI runs for a pull request; BRANCH=main is the branch to merge into
	$(MAKE) lint
	$(MAKE) test
	$(MAKE) repro
	base=$$(git merge-base $(BRANCH) HEAD) && $(MAKE) gate AGAINST="$$base"

ui: $(READY)  ## open MLflow's UI and print the address of the runs
	@latentlab ui

bench:  ## compare speed with Lightning; builds its own environment
	@PYTHON='$(PYTHON)' sh benchmarks/run.sh

# for example: make results PROFILE=fashion-mnist STAGE=evaluate SEEDS="0 1 2" SET="train.model.latent_dim=4"
results: $(READY)  ## run SEEDS="0 1 2" of PROFILE and record them in docs/results.md; or record the outputs
	@$(if $(PROFILE),latentlab profile $(PROFILE))
	@for seed in $(SEEDS); do \
	    dvc exp run $(STAGE) -S runtime.seed=$$seed $(foreach value,$(SET),-S '$(value)') && \
	    python scripts/record_results.py || exit; \
	done
	@$(if $(SEEDS),,python scripts/record_results.py)

reference: $(READY)  ## write the generated pages of docs/reference and params.schema.json
	python scripts/generate_reference.py
	latentlab schema

screenshots: $(READY)  ## take the screenshots in docs/images; needs Chromium
	python scripts/screenshots.py

lock: $(READY)  ## update requirements.lock from pyproject.toml
	uv pip compile pyproject.toml --extra dev --generate-hashes --universal \
	    --python-version 3.11 --no-header --no-annotate --upgrade -q -o requirements.lock

clean:  ## delete the environment and caches, but no data, outputs or runs
	rm -rf $(VENV) .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*##/ {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
