# `make demo` and `make test` do everything from a bare clone. Python 3.11, a C++ compiler and make are all they need.
PYTHON ?= $(shell for p in python3.11 python3 python; do "$$p" -c '' 2>/dev/null && { echo "$$p"; break; }; done)

# Files of tests at a time. Many tests wait for servers and processes that start; those that work use all cores anyway.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench images containers clean

help:  ## what there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

setup:  ## the environment in .venv and the Horovod wheel; returns at once where they are there
	@[ -n "$(PYTHON)" ] || { echo "setup: no Python found; install Python 3.11, or: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" infra/setup/bootstrap.py

demo: setup  ## the whole flow on generated footage, offline
	@.venv/bin/sightline demo

test: setup  ## every test, lint and import rules among them (ARGS="-k name" for some)
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

bench: setup  ## the measurements of bench/
	@.venv/bin/python -m bench $(ARGS)

images:  ## the container images (docker/README.md); ARGS="serve edge" for some
	@"$(PYTHON)" docker/build.py $(ARGS)

containers: setup  ## every image built, the demo run in them, compared byte for byte; fails without an engine
	@"$(PYTHON)" docker/build.py
	@SIGHTLINE_CONTAINERS=1 .venv/bin/python -m pytest -q tests/docker tests/infra tests/e2e/test_containers.py $(ARGS)

clean:  ## removes .venv and build leftovers; keeps the caches, data/ and .sightline/
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
