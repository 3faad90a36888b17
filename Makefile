# reward.c - build, test, measure, install. `make help` lists the targets.
VERSION := 0.2.0
SONAME  := libreward.so.0
CC      ?= gcc
OBJCOPY ?= objcopy
# Another machine: make CROSS=aarch64-linux-gnu- SYSROOT=DIR BUILD=build-arm64 (docs/building.md)
ifneq ($(CROSS),)
CC      := $(CROSS)gcc $(if $(SYSROOT),--sysroot=$(SYSROOT))
CXX     := $(CROSS)g++ $(if $(SYSROOT),--sysroot=$(SYSROOT))
LD      := $(CROSS)ld
AR      := $(CROSS)ar
OBJCOPY := $(CROSS)objcopy
endif
X86     := $(filter x86_64%,$(shell $(CC) -dumpmachine))
BUILD   ?= build
OPT     ?= -O2 -g
SAN     ?=
WERROR  ?=
# clang knows no `GCC unroll`, and warns of designated rows that leave members out
CLANG   := $(if $(findstring clang,$(CC)),-Wno-unknown-pragmas -Wno-missing-field-initializers)
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror=implicit-function-declaration $(CLANG) $(if $(WERROR),-Werror)
# -ffp-contract=off: a sum is rounded where the source says so; kernels ask for FMA by name.
# -fPIC, hidden: the same objects make the program, libreward.a and libreward.so.
CFLAGS  := -std=gnu11 $(OPT) $(WARN) -D_GNU_SOURCE= -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden -Isrc -Iinclude -DREWARD_VERSION='"$(VERSION)"' -pthread $(SAN)
# What libreward needs, as pkg-config names and as flags; curl is behind HTTP alone, Arrow behind a plugin.
REQUIRES := libpcre2-8 libutf8proc libfyaml libcurl libzstd zlib
LIBS     := -lpcre2-8 -lutf8proc -lfyaml -lcurl -lzstd -lz -ldl -lm -pthread
HTTPD    := -lmicrohttpd

SRC     := $(sort $(wildcard src/*/*.c src/*/*/*.c))
SRC     := $(filter-out src/base/comm_mpi.c src/base/comm_nccl.c src/compute/cuda/% $(if $(X86),,%_avx2.c %_avx512.c %/cpu/pairs.c %/cpu/amx.c),$(SRC))
LIB_SRC := $(filter-out src/cli/% src/serve/%,$(SRC))
CLI_SRC := $(filter src/cli/%,$(SRC))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
# The server is the program's and the tests', not the library's.
SERVE_OBJ := $(patsubst src/serve/%,$(BUILD)/src/serve/%.o,$(basename $(wildcard src/serve/*.c src/serve/*.S)))
# Arrow's libraries for Parquet, of the pyarrow wheel that make deps unpacks; without them there is no plugin.
ARROW     := $(if $(X86),$(wildcard .deps/pyarrow))
ARROW_LIB := $(if $(ARROW),$(foreach l,parquet arrow,$(wildcard $(ARROW)/lib$l.so.*)))
PLUGIN    := $(if $(ARROW),$(BUILD)/libreward-parquet.so)
# MPI, for runs of several processes; without mpicc there is no plugin.
MPICC     ?= mpicc
MPI       := $(if $(CROSS),,$(if $(shell command -v $(MPICC)),$(BUILD)/libreward_mpi.so))
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
TEST_SRC := $(sort $(wildcard tests/test_*.c))
TEST_BIN := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)

# Debian's names, of Ubuntu too. g++ and pip are for Parquet: Arrow's library comes in a wheel.
APT     := gcc g++ make pkg-config python3 python3-pip \
           libpcre2-dev libutf8proc-dev libfyaml-dev libzstd-dev zlib1g-dev libxxhash-dev libcurl4-openssl-dev \
           libmicrohttpd-dev libopenmpi-dev openmpi-bin
APT_DEV := libcmocka-dev libjansson-dev libdnnl-dev clang clang-format clang-tidy cppcheck procps python3-venv patchelf

.PHONY: all clean tests test quick lint bench bench-quick bench-json demo deps deps-dev deps-model fuzz help install wheel always ranks compile_commands.json
all: $(BUILD)/reward $(BUILD)/libreward.a $(BUILD)/libreward.so $(PLUGIN) $(MPI)

$(BUILD)/reward: $(CLI_OBJ) $(SERVE_OBJ) $(BUILD)/libreward.a
	$(CC) $(CFLAGS) -o $@ $(CLI_OBJ) $(SERVE_OBJ) $(BUILD)/libreward.a $(HTTPD) $(LIBS)

# For the program and the tests, which see every function; make install makes one that shows rw_ names only.
$(BUILD)/libreward.a: $(LIB_OBJ)
	rm -f $@ && $(AR) rcs $@ $(LIB_OBJ)

$(BUILD)/libreward.so: $(LIB_OBJ)
	$(CC) $(CFLAGS) -shared -Wl,-soname,$(SONAME) $(if $(SAN),,-Wl,--no-undefined) -o $@ $(LIB_OBJ) $(LIBS)

# The one file linked to Arrow: opened when a Parquet file is met. Arrow is found in .deps of this tree, or beside it.
$(BUILD)/libreward-parquet.so: $(BUILD)/src/format/parquet.o $(BUILD)/src/base/status.o
	$(CXX) $(OPT) -shared -pthread $(SAN) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../.deps/pyarrow' -o $@ $^ $(ARROW_LIB)

# The one file linked to MPI: opened by a program that a launcher has started as one of several.
$(BUILD)/src/base/comm_mpi.o: CC := OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC)
$(BUILD)/libreward_mpi.so: $(BUILD)/src/base/comm_mpi.o $(BUILD)/src/base/status.o
	OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC) $(OPT) -shared -pthread $(SAN) -o $@ $^

# The commit, as git describes it when the program is built; made anew only when it changes.
COMMIT := $(if $(wildcard .git),$(shell git describe --always --dirty 2>/dev/null))
$(BUILD)/src/cli/version.o: CFLAGS += -I$(BUILD)
$(BUILD)/src/cli/version.o: $(BUILD)/commit.h
$(BUILD)/commit.h: always
	@mkdir -p $(@D)
	@echo '#define REWARD_COMMIT "$(COMMIT)"' | cmp -s - $@ || echo '#define REWARD_COMMIT "$(COMMIT)"' >$@

# Vector variants: the same kernel source built for a CPU level, chosen at run time. -fno-trapping-math changes no value: without it
# gcc computes what has a comparison (exponentials) one by one where the level has no masks.
$(BUILD)/src/compute/cpu/%_avx2.o: CFLAGS += -mavx2 -mfma -mf16c -O3 -fno-trapping-math
$(BUILD)/src/compute/cpu/%_avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mprefer-vector-width=512 -O3
$(BUILD)/src/compute/cpu/pairs.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma -mprefer-vector-width=512 -O3
$(BUILD)/src/compute/cpu/amx.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma -mamx-tile -mamx-bf16 -mprfchw -mprefer-vector-width=512 -O3

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# The page that the server shows, as it stands.
$(BUILD)/src/serve/page_html.o: src/serve/page_html.S src/serve/page.html
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<

$(BUILD)/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++20 $(OPT) -Wall -Wextra $(if $(WERROR),-Werror) -fPIC -fvisibility=hidden -Isrc -Iinclude -isystem $(ARROW)/include -DREWARD_VERSION='"$(VERSION)"' -pthread $(SAN) -MMD -MP -c -o $@ $<

$(BUILD)/tests/test_serve_%: LIBS += $(HTTPD)
# the parser alone, with a command of the test's own
$(BUILD)/tests/test_opts: CLI_PARSER := $(patsubst %,$(BUILD)/src/cli/%.o,opts messages help suggest config tables)
$(BUILD)/tests/test_opts: $(patsubst %,$(BUILD)/src/cli/%.o,opts messages help suggest config tables)
$(BUILD)/tests/%: tests/%.c $(SERVE_OBJ) $(BUILD)/libreward.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -Itests -o $@ $< $(if $(filter tests/test_serve_%,$<),$(SERVE_OBJ)) $(CLI_PARSER) $(BUILD)/libreward.a -lcmocka -ljansson $(LIBS)

# The program, and tests of the model, over device memory that the host cannot touch (tests/guard/guard.c).
GUARD := tests/guard/guard.c -Wl,--wrap=backend_cpu,--wrap=backend_open -rdynamic
$(BUILD)/reward-guard: $(BUILD)/reward tests/guard/guard.c $(BUILD)/guard/touch | $(MPI)
	$(CC) $(CFLAGS) -o $@ $(CLI_OBJ) $(SERVE_OBJ) $(GUARD) $(BUILD)/libreward.a $(HTTPD) $(LIBS)
$(BUILD)/guard/touch: tests/guard/touch.c tests/guard/guard.c $(BUILD)/libreward.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(GUARD) $(BUILD)/libreward.a $(LIBS)
$(BUILD)/guard/%: tests/%.c tests/guard/guard.c $(BUILD)/libreward.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -Itests -o $@ $< $(GUARD) $(BUILD)/libreward.a -lcmocka -ljansson $(LIBS)

# Every backend operation against its plain definition; oneDNN is the speed peer (--speed).
$(BUILD)/check-ops: tests/check_ops.c $(BUILD)/libreward.a
	$(CC) $(CFLAGS) -MMD -MP -Itests -o $@ $< $(BUILD)/libreward.a -ldnnl $(LIBS)

# Ranks alone, under a launcher: tests/cli_ranks.sh.
ranks: $(BUILD)/ranks/exchange
$(BUILD)/ranks/exchange: tests/ranks/exchange.c $(BUILD)/libreward.a | $(MPI)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(BUILD)/libreward.a $(LIBS)

# Fuzz targets, built by clang: make fuzz, then build-fuzz/fuzz_gguf tests/fuzz/corpus/gguf
FUZZ := $(patsubst tests/fuzz/%.c,build-fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
# What reads requests, without sockets.
FUZZ_SERVE := $(filter-out %/serve.o %/front.o,$(SERVE_OBJ))
build-fuzz/fuzz_serve $(BUILD)/replay/serve: $(FUZZ_SERVE)
build-fuzz/fuzz_policy $(BUILD)/replay/policy: $(BUILD)/src/serve/policy.o
build-fuzz/fuzz_%: tests/fuzz/fuzz_%.c build-fuzz/libreward.a $(PLUGIN)
	$(CC) $(CFLAGS) -fsanitize=fuzzer -fsanitize-link-c++-runtime -Itests -o $@ $< $(filter $(FUZZ_SERVE),$^) build-fuzz/libreward.a $(LIBS)
fuzz:
	$(MAKE) CC=clang CXX=clang++ BUILD=build-fuzz SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' WARN=-w $(FUZZ)

# The same targets without clang, run over their corpora by the tests.
REPLAY := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/replay/%,$(wildcard tests/fuzz/fuzz_*.c))
$(BUILD)/replay/%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(BUILD)/libreward.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -Itests -o $@ $(filter %.c,$^) $(filter $(FUZZ_SERVE),$^) $(BUILD)/libreward.a $(LIBS)

# ---- installing: make install [DESTDIR=] [PREFIX=/usr/local] ----
PREFIX ?= /usr/local
TO      = $(DESTDIR)$(PREFIX)
# what runs the program that was built for another machine, for its man pages: RUN=qemu-aarch64-static
RUN    ?=
COMMANDS = $(patsubst src/cli/cmd_%.c,%,$(wildcard src/cli/cmd_*.c))

# One object in which rw_ names alone are global.
$(BUILD)/installed/libreward.a: $(LIB_OBJ)
	@mkdir -p $(@D)
	$(LD) -r -o $(@D)/reward.o $(LIB_OBJ)
	$(OBJCOPY) --localize-hidden $(@D)/reward.o
	rm -f $@ && $(AR) rcs $@ $(@D)/reward.o

define PC
prefix=$(PREFIX)
libdir=$${prefix}/lib
includedir=$${prefix}/include

Name: reward
Description: Reward models: curate, train, score, evaluate
Version: $(VERSION)
Libs: -L$${libdir} -lreward
Libs.private: -ldl -lm -pthread
Requires.private: $(REQUIRES)
Cflags: -I$${includedir}
endef
export PC

install: all $(BUILD)/installed/libreward.a
	install -d $(TO)/bin $(TO)/include $(TO)/lib/pkgconfig
	install $(BUILD)/reward $(TO)/bin/reward
	$(if $(wildcard include/reward.h),install -m 644 include/reward.h $(TO)/include)
	install -m 644 $(BUILD)/installed/libreward.a $(TO)/lib/libreward.a
	install -m 644 $(BUILD)/libreward.so $(TO)/lib/libreward.so.$(VERSION)
	ln -sf libreward.so.$(VERSION) $(TO)/lib/$(SONAME)
	ln -sf $(SONAME) $(TO)/lib/libreward.so
	echo "$$PC" >$(TO)/lib/pkgconfig/reward.pc
	install -d $(TO)/share/man/man1 $(TO)/share/bash-completion/completions $(TO)/share/zsh/site-functions $(TO)/share/fish/vendor_completions.d
	$(RUN) $(BUILD)/reward --man >$(TO)/share/man/man1/reward.1
	for c in $(COMMANDS); do $(RUN) $(BUILD)/reward --man $$c >$(TO)/share/man/man1/reward-$$c.1 || exit 1; done
	$(RUN) $(BUILD)/reward --completion bash >$(TO)/share/bash-completion/completions/reward
	$(RUN) $(BUILD)/reward --completion zsh >$(TO)/share/zsh/site-functions/_reward
	$(RUN) $(BUILD)/reward --completion fish >$(TO)/share/fish/vendor_completions.d/reward.fish
ifneq ($(PLUGIN),)
	install -d $(TO)/lib/reward
	install -m 644 $(PLUGIN) $(ARROW_LIB) $(TO)/lib/reward
endif
ifneq ($(MPI),)
	install -d $(TO)/lib/reward
	install -m 644 $(MPI) $(TO)/lib/reward
endif

# dist/*.whl, without MPI, which is the cluster's: program, library and module rewardc with all that they need, for pip
DIST ?= dist
wheel: all
	rm -rf $(BUILD)/wheel $(DIST)/rewardc-*.whl
	$(MAKE) -s install MPI= DESTDIR=$(BUILD)/wheel PREFIX=/rewardc >/dev/null
	python3 bindings/python/wheel.py $(VERSION) $(BUILD)/wheel/rewardc $(DIST)

# what opens Parquet files looks for the plugin when it runs
$(BUILD)/tests/test_parquet $(BUILD)/tests/test_rows $(BUILD)/replay/parquet: | $(PLUGIN)

include src/compute/cuda/cuda.mk
include tests/emu/cpu/cpu.mk

tests: $(TEST_BIN) $(BUILD)/check-ops $(REPLAY)

test: ; @T='$(value T)' tests/run.sh
quick: ; @T='$(value T)' tests/run.sh quick
# Format and static analysis; a part of the tests.
lint: $(BUILD)/commit.h ; @tests/lint.sh

compile_commands.json:
	make -n -B all tests BUILD=build | python3 -c 'import json,sys,os,shlex; c=[l.strip() for l in sys.stdin if " -c -o " in l]; print(json.dumps([dict(directory=os.getcwd(),command=l,file=shlex.split(l)[-1]) for l in c],indent=1))' > $@

bench: all tests ; @python3 bench/bench.py && python3 bench/bench_curate.py && python3 bench/bench_serve.py
# One size, one setting of each peer; the peers' Python may be given: BENCH_PYTHON=…
bench-quick: $(BUILD)/reward $(BUILD)/check-ops ; @python3 bench/bench.py --quick
# The JSON reader's rate over rows in memory: make bench-json ROWS=FILE
$(BUILD)/bench_json: bench/bench_json.c $(BUILD)/libreward.a
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(BUILD)/libreward.a $(LIBS)
bench-json: $(BUILD)/bench_json ; @$< $(or $(ROWS),examples/sources/magpie-ultra.jsonl)
# a make of its own: what deps brings is looked for when one begins
demo: deps-model
	@$(MAKE) all
	@examples/demo.sh
# What building needs; what the tests and contributors need besides; the small real model of demo, README and tests.
deps: ; @tests/deps.sh apt $(APT) && tests/deps.sh arrow
deps-dev: deps-model ; @tests/deps.sh apt $(APT_DEV) && tests/deps.sh clients
deps-model: deps ; @tests/deps.sh model

help:
	@echo "make            build/reward and build/libreward.a"
	@echo "make deps       install what the build needs (Debian, Ubuntu): packages, Arrow for Parquet"
	@echo "make deps-dev   what the tests and contributors need besides, and the small model"
	@echo "make deps-model the small model alone (98 MB)"
	@echo "make install    program, library, header, pkg-config: DESTDIR, PREFIX (/usr/local)"
	@echo "make wheel      dist/*.whl: the program and the Python module rewardc"
	@echo "make test       every test, plain and under sanitizers; T=PATTERN: those whose name matches"
	@echo "make quick      the tests that take a minute"
	@echo "make emu-cpu    check-ops, tests and the program with AVX-512 and AMX in software, in build/emu-cpu/"
	@echo "make fuzz       fuzz targets of the parsers (clang), in build-fuzz/"
	@echo "make demo       the whole job on example data"
	@echo "make bench      speeds beside peers and the machine's limit, and of curation at full size (10 GB of disk)"
	@echo "make bench-quick ours, the peers and the limit for one size: a short run"
	@echo "make bench-json the JSON reader alone: ROWS=FILE"

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
