# Everything runs in .venv, which the first command makes. Nothing else needs installing but
# Python 3.11 to 3.13 and make.

PYTHON ?= python3
PORT ?= 8000
# Test processes; `make test JOBS=1` for one.
JOBS ?= 2
# Arguments for pytest: make test ARGS="-k sliding"
ARGS ?=
# make experiments ONLY=sliding_window runs the scripts whose name holds this.
ONLY ?=
# make experiments CAMVID=path/to/CamVid makes the records that need its images, too.
CAMVID ?=

# make gpu MINUTES=60 OUT=runs/suite PACK=camvid.zip ARGS="--only patch"
MINUTES ?= 60
OUT ?= runs/suite
PACK ?=
# BUNDLE=folder: what is to leave a machine that keeps nothing; UNBUNDLE=folder: put back first
BUNDLE ?=
UNBUNDLE ?=

PY := .venv/bin/python
HAS_TORCH := import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, \
  'torch torchvision numpy PIL safetensors tqdm'.split())))
NBVAL := --nbval --nbval-cell-timeout=600 --nbval-sanitize-with=tests/sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help setup book html notebooks test lint format serve lab experiments bench gpu lock clean

help: ## this list
	@echo "make TARGET, from a fresh clone too:"
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  \1: \2/'

setup: ## make .venv and install requirements.txt, if that is not done
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "There is no $(PYTHON) on the PATH." \
	  "Install Python 3.11 to 3.13, or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" tools/setup.py

book: setup ## execute the notebooks that need it and render the book to _build/html
	@$(PY) -m tools.book book

html: setup ## render the committed outputs, without executing anything
	@$(PY) -m tools.book html

notebooks: setup ## execute every notebook again and save the outputs in book/
	@$(PY) -m tools.notebooks save

test: setup ## all tests, and every notebook's outputs against the committed ones
	@$(PY) -m tools.book book
	$(PY) -m pytest tests segcourse book -n $(JOBS) --dist loadfile \
	  -p tools.nbval_replay $(NBVAL) $(ARGS)

lint: setup ## what the linter and the formatter would change
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: setup ## let the linter and the formatter change it
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

serve: setup ## serve the rendered book at http://127.0.0.1:8000 (PORT=...)
	@$(PY) -m tools.book serve --port $(PORT)

lab: setup ## JupyterLab on the notebooks
	$(PY) -m jupyterlab --notebook-dir=book

experiments: setup ## remake the CPU records under results/ (ONLY=part of a name, CAMVID=its folder)
	@for script in experiments/*$(ONLY)*.py; do \
	  [ -e "$$script" ] || { echo "No script matches experiments/*$(ONLY)*.py"; exit 1; }; \
	  echo "== $$script"; $(PY) "$$script" || exit 1; done
	@if [ -n "$(CAMVID)" ]; then $(PY) experiments/with_data/camvid.py "$(CAMVID)"; \
	  else echo "The CamVid records stay as they are: make experiments CAMVID=its folder"; fi

bench: setup ## predicted against measured cost, on this machine
	@for script in benchmarks/*$(ONLY)*.py; do \
	  [ -e "$$script" ] || { echo "No script matches benchmarks/*$(ONLY)*.py"; exit 1; }; \
	  echo "== $$script"; $(PY) "$$script" || exit 1; done

# A GPU machine has a torch that fits its driver: a PYTHON with what the package needs is used as it
# is, and nothing is installed.
gpu: ## the suite of long runs, for MINUTES=60 into OUT=runs/suite, on the data in PACK=camvid.zip
	@began=$$(date +%s); \
	if "$(PYTHON)" -c "$(HAS_TORCH)" 2>/dev/null; then python="$(PYTHON)"; \
	  else $(MAKE) --no-print-directory setup && python=$(PY) || exit 1; fi; \
	exec "$$python" -m tools.gpu --minutes $(MINUTES) --began $$began --out "$(OUT)" \
	  $(if $(PACK),--data-pack $(PACK)) $(if $(BUNDLE),--bundle "$(BUNDLE)") \
  $(if $(UNBUNDLE),--unbundle "$(UNBUNDLE)") $(ARGS)

lock: setup ## resolve pyproject.toml into requirements.txt (UPGRADE=1 for the newest)
	@$(PY) -m tools.lock $(if $(UPGRADE),--upgrade)

clean: ## remove what is built; .venv stays
	rm -rf _build build dist .pytest_cache .ruff_cache .hypothesis
