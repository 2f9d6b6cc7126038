# make demo       draw a small dataset, train on it, retrieve unseen classes, print the figures
# make page       after it: find the demo's photos by drawing, in a browser
# make test       lint, types and the fast tests: minutes
# make test-all   lint, types and all tests: whole runs, several processes, a browser, kills
# make faults     hundreds of killed runs, thousands of damaged files: half an hour
#
# All make .venv first. To use another environment: PYTHON=/path/to/python make test (nothing is installed then).

ifdef PYTHON
PY := $(PYTHON)
READY := new_enough
READY_TO_TEST := new_enough
else
PY := .venv/bin/python
READY := .venv/requirements.installed
READY_TO_TEST := .venv/requirements-test.installed
endif

# Large pages spare a CPU run most of its page faults; a GPU run does not notice.
export THP_MEM_ALLOC_ENABLE := 1

DEMO_DATA := --data_root demo/dataset --image_size 32
# From scratch in minutes: the contrastive views would triple the cost of a step, and a strong memory term draws features
# together before there is anything to tell them apart by.
DEMO_TRAIN := $(DEMO_DATA) --pretrained_weights none --lr 1e-3 --lr_decay 0.05 --epochs 8 --steps_per_epoch 30 \
	--validation_batches 5 --contrastive_lambda 0 --memory_lambda 0.02
DEMO_RUN := $(DEMO_DATA) --contrastive_lambda 0 --memory_lambda 0.02

has = $(PY) -c "import $(1)" 2>/dev/null
# two files of tests at a time, or one where the environment has no pytest-xdist
pytest = $(PY) -m pytest $(1) $$($(call has,xdist) && echo "-n 2 --dist loadfile" || echo "one test at a time: no pytest-xdist" >&2)

.PHONY: demo page test test-all lint types faults new_enough

demo: $(READY)
	$(PY) -m synthetic.draw --root demo/dataset --contact_sheet demo/dataset.png
	$(PY) train_cse_resnet_sketchy_ext.py $(DEMO_TRAIN) --savedir demo/untrained --epochs 0
	$(PY) train_cse_resnet_sketchy_ext.py $(DEMO_TRAIN) --savedir demo/trained
	$(PY) test_cse_resnet_sketchy_zeroshot.py $(DEMO_RUN) --resume_dir demo/untrained --results demo/untrained.json --no_report
	$(PY) test_cse_resnet_sketchy_zeroshot.py $(DEMO_RUN) --resume_dir demo/trained --results demo/trained.json
	rm -rf demo/index
	$(PY) search.py index demo/dataset/Sketchy/256x256/photo --checkpoint demo/trained/*/model_best.pth.tar -o demo/index
	$(PY) -m synthetic.demo_summary demo

page:
	@test -d demo/index || { echo "there is no demo yet: run make demo first"; exit 2; }
	@$(PY) search.py serve --index demo/index

test: lint types
	$(call pytest,-m "not slow")

test-all: lint types
	$(call pytest)

lint: $(READY_TO_TEST)
	@if $(call has,ruff); then $(PY) -m ruff check . && $(PY) -m ruff format --check .; \
	else echo "lint skipped: this environment has no ruff"; fi

types: $(READY_TO_TEST)
	@if $(call has,mypy); then $(PY) -m mypy .; else echo "type check skipped: this environment has no mypy"; fi

faults: $(READY_TO_TEST)
	KILLS=100 FAULTS=500 $(PY) -m pytest -s tests/faults

.venv/bin/python:
	@python3 utils/python_version.py
	python3 -m venv .venv

new_enough:
	@$(PY) utils/python_version.py

.venv/requirements.installed: requirements.txt requirements-page.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/requirements-test.installed: requirements-test.txt requirements-scale.txt .venv/requirements.installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@
