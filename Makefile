# Everything a fresh machine with Python 3.11, pip and make needs. `make demo` and `make test` set up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

FUZZ_SECONDS ?= 600

.PHONY: demo test check docs bench fuzz clean

demo: $(STAMP)  ## quantize, compile, run and profile the digits model
	$(BIN)/python -m furc.zoo.digits.demo

test: $(STAMP) check  ## lint, types and tests
	$(BIN)/python -m compileall -q furc passes isa  # what was edited since: tests start furc many times
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2  # two processes have two cores between them

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)  ## regenerate what docs/ derives from the code
	$(BIN)/python -m isa.documentation isa > docs/isa.md
	$(BIN)/python -m isa.documentation timing > docs/timing.md
	$(BIN)/python -m isa.documentation enf > docs/enf.md
	$(BIN)/python tests/passes/ir_documentation.py  # docs/ir.md
	$(BIN)/python -m furc.operators > docs/operators.md
	$(BIN)/python -W ignore tests/conformance/conformance_page.py  # docs/conformance.md, half a minute

bench: $(STAMP)  ## speed and memory, and the fidelity table
	$(BIN)/python -m pytest benchmarks
	$(BIN)/python -m benchmarks.fidelity

fuzz: $(STAMP)  ## look for inputs that furc does not survive, FUZZ_SECONDS for each kind of input
	$(BIN)/python tests/fuzz/harness.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out fuzz-found

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m compileall -q furc passes isa  # where Python may write no bytecode, every start reads the sources
	touch $(STAMP)
