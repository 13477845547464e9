# pg_scribe: what can be made. Overridable: PG_CONFIG, PYTHON, PREFIX, DESTDIR, mandir, systemdsystemunitdir and its like.

SHELL = /bin/sh
.SUFFIXES:
.NOTPARALLEL:
.DEFAULT_GOAL = help
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr/local
DESTDIR ?=
mandir ?= $(PREFIX)/share/man
bashcompletiondir ?= $(PREFIX)/share/bash-completion/completions
systemdsystemunitdir ?= $(PREFIX)/lib/systemd/system
sysusersdir ?= $(PREFIX)/lib/sysusers.d
tmpfilesdir ?= $(PREFIX)/lib/tmpfiles.d
# Not exported: what tests run below make check would inherit them.
INSTALL_TREE = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' mandir='$(mandir)' bashcompletiondir='$(bashcompletiondir)' \
    systemdsystemunitdir='$(systemdsystemunitdir)' sysusersdir='$(sysusersdir)' tmpfilesdir='$(tmpfilesdir)' tools/install-tree

# Deferred on purpose: a recipe may install the server these look for.
PG_CONFIG ?= $(shell tools/find-pg-config)
PYTHON ?= $(shell tools/find-python)
export PG_CONFIG PYTHON

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
VENV = .venv
# Each worker of pytest has a cluster of its own, and waits for it a third of the time: one more than there are processors.
WORKERS ?= $(shell expr $$(nproc) + 1)
# Tests of one file share what they make, some of it in the server's directories; quick files come first.
SPREAD = --dist loadfile --no-loadscope-reorder
PY = $(VENV)/bin/python
PYTEST = tools/with-scratch $(PY) -m pytest -n $(WORKERS) $(SPREAD)
# With WRITE=1, what a suite has found goes into docs/versions.md. NOTED: a run of pytest, whatever its outcome.
NOTE = $(if $(WRITE),@$(PY) tests/versions/results.py '$(1)' "$(PG_CONFIG)" '$(2)')
NOTED = $(if $(WRITE),{ status=0; $(1) --junitxml=$(3) || status=$$?; $(PY) tests/versions/results.py $(2); [ $$status = 0 ]; },$(1))
SHELL_FILES = $(shell grep -rlE --exclude='*.sql' '^.!/(usr/bin/env |bin/)(ba)?sh' bin tools .ci decoder bench tests etc 2>/dev/null) lib/scribe.sh

# Other users (postgres) run what is built here, whatever the umask of the person who builds it.
BUILD = umask 022 && tools/build-decoder

.PHONY: help
help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-18s %s\n", $$1, $$2 }'

.PHONY: demo
demo:  ## back up and restore a busy throw-away database, and prove the copies equal
	@echo 'make demo: installs what is missing (a PostgreSQL server, its headers, Python, zstd), then takes about a minute.'
	@tools/install-dependencies.sh
	@$(MAKE) -s build
	@PYTHONPATH=tests/py:lib $(PY) -P tools/demo.py

.PHONY: check
check:  ## lint and all tests, on one server version
	@tools/install-dependencies.sh check
	@$(MAKE) build dev
	@tools/unpack-monitoring
	@$(MAKE) lint check-decoder check-python check-bats

.PHONY: check-quick
check-quick:  ## lint and the tests that take less than two minutes
	@tools/install-dependencies.sh check
	@$(MAKE) build dev
	@$(MAKE) lint check-decoder
	@$(PYTEST) -m 'not slow'
	@tools/with-scratch tests/bats/run tests/bats/launchers.bats tests/bats/scribe-init.bats tests/bats/scribe-stream.bats tests/bats/scribe-restore.bats

.PHONY: lint
lint: dev  ## shellcheck, ruff, mypy, and the licences of what the programs need
	shellcheck -x $(SHELL_FILES)
	shellcheck -x -s bash tests/bats/*.bats tests/bats/helpers.bash
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) tools/list-licences requirements.txt

.PHONY: check-decoder
check-decoder:
	@$(BUILD) --check
	$(call NOTE,decoder,no difference)

.PHONY: check-python
check-python: dev
	$(call NOTED,$(PYTEST),python "$(PG_CONFIG)" build/python.xml,build/python.xml)

.PHONY: check-bats
check-bats:
	tools/with-scratch tests/bats/run

.PHONY: check-faults
check-faults: dev  ## kill anything at any instant: random but reproducible rounds; SEED= ROUNDS= RECORD= STEPS=1
	@tools/with-scratch $(PY) tests/faults/sync_check.py
	@tools/with-scratch $(PY) tests/faults/harness.py $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record $(RECORD)) \
	    $(if $(STEPS),--steps,--rounds $(or $(ROUNDS),20))
	@tools/with-scratch $(PY) tests/faults/follow.py $(if $(SEED),--seed $(SEED)) --rounds $(or $(ROUNDS),20)

.PHONY: check-store-faults
check-store-faults: dev  ## kill, stop and slow an object store and who sends to it: ROUNDS= SEED= RECORD= ONLY=TEXT,...
	@tools/with-scratch $(PY) tests/faults/store.py --rounds $(or $(ROUNDS),45) $(if $(SEED),--seed $(SEED)) \
	    $(if $(RECORD),--record $(RECORD)) --only '$(ONLY)'

.PHONY: check-chaos
check-chaos: dev  ## everything at once, then every base restored to every later mark: MINUTES= SEED= BASES= DECODER= TOLD=1
	@$(PY) tests/chaos/run.py --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(BASES),--bases $(BASES)) \
	    $(if $(DECODER),--decoder $(DECODER)) $(if $(TOLD),--told)

.PHONY: check-model
check-model:  ## the model of stream, spool, rotation, slot and base, every state of it; MODEL="--only TEXT --json FILE"
	@command -v spin >/dev/null || apt-get install -y spin >/dev/null || true
	@python3 tests/model/run.py $(MODEL)

.PHONY: check-traces
check-traces: dev  ## runs of the programs' code, with kills and power cuts, which the model has to accept: ROUNDS= SEED=
	@tools/with-scratch $(PY) tests/model/rounds.py --rounds $(or $(ROUNDS),1000) $(if $(SEED),--seed $(SEED))

.PHONY: check-told
check-told: dev  ## the fault harness, whose programs tell what they do, which the model has to accept: ROUNDS= SEED=
	@tools/with-scratch $(PY) tests/faults/harness.py --told $(if $(SEED),--seed $(SEED)) --rounds $(or $(ROUNDS),40)

.PHONY: check-planted
check-planted: dev  ## planted bugs, and whether the tests notice each: PLANTED="--short --jobs N --json FILE NAME"
	@tools/with-scratch $(PY) tests/planted/run.py $(PLANTED)

.PHONY: check-large
check-large: dev  ## transactions and values larger than memory set aside for them; SCALE= of the full sizes
	@$(PY) tests/large/run.py $(if $(SCALE),--scale $(SCALE))

.PHONY: check-attacks
check-attacks: dev  ## what a role without rights may try: code planted in every spot, forged names and texts, settings
	PG_SCRIBE_FORGERIES=400 $(PYTEST) tests/py/test_shouting.py tests/py/test_forgery.py tests/py/test_hostile.py \
	    tests/py/test_forged_json.py tests/py/test_planted.py tests/py/test_ownership.py tests/py/test_security_doc.py

.PHONY: check-fuzz
check-fuzz: dev  ## random but reproducible DDL and DML, restored and compared: SEED= TRANSACTIONS= ASAN=1
	@tools/with-scratch $(PY) tests/fuzz/run.py $(if $(SEED),--seed $(SEED)) --transactions $(or $(TRANSACTIONS),600) $(if $(ASAN),--asan) \
	    --minimise $(FUZZ_OPTIONS)

.PHONY: check-frames
check-frames: dev  ## the same with texts that imitate frames and psql commands, with AddressSanitizer: SEED= ROUNDS=
	@tools/with-scratch $(PY) tests/fuzz/run.py --frames --asan $(if $(SEED),--seed $(SEED)) --transactions $(or $(ROUNDS),4)00 \
	    --round 100 --minimise $(FUZZ_OPTIONS)

.PHONY: check-decoders
check-decoders: dev  ## every correctness case once more, with pgoutput, and with decoder_raw where the server has it
	PG_SCRIBE_ALL_CASES=1 tools/with-scratch $(PY) -m pytest tests/py/test_pgoutput.py tests/py/test_pgmessages.py \
	    tests/py/test_decoder_raw.py tests/py/test_rawsql.py

.PHONY: check-differential
check-differential: dev  ## the same WAL through every output plugin, compared change by change and row by row: SEED= TRANSACTIONS=
	@tools/with-scratch $(PY) tests/differential/run.py $(if $(SEED),--seed $(SEED)) --transactions $(or $(TRANSACTIONS),2000)

.PHONY: check-net
check-net: dev  ## every correctness case with --serial, too, and random changes of rows: SEED= TRANSACTIONS=
	PG_SCRIBE_ALL_CASES=1 tools/with-scratch $(PY) -m pytest tests/py/test_correctness.py
	@tools/with-scratch $(PY) tests/fuzz/run.py --rows $(if $(SEED),--seed $(SEED)) --transactions $(or $(TRANSACTIONS),1800) \
	    --round 600 --minimise $(FUZZ_OPTIONS)

.PHONY: check-history
check-history: dev  ## scribe-log against audit triggers on the source, row by row: CHANGES= (a million) SEED= PLANT=1
	@tools/with-scratch $(PY) tests/oracle/run.py $(if $(SEED),--seed $(SEED)) --changes $(or $(CHANGES),1000000) $(if $(PLANT),--plant)

.PHONY: check-undo
check-undo: dev  ## random transactions taken back right after them, and a tenth of them later: ROUNDS= (about a thousand) SEED=
	@tools/with-scratch $(PY) tests/fuzz/run.py --rows --only-undo --undo 1000 $(if $(SEED),--seed $(SEED)) --round 300 \
	    --transactions $$(($(or $(ROUNDS),1000) * 5 / 2)) --keep-going $(FUZZ_OPTIONS)

.PHONY: check-diff
check-diff: dev  ## random pairs of points compared both ways, and what comes of it tried: ROUNDS= (pairs, about) SEED=
	@for rows in '' --rows; do \
	    tools/with-scratch $(PY) tests/fuzz/run.py $$rows --only-undo --diff 4 $(if $(SEED),--seed $(SEED)) --round 80 \
	        --transactions $$(($(or $(ROUNDS),100) * 10)) --keep-going $(FUZZ_OPTIONS) || exit 1; \
	done

.PHONY: check-regress
check-regress: dev  ## PostgreSQL's own regression suite, captured and restored; REGRESS_TREE names its source tree; DECODER=
	@$(BUILD)
	@tools/with-scratch $(PY) tests/regress/run.py $(if $(DECODER),--decoder $(DECODER)) $(if $(WRITE),--required)
	$(call NOTE,regress$(if $(DECODER), with $(DECODER)),no difference)

.PHONY: check-isolation
check-isolation: dev  ## PostgreSQL's own isolation suite: goes as without capture, and is restored; REGRESS_TREE and DECODER as above
	@$(BUILD)
	@tools/with-scratch $(PY) tests/regress/isolation.py $(if $(DECODER),--decoder $(DECODER)) $(if $(WRITE),--required)
	$(call NOTE,isolation$(if $(DECODER), with $(DECODER)),no difference)

.PHONY: check-apps
check-apps: dev  ## migration histories of applications, restored and compared: APPS= a directory of their checkouts, NAMES=, SEED=
	@$(PY) tests/apps/run.py $(if $(SEED),--seed $(SEED)) $(NAMES)

.PHONY: check-extensions
check-extensions: dev  ## the extensions people run, out of Debian's packages, for PG_CONFIG; EXTENSIONS="--only NAME,... --write"
	@$(PY) tests/extensions/run.py $(EXTENSIONS)

.PHONY: check-page
check-page: dev  ## scribe-report's page in Chromium, wide and narrow, light and dark: PAGE= one of yours; screenshots in build/page
	@$(PY) tests/page/run.py $(if $(PAGE),$(PAGE),--example) build/page

.PHONY: check-booted
check-booted:  ## docs/install.md's installation on a booted system: ROOTFS names a Debian root with systemd, BOOT a command that boots one
	@ROOTFS='$(ROOTFS)' BOOT='$(BOOT)' tests/booted/run

.PHONY: check-versions
check-versions: dev  ## all tests once for each server in PG_CONFIGS="..."; WRITE=1 puts what is found into docs/versions.md
	@test -n "$(PG_CONFIGS)" || { echo 'check-versions: error: PG_CONFIGS is not set' >&2; \
	    echo 'check-versions: hint: Run "make check-versions PG_CONFIGS=\"/usr/lib/postgresql/17/bin/pg_config ...\"".' >&2; exit 2; }
	@for pg_config in $(PG_CONFIGS); do \
	    echo "== $$($$pg_config --version)"; \
	    $(MAKE) build PG_CONFIG=$$pg_config && \
	    $(MAKE) check-decoder check-python check-bats PG_CONFIG=$$pg_config || exit 1; \
	done

# Compiled here: if Python may not write it (PYTHONDONTWRITEBYTECODE), each start of a program would take 0.2 s more.
.PHONY: check-upgrades
check-upgrades: dev  ## every correctness case of each server in PG_CONFIGS="..." (oldest first) restored into each newer one
	@set -- $(PG_CONFIGS); [ $$# -gt 1 ] || { echo 'check-upgrades: error: PG_CONFIGS does not name two servers' >&2; \
	    echo 'check-upgrades: hint: Run "make check-upgrades PG_CONFIGS=\"/usr/lib/postgresql/17/bin/pg_config ...\"".' >&2; exit 2; }; \
	while [ $$# -gt 1 ]; do \
	    old=$$1; shift; \
	    echo "== $$($$old --version)"; \
	    export PG_SCRIBE_ALL_CASES=1 PG_CONFIG_OLD=$$old PG_CONFIGS_NEWER="$$*" PG_CONFIG=$$1; \
	    $(call NOTED,$(PYTEST) tests/py/test_upgrade.py -k restores_equal,upgrades "$$old" build/upgrades.xml "$$@",build/upgrades.xml) \
	        || exit 1; \
	done

.PHONY: build
build: $(VENV)/runtime.stamp  ## the decoder for PG_CONFIG and the Python environment
	@$(BUILD)
	@umask 022 && $(PY) -m compileall -q lib

.PHONY: install-decoder
install-decoder:  ## only the decoder, into the library directory of PG_CONFIG's server
	@$(BUILD) --install --destdir '$(DESTDIR)'

.PHONY: dev
dev: $(VENV)/dev.stamp

$(VENV)/runtime.stamp: requirements.txt
	@tools/make-environment $(VENV) runtime requirements.txt

$(VENV)/dev.stamp: $(VENV)/runtime.stamp requirements-dev.txt
	@tools/make-environment $(VENV) dev requirements-dev.txt

# The installed tree has the layout of this one, so that nothing has to be rewritten; PREFIX/bin holds links into it.
.PHONY: install
install: install-programs  ## everything, on a host with server and backup: PREFIX, DESTDIR, PG_CONFIG, mandir, systemdsystemunitdir
	@$(BUILD) --install --destdir '$(DESTDIR)'

.PHONY: install-programs
install-programs:  ## everything but the decoder, on a backup host; live settings are never touched
	@umask 022 && $(INSTALL_TREE)

.PHONY: uninstall
uninstall:  ## remove what install put there; archives and settings stay
	@$(INSTALL_TREE) --remove
	@$(BUILD) --remove --destdir '$(DESTDIR)'

.PHONY: deb
deb:  ## Debian packages of programs and decoder, in build/deb
	@umask 022 && tools/make-deb build/deb

.PHONY: bench
bench: build  ## benchmarks, each as a ratio to a named peer on the same work; BENCH="--quick --only decode --json FILE"
	@PYTHONPATH=lib:tests/py $(PY) bench/run.py $(BENCH)

.PHONY: dist
dist:  ## a source archive of the committed tree
	git archive --prefix=pg_scribe-$(VERSION)/ -o pg_scribe-$(VERSION).tar.gz HEAD

.PHONY: clean
clean:  ## remove everything that was built
	rm -rf build $(VENV) $(VENV).lock .pytest_cache .mypy_cache .ruff_cache .hypothesis pg_scribe-*.tar.gz
	find bin lib tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
