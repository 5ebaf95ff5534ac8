# The same targets for people and for CI. Everything happens in a virtual environment of the checkout.

PYTHON ?= python3
VENV ?= .venv
# Without a CUDA device this version takes a CPU build; override it for yours, e.g. `make demo TORCH=torch`.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
# Python compiles what it imports, once. Compiling every file of torch and transformers beforehand takes half a minute;
# compiling anew in every process, as this variable asks for, takes ten seconds each time.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/pip --quiet --disable-pip-version-check install --no-compile

.PHONY: demo test lint format benchmark parity clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What users install.
$(VENV)/.demo: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) $(TORCH) --editable .
	touch $@

# Everything for tests and checks, resolved once.
$(VENV)/.development: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) $(TORCH) --editable ".[test,lint]"
	# Apart and without its dependencies: a torchaudio that does not match torch would break `import transformers`.
	$(PIP) --no-deps --target $(VENV)/encodec-package --upgrade encodec==0.1.1
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## the main job in one command: encode, pre-train, fine-tune, classify a file
	$(BIN)/python -m audioformer.experiments.demo --output .demo

test: $(VENV)/.development  ## every test; needs no GPU, and the network only for the installation
	$(BIN)/python -m tests.fetch_transformers_suite
	# Two workers of one thread each: more would wait for each other on two cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 15

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.development  ## side by side with the peers, in one process each
	$(BIN)/python benchmarks/forward.py
	$(BIN)/python benchmarks/encoding.py
	$(BIN)/python benchmarks/encode_command.py
	$(BIN)/python benchmarks/waveform_to_logits.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/masked_lm.py --batch 4 --plot build/benchmark/masked_lm.png
	$(BIN)/python benchmarks/length_grouping.py
	$(BIN)/python benchmarks/ft2_step.py
	$(BIN)/python benchmarks/beats.py
	$(BIN)/python benchmarks/dasheng.py
	$(BIN)/python benchmarks/maskspec.py

# The authors' own code, in an environment of its own: its torchaudio must never meet transformers. Their packages come
# without dependencies; of torchaudio only the Python part is used. Folders of code that is there already can be named.
PARITY ?= .parity
BEATS_CODE ?= $(PARITY)/unilm/beats
MASKSPEC_CODE ?= $(PARITY)/MaskSpec

$(PARITY)/.ready:
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/pip --quiet install --no-compile $(TORCH) numpy safetensors einops
	$(PARITY)/bin/pip --quiet install --no-compile --no-deps torchaudio==2.11.0 timm==0.5.4 dasheng==0.0.9
	rm -rf $(PARITY)/lib/python3*/site-packages/torchaudio/lib
	touch $@

$(PARITY)/unilm/beats:
	git clone --quiet --filter=tree:0 --no-checkout https://github.com/microsoft/unilm $(PARITY)/unilm
	git -C $(PARITY)/unilm checkout --quiet 768a3c8 -- beats

$(PARITY)/MaskSpec:
	git clone --quiet https://github.com/WangHelin1997/MaskSpec $@
	git -C $@ checkout --quiet 6fb50a1

parity: $(PARITY)/.ready | $(BEATS_CODE) $(MASKSPEC_CODE)  ## the numbers of the authors' code, made again and compared with the fixtures
	$(PARITY)/bin/python -m tests.modeling_beats.make_fixtures $(BEATS_CODE) --check
	$(PARITY)/bin/python -m tests.modeling_dasheng.make_fixtures --check
	$(PARITY)/bin/python -m tests.modeling_maskspec.make_fixtures $(MASKSPEC_CODE) --check

clean:
	rm -rf $(VENV) $(PARITY) build dist *.egg-info .demo .pytest_cache .ruff_cache .mypy_cache
