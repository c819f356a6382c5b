.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKAGES := $(VENV)/.packages
DOCS := $(VENV)/.docs
CORE := noise_flow_tf/native/build.py $(wildcard noise_flow_tf/native/source/*)
RUN := runs/demo
DENOISE := runs/denoise
SEEDS := 0
NOISES := gauss camera_nlf noise_flow real
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

# Short on purpose. With --noise_scale 1, the release's, and --lr 2e-3, 1200 steps of 32 patches
# end with a lower PSNR than the noisy images have.
DENOISE_FLAGS := --noise_scale 0.02 --schedule cosine --lr 3e-3 --n_batch_train 8 --steps 2400 \
	--stride 32 --n_test_patches 132

.PHONY: help setup train paper denoise docs test test-all fuzz lint

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv with the packages of requirements.txt, and compile the core

# Without a compiler there is a message, and TensorFlow does the core's work.
$(READY): $(PACKAGES) $(CORE)
	@$(BIN)/python -m noise_flow_tf.native.build || true
	touch $@

# A wrong Python is refused before anything is installed, and what an earlier one left is cleared.
$(PACKAGES): requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
		f"make setup: Python 3.11 to 3.13 is needed, and $(PYTHON) is {v[0]}.{v[1]}; name another, " \
		"such as make setup PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python noise_flow_tf/native/build.py --compiler >/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check "ziglang>=0.13" || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

train: $(READY)  ## train Noise Flow on the offline dataset, score it, and sample from it
	$(BIN)/python train.py --logdir $(RUN) --overwrite
	$(BIN)/python sample.py --model $(RUN) --out $(RUN)/samples --clean \
		data/synthetic_sidd/Data/0057_*/0057_GT_RAW_010.MAT
	@echo
	@echo "scores    $(RUN)/report.md"
	@echo "pictures  $(RUN)/pictures/samples.png and $(RUN)/samples"
	@echo "curves    $(BIN)/tensorboard --logdir $(RUN)/tensorboard"

paper: $(READY)  ## the tables and figures of the paper; ARGS="--full --sidd_path ROOT" on the real SIDD
	$(BIN)/noise-flow paper $(ARGS)

$(RUN)/saved_model: | $(READY)
	$(BIN)/python train.py --logdir $(RUN) --resume

denoise: $(READY) $(RUN)/saved_model  ## train denoisers on four kinds of noise and score them; SEEDS="0 1 2" for more
	set -e; for seed in $(SEEDS); do for noise in $(NOISES); do \
		model=$$([ $$noise != noise_flow ] || echo --model $(RUN)); \
		$(BIN)/noise-flow train-denoiser --noise $$noise $$model --seed $$seed --resume \
			--logdir $(DENOISE)/$$noise-$$seed $(DENOISE_FLAGS); \
	done; done
	$(BIN)/noise-flow evaluate-denoiser --out $(DENOISE) \
		$(foreach seed,$(SEEDS),$(NOISES:%=$(DENOISE)/%-$(seed)))

$(DOCS): requirements-docs.txt $(PACKAGES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

docs: $(READY) $(DOCS)  ## run the code of README.md and docs/, and build the site with its notebooks
	$(BIN)/python -m pytest -o addopts=-q -p docs.code_blocks -rs README.md docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "site      site/index.html"

test: $(READY)  ## run the tests, and name the ten slowest
	$(BIN)/python -m pytest $(PARALLEL) --durations 10

test-all: $(READY)  ## run the slow tests too: kills at random moments, several processes
	$(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

fuzz: $(READY)  ## damage the inputs of all readers, 20,000 times; ARGS="--count 1000 --first 5" for others
	$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(READY)  ## check style and format with ruff, types with mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
