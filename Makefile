# The same targets for people and for CI. Everything happens in a virtual environment of the checkout.

PYTHON ?= python3
VENV ?= .venv
# Without a CUDA device this version takes a CPU build; override it for yours, e.g. `make demo TORCH=torch`.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin

.PHONY: demo test lint format benchmark clean

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	touch $@

$(VENV)/.demo: $(VENV)/.torch setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: $(VENV)/.torch setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test]"
	# Apart and without its dependencies: a torchaudio that does not fit torch would break `import transformers`.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/encodec-package encodec==0.1.1
	touch $@

$(VENV)/.lint: $(VENV)/.torch setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[lint]"
	touch $@

demo: $(VENV)/.demo  ## the main job in one command: encode, pre-train, fine-tune, classify a file
	$(BIN)/python -m audioformer.experiments.demo --output .demo

test: $(VENV)/.test  ## every test; needs no GPU, and the network only for the installation
	$(BIN)/python -m tests.fetch_transformers_suite
	# Two workers of one thread each: more would wait for each other on two cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 15

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.test  ## side by side with the peers, in one process each
	$(BIN)/python benchmarks/forward.py
	$(BIN)/python benchmarks/encoding.py
	$(BIN)/python benchmarks/encode_command.py
	$(BIN)/python benchmarks/waveform_to_logits.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/masked_lm.py --batch 4
	$(BIN)/python benchmarks/length_grouping.py
	$(BIN)/python benchmarks/ft2_step.py

clean:
	rm -rf $(VENV) build dist *.egg-info .demo .pytest_cache .ruff_cache
