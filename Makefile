# Everything a newcomer needs: `make demo`, `make test`. Each sets up its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := experiments/demo_data

.PHONY: demo app test test-slow test-lowest lint bench report clean

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

demo: $(VENV)/.installed  ## fuse simulated pairs with the shipped weights; prints where to look
	$(BIN)/python -m data.demo $(DEMO)
	for task in IVF MEF MFF; do \
	    $(BIN)/python test.py -opt option/test/Demo_$$task.yaml --set save.report=true || exit; \
	    $(BIN)/python test.py -opt option/test/Demo_$$task.yaml --set model=SaliencePyramid \
	        --set name=Demo_$${task}_SaliencePyramid || exit; \
	done
	@echo "open results/Demo_IVF/contact_sheet.png and results/Demo_IVF/report.html (and Demo_MEF, Demo_MFF);"
	@echo "results/Demo_*_SaliencePyramid is what a pyramid without any learning makes of the same pairs"

app: $(VENV)/.installed  ## a page to fuse pictures in a browser, on this computer
	$(BIN)/python -m pip install --quiet "gradio>=6.31"
	$(BIN)/python -m app app

test: $(VENV)/.installed  ## the whole default suite
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed  ## long proofs
	$(BIN)/python -m pytest -m slow

test-lowest:  ## the default suite with the oldest libraries that requirements.txt allows, in .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
	    --requirement requirements.txt
	.venv-lowest/bin/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .

bench: $(VENV)/.installed  ## speed of training and fusing on this machine
	$(BIN)/python -m benchmarks.bench

report: $(VENV)/.installed  ## docs/report: all methods on simulated pairs, with the weights of pretrained/
	$(BIN)/python -m benchmarks.comparison docs/report

clean:  ## everything that can be made again
	rm -rf $(VENV) .venv-lowest .pytest_cache .ruff_cache $(DEMO)
