# SPDX-License-Identifier: MIT
# The whole build: one file, read once, no configure step. `make help` lists the targets.
#
#   V=1                     show the commands
#   O=dir                   build there instead of build/
#   SAN=address,undefined   sanitizers; each set builds in its own folder, $(O)/san-address-undefined
#   CC=clang                any C11 compiler of the gcc or clang family
#   CFLAGS= LDFLAGS=        yours, added to what the build needs; changing any of these rebuilds
#   WERROR=1                warnings stop the build
#   NO_<FEATURE>=1          treat an optional feature as absent (tools/build/feature/)
#   DESTDIR= prefix=        where install puts things
#   T=selftests/io/x_test   run only these test programs (`make test`)
#   NO_INSTALL=1            `make deps` prints the apt line and installs nothing
#   PEERS=1                 `make deps` installs what benchmarks and some tests compare with, too

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

all: build

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),clang++,g++)
endif
O ?= build
# One name for one folder, however it was spelt: the lists of headers name objects by it.
override O := $(patsubst $(CURDIR)/%,%,$(abspath $(O)))
CFLAGS ?= -O2 -g
prefix ?= /usr/local
bindir ?= $(prefix)/bin
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
FUZZ_SECONDS ?= 60
FUZZ_JOBS ?= 1
TEST_JOBS ?= 1
TEST_TIMEOUT ?= 300

comma := ,
empty :=
space := $(empty) $(empty)
B := $(O)$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-7s %s\n' '$(1)' '$(patsubst $(B)/%,%,$(2))')
abspath_B := $(abspath $(B))
# make's own idea of the top folder, so that -C and O= outside the tree both work
TOP := $(CURDIR)
# The selftest harness is fetched once and serves every flavour and every O=.
KSELFTEST_DIR ?= $(TOP)/build/kselftest

# ---- version: header, symbol map and change notes must agree -------------------------------

VERSION := $(shell sed -n 's/^.define WEIR_VERSION_[A-Z]* \([0-9]*\)$$/\1/p' include/weir/base.h | paste -sd.)
VERSION_MAJOR := $(word 1,$(subst ., ,$(VERSION)))
MAP_VERSION := $(shell sed -n 's/^WEIR_\([0-9.]*\) {.*/\1/p' lib/weir.map | sort -V | tail -n 1)
NOTES_VERSION := $(shell sed -n 's/^## \([0-9][0-9.]*\).*/\1/p' docs/changes.md | head -n 1)
ifneq ($(VERSION),$(NOTES_VERSION))
$(error include/weir/base.h is version '$(VERSION)', docs/changes.md begins with '$(NOTES_VERSION)')
endif
ifneq ($(basename $(VERSION)),$(MAP_VERSION))
$(error include/weir/base.h is version '$(VERSION)', lib/weir.map ends with '$(MAP_VERSION)')
endif

# ---- sources -------------------------------------------------------------------------------

include lib/deps.mk

FEATURE_SRC := $(sort $(wildcard tools/build/feature/*.c))
FEATURES := $(shell echo $(basename $(notdir $(FEATURE_SRC))) | tr a-z A-Z)
OFF := $(strip $(foreach f,$(FEATURES),$(if $(filter-out 0,$(NO_$(f))),$(f))))
unknown_off := $(strip $(foreach v,$(filter-out NO_INSTALL $(addprefix NO_,$(FEATURES)),$(filter NO_%,$(.VARIABLES))),$(if $(findstring command line,$(origin $v)),$v)))
ifneq ($(unknown_off),)
$(error $(unknown_off): no such feature; there are $(FEATURES))
endif

PUBLIC_HEADERS := $(sort $(wildcard include/weir/*.h))
MAN_PAGES := $(sort $(wildcard docs/man/*.1))

# ---- configuration: probed once, kept in $(B)/config.mk and $(B)/config.h --------------------

# Goals that need neither libraries nor compiler.
BARE_GOALS := deps demo clean format help uninstall check fuzz interop check-docs check-size check-format docs/locking.md docs/grafana.json
NEEDS_CONFIG := $(if $(MAKECMDGOALS),$(filter-out $(BARE_GOALS),$(MAKECMDGOALS)),all)

WARN := -Wall -Wextra -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
	-Wpointer-arith -Wcast-qual
WARN += $(if $(WERROR),-Werror)

FUZZER := $(filter fuzzer,$(SAN))
SANFLAGS := $(if $(SAN),-fsanitize=$(if $(FUZZER),fuzzer-no-link$(comma)address$(comma)undefined,$(SAN)) \
	-fno-omit-frame-pointer $(if $(or $(FUZZER),$(findstring undefined,$(SAN))),-fno-sanitize-recover=undefined))

# The kernel's programs: always clang. Types of 1.1 and later of libbpf's headers are beside the system's.
BPF_CLANG ?= clang
BPF_CC = $(BPF_CLANG) -target bpf -mcpu=v3 -D__TARGET_ARCH_$(if $(filter aarch64,$(shell uname -m)),arm64,x86) \
	-O2 -g -I/usr/include/$(shell uname -m)-linux-gnu

ifneq ($(NEEDS_CONFIG),)
CC_ID := $(shell $(CC) --version 2>/dev/null | head -n 1)
ifeq ($(CC_ID),)
$(error the compiler '$(CC)' does not run: `make deps` installs one)
endif
CC_IS_CLANG := $(findstring clang,$(CC_ID))
WARN += $(if $(CC_IS_CLANG),-Wthread-safety)

# What every object depends on: the record is rewritten only when it differs.
FLAGS := $(CC_ID) | $(CC) | $(CFLAGS) | $(CPPFLAGS) | $(LDFLAGS) | $(WARN) | $(SANFLAGS) | off: $(OFF)
define record
$(if $(and $(wildcard $(1)),$(filter $(subst $(space),^,$(2)),$(subst $(space),^,$(file <$(1))))),,$(shell mkdir -p $(dir $(1)))$(file >$(1),$(2)))
endef
$(call record,$(B)/flags,$(strip $(FLAGS)))

$(B)/config.mk: $(B)/flags $(FEATURE_SRC) tools/build/probe
	$(call say,PROBE,$@)
	$(Q)CC='$(CC)' CFLAGS='$(CFLAGS) $(SANFLAGS)' LDFLAGS='$(LDFLAGS)' OFF='$(OFF)' \
		BPF_CC='$(BPF_CC)' tools/build/probe $(B) $(FEATURE_SRC)

include $(B)/config.mk
endif

# A file named *_avx2.c or *_avx512.c is compiled for that instruction set and left out where the
# compiler or the machine type does not have it; config.h says which.
sources = $(filter-out $(if $(filter 1,$(HAVE_AVX2)),,%_avx2.c) $(if $(filter 1,$(HAVE_AVX512)),,%_avx512.c),$(sort $(wildcard $(1))))
isa_flags = $(if $(filter %_avx2.c,$(1)),$(FLAGS_AVX2))$(if $(filter %_avx512.c,$(1)),$(FLAGS_AVX512))

LIB_SRC := $(call sources,lib/*/*.c)
TOOL_SRC := $(call sources,tools/weir/*.c tools/weir/*/*.c)
# A name is used once in the tree, so the folders of the tool need not be said where it includes.
TOOL_INC := $(patsubst %/,-I%,$(sort $(dir $(TOOL_SRC))))
TEST_SRC := $(sort $(wildcard selftests/*/*_test.c))
# The tests of the checks look at sources and plain objects: sanitizers add nothing to them.
TEST_SH := $(if $(SAN),$(filter-out selftests/sanity/%,$(wildcard selftests/*/*_test.sh)),$(sort $(wildcard selftests/*/*_test.sh)))
FUZZ_SRC := $(sort $(wildcard selftests/fuzz/*_fuzz.c))
# Everything else in selftests helps the tests: one archive, so a name is used once in the tree.
HELP_SRC := $(filter-out $(TEST_SRC) $(FUZZ_SRC),$(sort $(wildcard selftests/*/*.c)))

obj = $(patsubst %.c,$(B)/$(1)/%.o,$(2))
LIB_OBJ := $(call obj,obj,$(LIB_SRC))
TOOL_OBJ := $(call obj,obj,$(TOOL_SRC))
# The locks once more, with the validator and under other names, for weir bench lock.
CHECKED_OBJ := $(patsubst lib/lock/%.c,$(B)/checked/%.o,$(wildcard lib/lock/lock.c lib/lock/validate.c lib/lock/graph.c))
# The library without counting, timing and probing, for weir bench instrument.
BARE_OBJ := $(call obj,bare,$(LIB_SRC))
DEBUG_LIB_OBJ := $(call obj,debug,$(LIB_SRC))
DEBUG_TOOL_OBJ := $(call obj,debug,$(TOOL_SRC))
TEST_OBJ := $(call obj,debug,$(TEST_SRC))
HELP_OBJ := $(call obj,debug,$(HELP_SRC))
FUZZ_OBJ := $(call obj,debug,$(FUZZ_SRC))
TESTS := $(patsubst %.c,$(B)/%,$(TEST_SRC))
FUZZERS := $(patsubst %.c,$(B)/%,$(FUZZ_SRC))

ifneq ($(NEEDS_CONFIG),)
# Removing a source must drop it from the archives.
$(call record,$(B)/sources,$(LIB_SRC) $(TOOL_SRC) $(HELP_SRC))
endif

SO := libweir.so.$(VERSION)
SONAME := libweir.so.$(VERSION_MAJOR)
LIBRARIES := $(if $(LIB_SRC),$(B)/libweir.a $(B)/$(SO) $(B)/$(SONAME) $(B)/libweir.so $(B)/weir.pc)
# Peers of benchmarks that are not C: loaded when a benchmark runs, never installed.
PEERS_THERE := $(if $(filter 1,$(HAVE_PROMETHEUS_CPP)),prometheus) $(if $(filter 1,$(HAVE_ROCKSDB)),rocksdb)
PEER_OBJ := $(foreach p,$(if $(SAN),,$(PEERS_THERE)),$(patsubst tools/peers/%.cc,$(B)/peers/%.so,$(wildcard tools/peers/$p.cc)))
PEER_LIBS_prometheus = $(LIBS_PROMETHEUS_CPP)
PEER_LIBS_rocksdb = $(LIBS_ROCKSDB)
BINARY := $(if $(and $(LIB_SRC),$(TOOL_SRC)),$(B)/weir)

# ---- compiling -------------------------------------------------------------------------------

CPP_ALL = -D_GNU_SOURCE -include $(B)/config.h -I$(B) -Iinclude -Ilib $(CPPFLAGS)
C_ALL = -std=c11 $(WARN) -pthread -fvisibility=hidden $(CONFIG_CFLAGS) $(SANFLAGS)
LD_ALL = -pthread $(SANFLAGS) $(LDFLAGS)
LIBS = $(CONFIG_LIBS) -ldl -lm
TOOL_LIBS = $(CONFIG_TOOL_LIBS) $(LIBS)
# Only of the tests that use it.
TEST_LIBS = -Wl,--as-needed $(LIBS_FUSE3) -Wl,--no-as-needed
DEBUG_FLAGS := -O1 -g -DWR_DEBUG=1
# The harness is not ours: its own warnings are not either.
TEST_FLAGS = -isystem $(KSELFTEST_DIR) -Iselftests $(TOOL_INC) -Wno-unused-parameter -Wno-missing-prototypes \
	-DWR_TEST_SRCDIR='"$(TOP)"' -DWR_TEST_WEIR='"$(abspath_B)/weir"' -DWR_TEST_BUILD='"$(abspath_B)"'
TEST_FLAGS += $(if $(findstring address,$(SAN)),-include selftests/harness/leaks.h)
CONFIG_DEPS := $(B)/flags $(B)/config.h

$(B)/config.h: $(B)/config.mk

$(B)/obj/%.o: %.c $(CONFIG_DEPS)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPP_ALL) -DWR_DEBUG=0 $(C_ALL) -fPIC $(CFLAGS) $(call isa_flags,$<) -MMD -MP -c -o $@ $<

$(B)/bare/lib/%.o: lib/%.c $(CONFIG_DEPS)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPP_ALL) -DWR_DEBUG=0 -DWR_INSTRUMENT=0 $(C_ALL) -fPIC $(CFLAGS) $(call isa_flags,$<) -MMD -MP -c -o $@ $<

$(B)/checked/%.o: lib/lock/%.c $(CONFIG_DEPS)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPP_ALL) -DWR_DEBUG=0 -include tools/weir/bench/lock_checked.h $(C_ALL) -fPIC $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/debug/lib/%.o: lib/%.c $(CONFIG_DEPS)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPP_ALL) $(C_ALL) $(CFLAGS) $(DEBUG_FLAGS) $(call isa_flags,$<) -MMD -MP -c -o $@ $<

$(B)/obj/tools/%.o $(B)/debug/tools/%.o: CPP_ALL += $(TOOL_INC)
$(B)/debug/tools/%.o: tools/%.c $(CONFIG_DEPS)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPP_ALL) $(C_ALL) $(CFLAGS) $(DEBUG_FLAGS) $(call isa_flags,$<) -MMD -MP -c -o $@ $<

$(B)/debug/selftests/%.o: selftests/%.c $(CONFIG_DEPS) | $(KSELFTEST_DIR)/kselftest_harness.h
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPP_ALL) $(C_ALL) $(CFLAGS) $(DEBUG_FLAGS) $(TEST_FLAGS) -MMD -MP -c -o $@ $<

$(KSELFTEST_DIR)/kselftest_harness.h:
	$(call say,FETCH,$@)
	$(Q)tools/build/get-kselftest $(KSELFTEST_DIR)

BPF_OBJ := $(if $(filter 11,$(HAVE_LIBBPF)$(HAVE_BPF_CLANG)),$(patsubst %.c,$(B)/%.o,$(sort $(wildcard bpf/*.bpf.c))))
# A program's types stay (the loader and bpftool read them), the rest of what debuggers want goes.
$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(CONFIG_DEPS)
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(BPF_CC) -Wall -Wextra -Wno-unused-parameter -Wno-missing-declarations $(if $(WERROR),-Werror) \
		-Iinclude -MMD -MP -c -o $@ $<
	$(Q)if command -v llvm-strip >/dev/null; then llvm-strip -g $@; fi

$(B)/obj/lib/trace/programs.o $(B)/debug/lib/trace/programs.o: $(BPF_OBJ)
$(B)/obj/lib/trace/programs.o $(B)/debug/lib/trace/programs.o: CPP_ALL += -DWR_BPF_DIR='"$(abspath_B)/bpf"'

define archive
	$(call say,AR,$@)
	@rm -f $@; mkdir -p $(@D)
	$(Q)$(AR) rcsD $@ $(filter %.o,$^)
endef

$(B)/libweir.a: $(LIB_OBJ) $(B)/sources
	$(archive)
$(B)/debug/libweir.a: $(DEBUG_LIB_OBJ) $(B)/sources
	$(archive)
# The subcommands without main(), so that a test can call what they are made of.
$(B)/debug/libtools.a: $(filter-out %/main.o,$(DEBUG_TOOL_OBJ)) $(CHECKED_OBJ) $(B)/sources
	$(archive)
$(B)/debug/libhelp.a: $(HELP_OBJ) $(B)/sources
	$(archive)

# nodelete: metrics has a thread-key destructor, which must stay mapped after a dlclose().
$(B)/$(SO): $(LIB_OBJ) lib/weir.map $(B)/sources
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $(filter %.o,$^) -Wl,-soname,$(SONAME) -Wl,--version-script=lib/weir.map \
		-Wl,--as-needed -Wl,-z,nodelete $(if $(SAN),,-Wl$(comma)-z$(comma)defs) $(LD_ALL) $(LIBS)

$(B)/bare/libweir.so: $(BARE_OBJ) lib/weir.map $(B)/sources
	$(call say,LD,$@)
	$(Q)$(CC) -shared -o $@ $(filter %.o,$^) -Wl,-soname,$(SONAME) -Wl,--version-script=lib/weir.map \
		-Wl,--as-needed -Wl,-z,nodelete $(LD_ALL) $(LIBS)

$(B)/$(SONAME): $(B)/$(SO)
	$(Q)ln -sf $(SO) $@
$(B)/libweir.so: $(B)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

$(B)/weir.pc: lib/weir.pc.in $(B)/config.mk $(B)/flags include/weir/base.h Makefile FORCE
	$(Q)sed -e 's|@prefix@|$(prefix)|;s|@libdir@|$(libdir)|;s|@includedir@|$(includedir)|;s|@version@|$(VERSION)|' \
		-e 's|@private@|$(LIBS) -pthread|' $< >$@.new; \
	if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(B)/weir: $(TOOL_OBJ) $(CHECKED_OBJ) $(B)/libweir.a
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(LD_ALL) $(TOOL_LIBS)

# A peer that does not compile leaves the benchmark without it, not the build without weir.
$(B)/peers/%.so: tools/peers/%.cc tools/peers/%.h $(CONFIG_DEPS)
	$(call say,CXX,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=c++17 -O2 -g -shared -fPIC -fvisibility=hidden -o $@ $< $(PEER_LIBS_$(*F)) || \
		{ echo 'weir: no peer $(*F): the benchmark goes on without' >&2; touch $@; }

$(B)/debug/weir: $(DEBUG_TOOL_OBJ) $(CHECKED_OBJ) $(B)/debug/libweir.a
	$(call say,LD,$@)
	$(Q)$(CC) -o $@ $^ $(LD_ALL) $(TOOL_LIBS)

$(B)/selftests/%_test: $(B)/debug/selftests/%_test.o $(B)/debug/libhelp.a $(B)/debug/libtools.a $(B)/debug/libweir.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -o $@ $^ $(LD_ALL) $(TOOL_LIBS) $(TEST_LIBS)

$(B)/selftests/%_fuzz: $(B)/debug/selftests/%_fuzz.o $(B)/debug/libhelp.a $(B)/debug/libtools.a $(B)/debug/libweir.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -fsanitize=fuzzer -o $@ $^ $(LD_ALL) $(TOOL_LIBS)

# ---- targets -----------------------------------------------------------------------------------

.PHONY: all build FORCE
FORCE:

build: $(LIBRARIES) $(BINARY) $(PEER_OBJ) $(if $(FUZZER),,$(TESTS)) ## compile everything (the default)

.PHONY: deps
deps: ## install what is missing (root, apt), or print the line that does
	$(Q)NO_INSTALL='$(NO_INSTALL)' PEERS='$(PEERS)' tools/build/deps $(KSELFTEST_DIR)

.PHONY: instrument
instrument: $(LIBRARIES) $(BINARY) $(B)/bare/libweir.so ## what counting, timing and probing cost: weir bench instrument
	$(Q)$(B)/weir bench instrument

.PHONY: demo
demo: deps ## see it happen: dependencies, build, a model, a table, a picture
	+$(Q)$(MAKE) --no-print-directory build
	$(Q)O='$(O)' tools/demo/demo.sh

# Leaks and races are failures; a script finds what was built through WR_TEST_*.
TEST_ENV = WR_TEST_SRCDIR='$(TOP)' WR_TEST_BUILD='$(abspath_B)' WR_TEST_WEIR='$(abspath_B)/weir' \
	WR_TEST_CC='$(CC)' WR_TEST_CXX='$(CXX)' WR_TEST_KSELFTEST='$(KSELFTEST_DIR)' \
	ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1 \
	UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=4

# The thread sanitizer of these compilers does not start where addresses are spread over more than 28 bits.
TEST_WRAP = $(if $(findstring thread,$(SAN)),$(shell setarch -R true 2>/dev/null && echo setarch -R))

.PHONY: test
# T may name sources, programs or folders' globs: selftests/io/foo_test, build/selftests/io/foo_test
picked := $(if $(T),$(foreach t,$(basename $(T)),$(filter %$(patsubst $(B)/%,%,$(t)),$(TESTS) $(basename $(TEST_SH)))),$(TESTS) $(basename $(TEST_SH)))
ifneq ($(T),)
ifeq ($(strip $(picked)),)
$(error no test program matches T=$(T))
endif
endif
test: $(filter $(TESTS),$(picked)) $(LIBRARIES) $(BINARY) $(B)/runtests ## run the test programs (T=selftests/io/foo_test for one)
	$(Q)$(TEST_ENV) $(TEST_WRAP) $(B)/runtests -t $(TEST_TIMEOUT) -j $(TEST_JOBS) -s selftests/expected-skips -b $(B) \
		$(filter $(TESTS),$(picked)) $(addsuffix .sh,$(filter $(basename $(TEST_SH)),$(picked)))

$(B)/runtests: tools/build/runtests.c $(B)/flags
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARN) -o $@ $<

.PHONY: check check-arrows check-symbols check-headers check-docs check-format check-size check-readme check-probes check-lock-order cppcheck
check: ## build, selftests and every check below but cppcheck
	+$(Q)MAKE='$(MAKE)' tools/build/check-all

check-arrows: $(LIB_OBJ) $(TOOL_OBJ) ## lib/deps.mk against includes and symbols
	$(Q)tools/build/check-arrows $(B)/obj

check-symbols: $(LIBRARIES) ## exported symbols: the library, the map and the headers agree
	$(Q)tools/build/check-symbols $(B)/$(SO) $(B)/libweir.a

check-probes: $(LIBRARIES) $(BINARY) ## the bytes and notes of the probe sites
	$(Q)tools/build/check-probes $(B)/$(SO) $(BINARY)

check-lock-order: $(CONFIG_DEPS) ## ranks, marks, initialisations and (clang) the order in the code
	$(Q)tools/build/check-lock-order $(B)

check-headers: $(CONFIG_DEPS) | $(KSELFTEST_DIR)/kselftest_harness.h ## each header compiles alone, public ones as C99 and C++11
	$(Q)CC='$(CC)' CXX='$(CXX)' KSELFTEST_DIR='$(KSELFTEST_DIR)' tools/build/check-headers $(B)

check-docs: ## what is public is described, errors, links, pages of the manual
	$(Q)tools/build/check-docs

check-format: ## clang-format-14 and licence lines over the tracked sources
	$(Q)tools/build/check-format

check-size: ## no file above 800 lines, no function above 80
	$(Q)tools/build/check-size

check-readme: $(LIBRARIES) $(BINARY) ## the README's program against an installed tree
	+$(Q)CC='$(CC)' MAKE='$(MAKE)' tools/build/check-readme $(abspath_B)/stage /opt/weir

cppcheck: $(CONFIG_DEPS) ## a second reader of the sources
	$(Q)tools/build/run-cppcheck $(B) $(LIB_SRC) $(TOOL_SRC)

docs/grafana.json: FORCE
	$(Q)mkdir -p $(O) && tools/build/gen-dashboard >$(O)/grafana.json.new && mv $(O)/grafana.json.new $@

docs/locking.md: lib/lock/rank.h tools/build/gen-locking FORCE
	$(Q)tools/build/gen-locking $< $@ >$(O)/locking.md.new && mv $(O)/locking.md.new $@

.PHONY: install uninstall
install: $(LIBRARIES) $(BINARY) ## DESTDIR= prefix=: headers, libraries, weir.pc, the binary, man pages
	$(Q)install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir)/weir $(DESTDIR)$(mandir)/man1
	$(Q)install -m 644 $(PUBLIC_HEADERS) $(DESTDIR)$(includedir)/weir
	$(Q)install -m 755 $(B)/$(SO) $(DESTDIR)$(libdir)
	$(Q)ln -sf $(SO) $(DESTDIR)$(libdir)/$(SONAME)
	$(Q)ln -sf $(SONAME) $(DESTDIR)$(libdir)/libweir.so
	$(Q)install -m 644 $(B)/libweir.a $(DESTDIR)$(libdir)
	$(Q)install -m 644 $(B)/weir.pc $(DESTDIR)$(libdir)/pkgconfig
	$(if $(BINARY),$(Q)install -m 755 $(BINARY) $(DESTDIR)$(bindir))
	$(if $(MAN_PAGES),$(Q)install -m 644 $(MAN_PAGES) $(DESTDIR)$(mandir)/man1)

uninstall: ## remove what install put there
	$(Q)rm -rf $(DESTDIR)$(includedir)/weir
	$(Q)rm -f $(DESTDIR)$(libdir)/libweir.so* $(DESTDIR)$(libdir)/libweir.a $(DESTDIR)$(libdir)/pkgconfig/weir.pc \
		$(DESTDIR)$(bindir)/weir $(addprefix $(DESTDIR)$(mandir)/man1/,$(notdir $(MAN_PAGES)))

.PHONY: format clean help bench interop fuzz
format: ## clang-format-14 over the tracked sources
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format-14 -i

clean: ## remove what was built; the fetched harness stays
	$(Q)if [ -d '$(O)' ]; then find '$(O)' -mindepth 1 -maxdepth 1 ! -name kselftest -exec rm -rf {} +; fi

bench: build ## ratios against peers and limits: load, ladder, stream (about ten minutes)
	$(Q)O='$(B)' tools/demo/bench.sh

fuzz: ## each parser on hostile bytes (clang; FUZZ_SECONDS=60 each, FUZZ_JOBS at a time)
	+$(Q)$(MAKE) --no-print-directory SAN=fuzzer CC=clang fuzz-run

.PHONY: fuzz-run
fuzz-run: $(FUZZERS)
	$(Q)tools/build/run-fuzz $(B) $(FUZZ_SECONDS) $(FUZZ_JOBS) $(FUZZERS)

interop: ## against the public readers and writers of the formats (needs python3-venv and PyPI)
	+$(Q)$(MAKE) --no-print-directory build
	$(Q)O='$(O)' selftests/interop/run.sh

help: ## this list
	@sed -n 's/^# \{3\}\([A-Z]\)/  \1/p' Makefile
	@echo
	@awk '/^[a-z-]+:.*## / { text = $$0; sub(/.*## /, "", text); sub(/:.*/, ""); printf "  %-16s%s\n", $$0, text }' Makefile | sort

-include $(patsubst %.o,%.d,$(BPF_OBJ) $(LIB_OBJ) $(BARE_OBJ) $(TOOL_OBJ) $(CHECKED_OBJ) $(DEBUG_LIB_OBJ) $(DEBUG_TOOL_OBJ) $(TEST_OBJ) $(HELP_OBJ) $(FUZZ_OBJ))
