# make run    the agent live on a log that a generator lets grow; make run LOG=/var/log/syslog follows that file instead
# make test   every test, on the installed wheel; make test-agent those of the agent, without torch, on any PYTHON
# make soak   the agent on 200 logs that are rotated while it is killed at random, then random histories; 10 minutes and more;
#             SOAK_SECONDS, HISTORIES and AGENT_HISTORIES say how long and how many
# make lint   ruff (rules and format) and mypy
# make clean  removes .venv, caches and build output
PYTHON ?= python3
LOG ?=
SOAK_SECONDS ?= 600
HISTORIES ?= 10000
AGENT_HISTORIES ?= 500
FUZZ_SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Installs the checkout as a wheel, not in place, so that what runs is what is shipped.
WHEEL := $(PIP) install --no-deps --no-build-isolation --force-reinstall .

# Some tests wait: one more at a time than there are processors.
TESTS ?= tests
WORKERS ?= $(shell expr 1 + $$(nproc))
AT_ONCE = -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

unexport ODDLINE_WITHOUT_TORCH # only test-agent is meant to lack torch

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help python run test test-agent coverage bundles soak fuzz lint clean

help:
	@sed -n '1,6s/^# //p' Makefile

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "oddline needs Python 3.11 or newer; $(PYTHON) is not: name one, as in make test PYTHON=python3.11" >&2; exit 1; }

# The two environments are one: `make test` adds to what `make run` needs, which is without torch.
$(VENV)/.cpu: pyproject.toml constraints.txt | python
	@echo "making $(VENV)"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt hatchling '.[cpu]'
	touch $@

$(VENV)/.test: $(VENV)/.cpu
	@echo "adding what training and the tests need to $(VENV)"
	$(PIP) install -c constraints.txt '.[cpu,train,dev]'
	touch $@

$(VENV)/.agent: $(VENV)/.cpu
	$(PIP) install -c constraints.txt '.[cpu,dev]'
	touch $@

run: $(VENV)/.cpu
	@$(WHEEL)
	@if [ -n "$(LOG)" ]; then exec $(BIN)/agent tail "$(LOG)" --from end --sink console:; else exec bash packaging/demo.sh $(BIN); fi

# With safe paths no import finds the checkout.
test: $(VENV)/.test
	@$(WHEEL)
	PYTHONSAFEPATH=1 $(BIN)/pytest $(AT_ONCE) $(TESTS)

# The tests of the agent need no torch: PYTHON names any version from 3.11 on, and VENV another environment.
test-agent: $(VENV)/.agent
	@$(WHEEL)
	ODDLINE_WITHOUT_TORCH=1 PYTHONSAFEPATH=1 $(BIN)/pytest $(AT_ONCE) tests/agent tests/project/test_layers.py tests/histories/test_tail_histories.py

# Which branches the tests take, of what runs in their own processes.
coverage: $(VENV)/.test
	@$(WHEEL)
	PYTHONSAFEPATH=1 $(BIN)/pytest $(AT_ONCE) --cov --cov-report=term-missing:skip-covered $(TESTS)

# The bundles of tests/bundles, made anew.
bundles: $(VENV)/.test
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -m helpers.recipes

# Every part runs, whatever the one before found, and Ctrl-C ends one; ODDLINE_SEED and SOAK_SEED repeat one.
soak: $(VENV)/.test
	@$(WHEEL)
	@code=0; trap : INT; export OMP_NUM_THREADS=1; \
	echo "== the agent on many logs, for $(SOAK_SECONDS) s"; \
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python benchmarks/soak.py || code=1; export PYTHONSAFEPATH=1; \
	echo "== $(HISTORIES) random histories of a log"; \
	ODDLINE_HISTORIES=$(HISTORIES) $(BIN)/pytest --timeout=0 tests/histories/test_tail_histories.py || code=1; \
	echo "== $(AGENT_HISTORIES) random histories of the agent"; \
	ODDLINE_AGENT_HISTORIES=$(AGENT_HISTORIES) $(BIN)/pytest --timeout=0 tests/histories/test_agent_histories.py || code=1; \
	exit $$code

# With safe paths no import finds the checkout's agent; the targets are in tests/.
fuzz: $(VENV)/.test
	@$(WHEEL)
	$(PIP) install -c constraints.txt '.[fuzz]'
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
