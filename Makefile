# Every command of this repository. `make` alone prints what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo dashboard lab test slow faults check bench pictures notebooks
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
DATASET = toy
PORT = 8501
SERVE = 1
WORKERS = 2
TORCH_INDEX =

BIN := .venv/bin

help: ## print this
	@echo 'make TARGET [NAME=VALUE ...]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  DATASET=toy        for demo: toy, ml-100k, ml-1m'
	@echo '  SERVE=1            for demo: 0 stops before the dashboard'
	@echo '  PORT=8501          for demo and dashboard'
	@echo '  WORKERS=2          for test: how many processes'
	@echo '  TORCH_INDEX=URL    take torch from this package index (README: CPU only, CUDA)'
	@echo '  PYTHON=python3     what makes .venv; 3.11 or later'

demo: .venv/installed-demo ## train, evaluate and decode on DATASET, then open the dashboard
	@$(BIN)/workbench demo --dataset '$(DATASET)'
	@$(if $(filter 0,$(SERVE)),,$(MAKE) dashboard PORT='$(PORT)')

dashboard: .venv/installed-demo ## serve the dashboard at http://127.0.0.1:PORT
	@echo 'The dashboard is at http://127.0.0.1:$(PORT); Ctrl-C ends it.'
	@exec $(BIN)/streamlit run dashboard.py --server.headless true \
	    --server.address 127.0.0.1 --server.port '$(PORT)'

lab: .venv/installed-lab ## open JupyterLab on notebooks/
	@exec $(BIN)/jupyter lab --notebook-dir notebooks

test: .venv/installed-test ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS)

slow: .venv/installed-test ## run the tests that take minutes each
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

faults: .venv/installed-test ## kill, fill, break: tests/faults in full, with its counts
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s -n 0 -m 'slow or not slow' tests/faults

check: .venv/installed-check ## format, lint, types, import directions, notebooks, documents, recorded trajectories
	@status=0; \
	$(BIN)/ruff format --check --quiet . || status=1; \
	$(BIN)/ruff check --quiet . || status=1; \
	$(BIN)/pyright || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	$(BIN)/python -m pytest -q -n 0 tests/test_repository.py || status=1; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 0 -m slow tests/diffsasrec/test_trajectories.py || status=1; \
	exit $$status

bench: .venv/installed-test ## run benchmarks/, one after another
	@for each in $(wildcard benchmarks/*.py); do $(BIN)/python "$$each"; done

pictures: .venv/installed-test ## take README's pictures and animation anew, from the runs of `make demo`
	@$(BIN)/python docs/pictures/take.py

notebooks: .venv/installed-lab .venv/installed-check ## pair each notebook with its .py, formatted, without outputs
	@$(BIN)/jupytext --quiet --sync notebooks/*.ipynb
	@$(BIN)/ruff format --quiet notebooks
	@$(BIN)/jupytext --quiet --sync notebooks/*.ipynb
	@$(BIN)/jupyter nbconvert --clear-output --inplace --log-level ERROR notebooks/*.ipynb

# ---- set-up: one stamp for each set of extras, so that a second call costs nothing

EXTRAS_demo  := workbench,dashboard
EXTRAS_lab   := workbench,lab
EXTRAS_test  := workbench,dashboard,test
EXTRAS_check := workbench,dashboard,test,check

ifneq ($(TORCH_INDEX),)
# torch alone comes from the index that was named: the rest of such an index lags behind constraints.txt.
TORCH := .venv/torch-from-$(subst /,_,$(subst :,_,$(TORCH_INDEX)))
$(TORCH): | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --force-reinstall --no-deps \
	    --index-url '$(TORCH_INDEX)' "$$(grep '^torch==' constraints.txt)"
	@rm -f .venv/torch-from-*
	@touch $@
endif

.PRECIOUS: .venv/installed-%
.venv/installed-%: pyproject.toml constraints.txt | $(BIN)/python $(TORCH)
	@echo 'installing $(EXTRAS_$*) into .venv'
	@$(BIN)/python -m pip install --disable-pip-version-check $(if $(wildcard .venv/installed-*),--quiet) \
	    -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') -e '.[$(EXTRAS_$*)]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or later is needed; name one: make PYTHON=/path/to/python3.12 ...' >&2; exit 2; }
	$(PYTHON) -m venv .venv
