# SPDX-License-Identifier: BSD-2-Clause
#
# A thin cover over meson and ninja for those who type 'make'. Every target
# first installs the Debian packages it lacks (scripts/deps); set
# ORIEL_NO_DEPS=1 to leave that out.
#
#   make                    programs in build/bin/, libraries in build/lib/
#   make demo [DIR=...]     a tour on a directory: read, overwrite, numbers
#   make test               the test suite
#   make test-guest         Linux guests as clients: QEMU, DAX, User-Mode Linux
#   make test-sanitizers    the suite under ASan+UBSan, and under TSan
#   make fuzz [FUZZ_SECONDS=20]  every fuzz target that long
#   make bench [BENCHFLAGS=--quick]  numbers beside peers: build/bench/bench.html
#   make bench-all          every benchmark, guests too
#   make fio-engine         build/lib/fio/oriel.so for the installed fio
#   make install [DESTDIR= PREFIX=/usr/local]
#   make clean

BUILD ?= build
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 20
MESON = meson
TESTFLAGS ?= --print-errorlogs
BENCH_PROGRAMS = bin/oriel bin/orield bench/oriel-bench-suite \
	bench/oriel-bench-sweep bench/mount_ops bench/scale/oriel-crowd

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

# The list of packages is asked for on every make, which costs 20 ms; meson
# notices by itself when a meson.build changed.
$(BUILD)/build.ninja: deps-build
	@[ -f $@ ] || $(MESON) setup $(BUILD) -Dbuildtype=debugoptimized

demo: all
	@scripts/demo $(BUILD) $(DIR)

test: deps-test all
	@$(MESON) test -C $(BUILD) --no-rebuild --no-suite guest $(TESTFLAGS)

# A log of its own, beside that of 'make test'.
test-guest: deps-test deps-guest all
	@$(MESON) test -C $(BUILD) --no-rebuild --suite guest \
		--logbase testlog-guest $(TESTFLAGS)

# Measured on a release build; the pages go to build/bench/.
bench: deps-build deps-test deps-bench
	@[ -f $(BUILD)-release/build.ninja ] || $(MESON) setup \
		$(BUILD)-release -Dbuildtype=release
	@ninja -C $(BUILD)-release --quiet $(BENCH_PROGRAMS)
	@python3 bench/page/run.py $(BUILD)-release --out=$(BUILD)/bench \
		$(BENCHFLAGS)

bench-all: deps-test all
	@$(MESON) test -C $(BUILD) --no-rebuild --benchmark --verbose

fio-engine: deps-fio all
	@contrib/fio/build $(BUILD)

install: all
	@$(MESON) configure $(BUILD) -Dprefix=$(PREFIX)
	@$(MESON) install -C $(BUILD) $(if $(DESTDIR),--destdir $(DESTDIR))

# All but the guests: they would take an hour.
test-sanitizers: test-asan test-tsan

test-asan: deps-build deps-test deps-fuzz
	@[ -f $(BUILD)-asan/build.ninja ] || $(MESON) setup $(BUILD)-asan \
		-Db_sanitize=address,undefined
	@ninja -C $(BUILD)-asan --quiet
	@$(MESON) test -C $(BUILD)-asan --no-rebuild --no-suite guest \
		--timeout-multiplier 4 $(TESTFLAGS)

test-tsan: deps-build deps-test deps-fuzz
	@[ -f $(BUILD)-tsan/build.ninja ] || CC=clang $(MESON) setup \
		$(BUILD)-tsan -Db_sanitize=thread
	@ninja -C $(BUILD)-tsan --quiet
	@$(MESON) test -C $(BUILD)-tsan --no-rebuild --no-suite guest \
		--timeout-multiplier 6 $(TESTFLAGS)

fuzz: deps-build deps-fuzz
	@[ -f $(BUILD)-fuzz/build.ninja ] || CC=clang $(MESON) setup \
		$(BUILD)-fuzz -Dfuzz=true
	@$(MESON) configure $(BUILD)-fuzz -Dfuzz_seconds=$(FUZZ_SECONDS)
	@ninja -C $(BUILD)-fuzz --quiet
	@$(MESON) test -C $(BUILD)-fuzz --no-rebuild --suite fuzz $(TESTFLAGS)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz \
		$(BUILD)-release

deps-%:
	@scripts/deps $*

.PHONY: all demo test test-guest bench fio-engine install test-sanitizers test-asan test-tsan fuzz \
	clean
.DEFAULT_GOAL = all
