# Two commands on a fresh machine with Python 3.11 or newer, git and make:
#   make demo    learns from a small rendered video set; DATA=folder takes your own videos
#   make test    format, lint, types and tests; ends with pytest's closing line
# PYTHON=… names the interpreter that makes .venv; JOBS=… the number of test processes.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
JOBS ?= 2
PIP := .venv/bin/python -m pip --disable-pip-version-check install -c constraints.txt

.PHONY: help install demo test check format clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,4s/^# //p' Makefile
	@echo '  make check   format, lint and types only; make format mends the first two; make clean removes .venv'

install: .venv/.project

demo: .venv/.project
	.venv/bin/kinema demo $(if $(DATA),--data "$(DATA)")

test: check
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(JOBS) --dist loadfile

check: .venv/.development
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/.development
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:
	rm -rf .venv

# Each stamp stands for a finished step; an interrupted one is done again.
.venv/.created:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "kinema needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is not it." >&2; \
	  echo "Name one that is:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make a virtual environment: its modules venv and ensurepip are missing." >&2; \
	  echo "On Debian and Ubuntu:  sudo apt install python3-venv  (or name another with PYTHON=…)" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear .venv
	@touch $@

.venv/.project: .venv/.created pyproject.toml constraints.txt
	@echo 'Installing into .venv: torch first, then kinema (minutes, once)'
	$(PIP) torch
	$(PIP) -e .
	@touch $@

.venv/.development: .venv/.project
	$(PIP) --quiet -e '.[dev]'
	@touch $@
