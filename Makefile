# SPDX-License-Identifier: AGPL-3.0-or-later
# Two commands matter to a newcomer: `make demo` and `make test`. Everything else hangs on them.
SHELL := /bin/bash
PY := .venv/bin/python
export OMP_NUM_THREADS ?= 2

.PHONY: help demo setup setup-test test lint typecheck unit frontend-test soak bench clean

help:
	@echo "make demo   run the station on the simulated line, console on http://127.0.0.1:8000"
	@echo "make test   install everything, lint, type-check, run the whole test suite"
	@echo "make setup  install what the running station needs (idempotent)"
	@echo "make lint | soak | bench | anomalib | clean"

setup:
	@tools/setup.sh run

setup-test:
	@tools/setup.sh test

demo: setup
	@$(PY) -m station_app.cli demo $(ARGS)

test: setup-test lint frontend-test unit

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/pyright

frontend-test:
	cd station_app/frontend && npm run --silent check && npm run --silent test

# First everything that may share the machine, then the whole-line tests one at a time.
unit:
	$(PY) -m pytest -m "not soak and not serial and not gpu" -n 2 --dist loadfile
	$(PY) -m pytest -m "serial and not soak and not gpu"

soak: setup-test
	$(PY) -m pytest -m soak --timeout 7200

# anomalib brings 45 packages and a second OpenCV that would take the place of ours: an environment of its own.
anomalib: setup-test
	$(PY) -m venv build/anomalib
	$(PY) -c "import site; print(site.getsitepackages()[0])" > "$$(echo build/anomalib/lib/python3*/site-packages)/gatesight.pth"
	build/anomalib/bin/python -m pip install --quiet "anomalib>=2.7,<2.8"
	build/anomalib/bin/python -m pip uninstall --quiet --yes opencv-python-headless
	build/anomalib/bin/python -m pytest -p no:cacheprovider tests/teach/test_anomalib.py --timeout 1800

bench: setup-test
	@mkdir -p build/benchmarks
	@for name in overhead gil; do \
	  echo "== benchmarks.$$name"; $(PY) -m benchmarks.$$name --json build/benchmarks/$$name.json || exit 1; done

clean:
	rm -rf .venv build cameras/simulator/_build station_app/static/dist station_app/frontend/node_modules
