# make run    the agent live on a log that a generator lets grow; make run LOG=/var/log/syslog follows that file instead
# make test   every test, on the installed wheel
# make lint   ruff
# make clean  removes .venv, caches and build output
PYTHON ?= python3
LOG ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Installs the checkout as a wheel, not in place, so that what runs is what is shipped.
WHEEL := $(PIP) install --no-deps --no-build-isolation --force-reinstall .

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help python run test lint clean

help:
	@sed -n '1,4s/^# //p' Makefile

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

run: $(VENV)/.cpu
	@$(WHEEL)
	@if [ -n "$(LOG)" ]; then exec $(BIN)/agent tail "$(LOG)" --from end --sink console:; else exec bash packaging/demo.sh $(BIN); fi

# With safe paths no import finds the checkout.
test: $(VENV)/.test
	@$(WHEEL)
	PYTHONSAFEPATH=1 $(BIN)/pytest tests

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
