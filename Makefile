# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-slow lint format docs clean

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --constraint constraints.txt torch
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The agent's model: OPENAI_BASE_URL in the environment, or make demo GGUF=MODEL.gguf; else a replay of a recorded run.
demo: $(VENV)/installed
	OMP_NUM_THREADS=2 GGUF="$(GGUF)" $(RUN) -m scripts.demo

# The pages are also tried out in a browser if there is one: apt-get install --no-install-recommends chromium
test: lint
	$(RUN) -m pytest -n 2 --dist worksteal --durations=15

test-slow: $(VENV)/installed
	OMP_NUM_THREADS=2 $(RUN) -m pytest -m slow --durations=15

lint: $(VENV)/installed
	$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy

format: $(VENV)/installed
	$(RUN) -m ruff check --fix . ; $(RUN) -m ruff format .

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo 'the documentation is in site/index.html; its search needs a server: python -m http.server -d site'

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache
