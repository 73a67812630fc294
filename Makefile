# Every target installs what it needs: `make demo` and `make test` work on a fresh Debian or Ubuntu.
SHELL := /bin/bash
JOBS ?= 2
VENV := .venv
PYTHON ?= python3

.PHONY: help deps build binary dist demo test test-aarch64 test-aarch64-bits build-aarch64 test-hf test-python wheel venv arena bench bench-peers check check-changed fuzz test-readers docs format clean

help:
	@echo "make demo     install what is missing, build, extract the default prompts, show the result"
	@echo "make build    build/assay, build/libassay.so and build/libassay_core.a"
	@echo "make binary   dist/assay-VERSION-linux-CPU.tar.gz: one program that needs only glibc, model inside"
	@echo "make dist     dist/assay-VERSION.tar.gz: the sources of the last commit"
	@echo "make test     all tests that need no Python"
	@echo "make test-aarch64  the tests of bit-identical results, in an AArch64 build under qemu"
	@echo "make test-aarch64-bits  a part of these"
	@echo "make test-hf  live parity with transformers (makes .venv)"
	@echo "make test-python  installs the Python package with pip, and tests it"
	@echo "make wheel    builds wheels, in dist/"
	@echo "make arena    run other people's engines and judge them (docs/arena.md; installs them from PyPI)"
	@echo "make bench    full-size timing, against the machine's limits and against transformers"
	@echo "make bench-peers  timing against llama.cpp, transformers, oneDNN, numpy's npz, tokenizers"
	@echo "make docs     the documentation as a site, in build-docs/site (installs mkdocs-material from PyPI)"
	@echo "make check    format, lint, tests under sanitizers"
	@echo "make check-changed  format, and lint of the sources that changed since BASE"
	@echo "make test-readers  the tests of the modules that read untrusted files, under sanitizers"
	@echo "make fuzz     every fuzz target, for MINUTES=5 in total or SECONDS_EACH=20 (fuzz/README.md)"

deps:
	@scripts/install-deps

build: deps
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) --target assay assay_shared assay_core

# Libraries that are linked statically; the first time takes minutes.
.cache/static/complete: scripts/static-libraries
	@scripts/install-deps static
	@JOBS=$(JOBS) scripts/static-libraries .cache/static

binary: deps .cache/static/complete
	@cmake --preset binary >/dev/null
	@cmake --build --preset binary -j $(JOBS) --target assay assay_shared
	@scripts/pack-binary build-binary dist

dist:
	@scripts/pack-sources dist

demo: build
	@scripts/demo

test: build
	@scripts/install-deps test
	@cmake --build --preset release -j $(JOBS)
	@ctest --preset release -j $(JOBS)

# The modules that determine the results' bits, under emulation. This takes about ten minutes.
test-aarch64: build-aarch64
	@ctest --preset aarch64 -j $(JOBS)

# The part of test-aarch64 that CI has time for: kernels against the plain ones, arrays against their
# digests. The emulated CPU has only the instructions of the first AArch64.
test-aarch64-bits: build-aarch64
	@QEMU_CPU=cortex-a53 ctest --preset aarch64 -j $(JOBS) -R '^(Kernels|Digests.HaveNotMoved)'

build-aarch64: deps
	@scripts/install-deps aarch64
	@cmake --preset aarch64 >/dev/null
	@cmake --build --preset aarch64 -j $(JOBS) --target test_numerics test_model test_reference

# torch first: a plain transformers install would pull a newer torch with gigabytes of CUDA.
venv: $(VENV)/ready
$(VENV)/ready: python/requirements.txt
	@scripts/install-deps python
	@$(PYTHON) -m venv $(VENV)
	@echo "installing torch and transformers into $(VENV)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check \
	  $$(grep '^torch==' python/requirements.txt)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r python/requirements.txt
	@touch $@

test-hf: build venv
	@cmake --build --preset release -j $(JOBS) --target fuzz_numpy_reader
	@scripts/test-hf

test-python: deps venv
	@scripts/install-deps test
	@scripts/test-python

# Wheels for pip, in dist/.
wheel: deps .cache/static/complete
	@scripts/wheels

# Other people's engines, each in its own environment under .cache/arena.
arena: build venv
	@$(VENV)/bin/python python/arena/run.py $(ARENA)

bench: build venv
	@scripts/install-deps bench
	@cmake --preset release -DASSAY_BUILD_BENCH=ON >/dev/null
	@cmake --build --preset release -j $(JOBS) --target kernels
	@build/bench/kernels
	@build/assay bench --like Qwen3-0.6B
	@$(VENV)/bin/python bench/full_size.py

# Building llama.cpp takes minutes. oneDNN's waiting threads must not spin, see bench/onednn.cpp.
$(VENV)/bench: bench/requirements.txt $(VENV)/ready
	@echo "building llama.cpp into $(VENV)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

bench-peers: build $(VENV)/bench
	@scripts/install-deps bench
	@cmake --preset release -DASSAY_BUILD_BENCH=ON >/dev/null
	@cmake --build --preset release -j $(JOBS) --target engine npz onednn
	@$(VENV)/bin/python bench/peers.py
	@OMP_WAIT_POLICY=passive build/bench/onednn
	@$(VENV)/bin/python bench/npz.py
	@$(VENV)/bin/python bench/tokenizer.py

# The environment is separate: the site needs neither Assay nor what else .venv has.
build-docs/venv/ready: docs/requirements.txt
	@scripts/install-deps python
	@$(PYTHON) -m venv build-docs/venv
	@build-docs/venv/bin/pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

docs: build-docs/venv/ready
	@NO_MKDOCS_2_WARNING=1 build-docs/venv/bin/mkdocs build --strict
	@echo "build-docs/site/index.html; with search: python3 -m http.server -d build-docs/site"

format:
	@git ls-files '*.cpp' '*.h' | xargs clang-format -i

check: deps
	@scripts/install-deps test check
	@scripts/check

# Coverage of all fuzz targets by their inputs.
fuzz:
	@MINUTES=$(MINUTES) SECONDS_EACH=$(SECONDS_EACH) JOBS=$(JOBS) scripts/fuzz

# The modules that read untrusted files, in the fuzzers' build: AddressSanitizer, UndefinedBehaviorSanitizer
# and the standard library's own assertions.
test-readers: deps
	@scripts/install-deps test fuzz
	@cmake --preset fuzz >/dev/null
	@cmake --build --preset fuzz -j $(JOBS) --target test_base test_formats test_tokenizer test_candidate \
	  test_fuzz_regressions
	@ctest --preset fuzz -j $(JOBS)

check-changed: deps
	@scripts/install-deps check
	@scripts/check-changed

clean:
	@rm -rf build build-* dist
