# cuda.mk - the CUDA backend: make cuda (nvcc on PATH), and the same kernels on the tests' emulator: make emu.
CUDA      ?= $(patsubst %/bin/,%,$(dir $(realpath $(shell command -v nvcc 2>/dev/null))))
CUDA_ARCH ?= -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_90,code=compute_90
CUDA_DIR  := src/compute/cuda
CUDA_CU   := $(sort $(wildcard $(CUDA_DIR)/*.cu))
# What the backend takes of the library; the linker leaves out the functions that it does not call.
CUDA_C    := $(sort $(wildcard $(CUDA_DIR)/*.c)) src/base/status.c src/base/mem.c
CUDA_TEST := src/base/rng.c
CUDA_CFLAGS = $(filter-out -Wshadow -Wmissing-prototypes,$(CFLAGS)) -Wno-missing-field-initializers -ffunction-sections -Itests -Itests/cuda
NVCC_FLAGS := -std=c++17 -O3 -lineinfo -fmad=false -Isrc -Iinclude -Xcompiler -fPIC,-fvisibility=hidden,-ffunction-sections,-Wall,-Wextra,-Wno-unknown-pragmas -Xptxas -v

# ---- for a GPU ----
CUDA_OBJ := $(CUDA_CU:%.cu=$(BUILD)/cuda/%.o) $(CUDA_C:%.c=$(BUILD)/cuda/%.o)
CUDA_LD   = -Wl,--gc-sections -L$(CUDA)/lib64 -lcublasLt -lcudart_static -ldl -lrt -lm -pthread
.PHONY: cuda emu
cuda: $(BUILD)/libreward-cuda.so $(BUILD)/check-models $(BUILD)/check-cuda $(BUILD)/check-attention $(BUILD)/bench-cuda $(BUILD)/bench-products $(BUILD)/bench-attention

# A kernel whose registers spill to memory is a fault of the build.
$(BUILD)/cuda/%.o: %.cu $(wildcard $(CUDA_DIR)/*.h)
	@mkdir -p $(@D)
	nvcc $(NVCC_FLAGS) $(CUDA_ARCH) -c -o $@ $< >$(@:.o=.log) 2>&1 || { cat $(@:.o=.log); exit 1; }
	@if grep -E '[1-9][0-9]* bytes spill' $(@:.o=.log); then echo "$<: registers spill"; rm -f $@; exit 1; fi
$(BUILD)/cuda/%.o: %.c $(wildcard $(CUDA_DIR)/*.h)
	@mkdir -p $(@D)
	$(CC) $(CUDA_CFLAGS) -isystem $(CUDA)/include -c -o $@ $<
$(BUILD)/libreward-cuda.so: $(CUDA_OBJ)
	$(CXX) -shared -Wl,--no-undefined -o $@ $^ $(CUDA_LD)
$(BUILD)/check-cuda: $(CUDA_OBJ) $(BUILD)/cuda/tests/cuda/check_cuda.o $(CUDA_TEST:%.c=$(BUILD)/cuda/%.o)
	$(CXX) -o $@ $^ $(CUDA_LD)
$(BUILD)/bench-cuda $(BUILD)/bench-products: $(BUILD)/bench-%: $(CUDA_OBJ) $(BUILD)/cuda/tests/cuda/bench_%.o $(CUDA_TEST:%.c=$(BUILD)/cuda/%.o)
	$(CXX) -o $@ $^ $(CUDA_LD)
$(BUILD)/%-attention: $(BUILD)/cuda/tests/cuda/%_attention.o $(CUDA_OBJ) $(BUILD)/cuda/tests/cuda/device.o $(CUDA_TEST:%.c=$(BUILD)/cuda/%.o)
	$(CXX) -o $@ $^ $(CUDA_LD)

# NCCL, for ranks with GPUs: a part of make cuda where its header is, CUDA's, Debian's, or NCCL=DIR.
NCCL   ?= $(patsubst %/include/nccl.h,%,$(firstword $(wildcard $(CUDA)/include/nccl.h /usr/include/nccl.h)))
NCCL_C := src/base/comm_nccl.c src/base/meet.c src/base/status.c src/base/mem.c
.PHONY: nccl
cuda: nccl
nccl: $(if $(NCCL),$(BUILD)/libreward_nccl.so)
$(BUILD)/nccl/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -ffunction-sections -isystem $(NCCL)/include -isystem $(CUDA)/include -MMD -MP -c -o $@ $<
$(BUILD)/libreward_nccl.so: $(NCCL_C:%.c=$(BUILD)/nccl/%.o)
	$(CC) -shared -Wl,--no-undefined -Wl,--gc-sections -o $@ $^ -L$(NCCL)/lib -L$(NCCL)/lib64 -l:libnccl.so.2 $(filter-out -lcublasLt,$(CUDA_LD))

# Of the library it needs little, and takes that in: a machine with a GPU may lack the shared ones.
$(BUILD)/check-models: tests/cuda/check_models.c $(BUILD)/libreward.a
	$(CC) $(CFLAGS) -Itests -o $@ $^ -Wl,--as-needed -Wl,-Bstatic -lpcre2-8 -lutf8proc -lfyaml -lzstd -lz -Wl,-Bdynamic -lcurl -ldl -lm -pthread

# ---- on the emulator: plain, and under ASan and TSan; PLANT=-DPLANT_… plants a bug ----
PLANT   ?=
EMU_C   := $(filter-out $(CUDA_DIR)/product_lt.c,$(CUDA_C)) tests/emu/product_plain.c
EMU_CXX  = -std=gnu++17 -O2 -g -Wall -Wextra $(if $(WERROR),-Werror) -Wno-unknown-pragmas -ffp-contract=off \
           -fno-math-errno -fPIC -fvisibility=hidden -ffunction-sections -Isrc -Iinclude -Itests/emu $(PLANT)
EMU_H   := $(wildcard $(CUDA_DIR)/*.h tests/emu/*.h tests/cuda/*.h) $(CUDA_DIR)/cuda.mk
emu: $(BUILD)/emu/check-cuda $(BUILD)/emu/check-attention $(BUILD)/emu/bench-cuda $(BUILD)/emu/libreward-cuda.so

# $1: folder; $2: sanitizer's flags; $3: the emulator's own, which is never compiled with a sanitizer
define EMU_RULES
$(BUILD)/$1/%.o: %.cu $(EMU_H)
	@mkdir -p $$(@D)
	$(CXX) $$(EMU_CXX) $2 -x c++ -c -o $$@ $$<
$(BUILD)/$1/%.o: %.cc $(EMU_H)
	@mkdir -p $$(@D)
	$(CXX) $$(EMU_CXX) -O3 $3 -fno-tree-loop-distribute-patterns -c -o $$@ $$<
$(BUILD)/$1/%.o: %.c $(EMU_H)
	@mkdir -p $$(@D)
	$(CC) $$(CUDA_CFLAGS) -c -o $$@ $$<
EMU_OBJ_$1 := $(CUDA_CU:%.cu=$(BUILD)/$1/%.o) $(EMU_C:%.c=$(BUILD)/$1/%.o) $(BUILD)/$1/tests/emu/emu.o
$(BUILD)/$1/check-cuda $(BUILD)/$1/bench-cuda: $(BUILD)/$1/%-cuda: $$(EMU_OBJ_$1) $(BUILD)/$1/tests/cuda/%_cuda.o $(CUDA_TEST:%.c=$(BUILD)/$1/%.o)
	$(CXX) $2 -Wl,--gc-sections -o $$@ $$^ -lm
$(BUILD)/$1/%-attention: $(BUILD)/$1/tests/cuda/%_attention.o $$(EMU_OBJ_$1) $(BUILD)/$1/tests/cuda/device.o $(CUDA_TEST:%.c=$(BUILD)/$1/%.o)
	$(CXX) $2 -Wl,--gc-sections -o $$@ $$^ -lm
endef
comma := ,
$(eval $(call EMU_RULES,emu,-march=native,-march=native))
$(eval $(call EMU_RULES,emu-asan,-fsanitize=address$(comma)undefined -fno-sanitize-recover=all,-DEMU_ASAN))
$(eval $(call EMU_RULES,emu-tsan,-fsanitize=thread,-DEMU_TSAN))
# NCCL's calls between processes of one machine.
EMU_NCCL := $(NCCL_C:%.c=$(BUILD)/emu/nccl/%.o) $(BUILD)/emu/nccl/tests/emu/nccl/fake.o
$(BUILD)/emu/nccl/%.o: %.c $(wildcard tests/emu/nccl/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -ffunction-sections -Itests/emu/nccl -MMD -MP -c -o $@ $<
$(BUILD)/emu/libreward_nccl.so: $(EMU_NCCL)
	$(CC) -shared -Wl,--gc-sections $(if $(SAN),$(SAN),-Wl,--no-undefined) -o $@ $^

$(BUILD)/emu/libreward-cuda.so: $(EMU_OBJ_emu)
	$(CXX) -shared -Wl,--gc-sections -Wl,--no-undefined -o $@ $^ -lm
