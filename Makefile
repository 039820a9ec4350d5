# Each target sets up what it needs from nothing but Python 3.11+ and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install browser demo test check bench soak clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

install: $(STAMP)  ## make .venv with Lamplighter, the llama.cpp engine and the tools of development

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lamplighter needs Python 3.11 or later; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.3'
	$(BIN)/python -m pip install --quiet --editable '.[llamacpp,alarms,keyring,page]' --group dev
	touch $@

demo: install  ## wake a real language model with a request, and watch it go to sleep again
	$(BIN)/lamplighter demo $(ARGS)

browser:  ## install Chromium, which tests of the page are run in, where this may be done; without it they are skipped
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	  || echo "No Chromium, and no right to install it: tests of the page are skipped. apt-get install chromium"

test: install browser  ## run all tests
	$(BIN)/python -m pytest -n auto $(ARGS)

check: install  ## lint, formatting, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## measure; ONLY=gateway,hold,fleet,cli,sdk,production,costs,page runs some groups
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

soak: install  ## half an hour at half rate with a fault every second; MINUTES=3 is shorter, Ctrl-C ends it with what it has
	$(BIN)/python -m tests.bench --only soak $(if $(MINUTES),--minutes $(MINUTES))

clean:  ## remove what the other targets made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
