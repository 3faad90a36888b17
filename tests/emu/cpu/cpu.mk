# cpu.mk - the CPU backend's AVX-512 and AMX levels on any x86-64 machine with AVX2: make emu-cpu.
#
# The files of those levels are compiled against tests/emu/cpu/immintrin.h, and tests/emu/cpu/detect.c says that the
# processor has everything; all else is libreward.a's, which gives what these objects do not define.
EMU_CPU_OBJ  := $(patsubst %,$(BUILD)/emu-cpu/%.o,kernels_avx512 pairs amx detect)
EMU_CPU_BIN  := $(patsubst %,$(BUILD)/emu-cpu/%,check-ops test_model test_lora test_heads test_prefix reward)
EMU_CPU_LINK  = $(CC) $(CFLAGS) -Itests -o $@ $(filter %.c,$<) $(EMU_CPU_OBJ) $(BUILD)/libreward.a
.PHONY: emu-cpu
emu-cpu: $(EMU_CPU_BIN)

$(BUILD)/emu-cpu/%.o: src/compute/cpu/%.c $(wildcard src/compute/cpu/*.h) tests/emu/cpu/immintrin.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -Wno-psabi -O2 -mavx2 -mfma -mf16c -Itests/emu/cpu -include immintrin.h -c -o $@ $<
$(BUILD)/emu-cpu/detect.o: tests/emu/cpu/detect.c src/compute/cpu/detect.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
$(BUILD)/emu-cpu/check-ops: tests/check_ops.c $(EMU_CPU_OBJ) $(BUILD)/libreward.a
	$(EMU_CPU_LINK) -ldnnl $(LIBS)
$(BUILD)/emu-cpu/test_%: tests/test_%.c $(EMU_CPU_OBJ) $(BUILD)/libreward.a
	$(EMU_CPU_LINK) -lcmocka -ljansson $(LIBS)
$(BUILD)/emu-cpu/reward: $(BUILD)/reward $(EMU_CPU_OBJ)
	$(EMU_CPU_LINK) $(CLI_OBJ) $(SERVE_OBJ) $(BUILD)/libreward.a $(HTTPD) $(LIBS)
