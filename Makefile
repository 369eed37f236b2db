# Needs nginx-dev and the libraries that `./run` installs.

SHELL       = /bin/bash
NGINX_SRC  ?= /usr/share/nginx/src
BUILD      ?= build
PROVE      ?= prove
JOBS       ?= 2
FUZZ_TIME  ?= 60
FUZZ_SHORT ?= 15
FUZZ_LONG   = splice snapshot
CLANG      ?= clang

MODULE      = ngx_http_defender_module.so
ROOT       := $(CURDIR)
OUT         = $(ROOT)/$(BUILD)

WARN        = -Wall -Wextra -Wno-unused-parameter -Werror
HARDEN      = -g -O2 -fstack-protector-strong -fPIC -D_FORTIFY_SOURCE=2
SANITIZE    = -fsanitize=address,undefined -fno-omit-frame-pointer -O1 -g -fPIC

CORE       := $(sort $(wildcard src/core/*.c))
SOURCES    := $(sort $(wildcard src/*.c src/*/*.c))
HEADERS    := $(sort $(wildcard src/*.h src/*/*.h))
UNITS      := $(patsubst t/unit/test_%.c,%,$(wildcard t/unit/test_*.c))
FUZZERS    := $(patsubst t/fuzz/fuzz_%.c,%,$(wildcard t/fuzz/fuzz_*.c))

CORE_FLAGS  = -std=gnu11 $(WARN) -Isrc -It -pthread
CORE_LIBS   = -ljansson -lcrypto -pthread
PROVE_FLAGS = -j$(JOBS) --timer -It/lib

.SECONDARY:

.PHONY: all build build-asan build-static test test-unit test-unit-asan \
    test-prove test-prove-asan test-valgrind fuzz bench demo lint format \
    install clean FORCE

all: build


# --- the module ------------------------------------------------------------

# nginx's configure runs inside its own tree and writes to --builddir only;
# it is asked again when the list of sources changes, not at each edit

$(BUILD)/sources: FORCE
	@mkdir -p $(BUILD)
	@echo $(SOURCES) $(HEADERS) | cmp -s - $@ \
	    || echo $(SOURCES) $(HEADERS) > $@

# $(1) build directory, $(2) compiler flags, $(3) linker flags, $(4) how
define configure_nginx
	@mkdir -p $(1)
	@cd $(NGINX_SRC) && . ./conf_flags \
	    && ./configure "$${NGX_CONF_FLAGS[@]}" --with-cc-opt="$(2) $(WARN)" \
	        --with-ld-opt="-Wl,-z,relro -Wl,-z,now -fPIC $(3)" \
	        $(4)=$(ROOT) --builddir=$(OUT)/$(1:$(BUILD)/%=%) \
	        >$(OUT)/configure.log 2>&1 \
	    || { cat $(OUT)/configure.log; exit 1; }
endef

# $(1) build directory, $(2) the .so to make
define make_module
	flock $(1).lock $(MAKE) -s -j$(JOBS) -C $(NGINX_SRC) -f $(ROOT)/$(1)/Makefile modules
	@mkdir -p $(dir $(2))
	cp $(1)/$(MODULE) $(2).new
	mv $(2).new $(2)
endef

build: $(BUILD)/$(MODULE)

$(BUILD)/nginx/Makefile: config Makefile $(BUILD)/sources
	$(call configure_nginx,$(BUILD)/nginx,$(HARDEN),,--add-dynamic-module)

$(BUILD)/$(MODULE): $(BUILD)/nginx/Makefile $(SOURCES) $(HEADERS)
	$(call make_module,$(BUILD)/nginx,$@)

build-asan: $(BUILD)/asan/$(MODULE)

comma := ,

$(BUILD)/nginx-asan/Makefile: config Makefile $(BUILD)/sources
	$(call configure_nginx,$(BUILD)/nginx-asan,$(SANITIZE),\
	    -fsanitize=address$(comma)undefined,--add-dynamic-module)

$(BUILD)/asan/$(MODULE): $(BUILD)/nginx-asan/Makefile $(SOURCES) $(HEADERS)
	$(call make_module,$(BUILD)/nginx-asan,$@)

# nginx-dev has no nginx sources, so a static build stops at our objects here;
# with a full nginx tree in NGINX_SRC `make -f` builds all of nginx

build-static: $(SOURCES) $(HEADERS)
	$(call configure_nginx,$(BUILD)/nginx-static,$(HARDEN),,--add-module)
	grep -q ngx_http_defender_module $(BUILD)/nginx-static/ngx_modules.c
	$(MAKE) -s -j$(JOBS) -C $(NGINX_SRC) -f $(OUT)/nginx-static/Makefile \
	    $$(sed -n 's|^\($(OUT)/nginx-static/addon/[^ :]*\.o\):.*|\1|p' \
	        $(BUILD)/nginx-static/Makefile)


# --- tests -------------------------------------------------------------------

test: build build-asan lint
	$(MAKE) -j$(JOBS) test-unit
	$(MAKE) -j$(JOBS) test-unit-asan
	$(MAKE) -j$(JOBS) fuzz
	$(MAKE) test-prove
	$(MAKE) test-prove-asan
	$(MAKE) test-valgrind
	$(MAKE) demo DEMO=--check

# the core once for each kind of build: plain, sanitized, instrumented

CORE_OBJS = $(CORE:src/core/%.c=%.o)

$(BUILD)/core/%.o: src/core/%.c $(HEADERS) Makefile
	@mkdir -p $(dir $@)
	$(CC) $(CORE_FLAGS) -g -O2 -c -o $@ $<

$(BUILD)/core-asan/%.o: src/core/%.c $(HEADERS) Makefile
	@mkdir -p $(dir $@)
	$(CC) $(CORE_FLAGS) $(SANITIZE) -fno-sanitize-recover=all -c -o $@ $<

$(BUILD)/core-fuzz/%.o: src/core/%.c $(HEADERS) Makefile
	@mkdir -p $(dir $@)
	$(CLANG) $(CORE_FLAGS) -g -O1 -fno-sanitize-recover=all \
	    -fsanitize=fuzzer-no-link,address,undefined -c -o $@ $<

$(BUILD)/unit/%: t/unit/test_%.c $(CORE_OBJS:%=$(BUILD)/core/%) \
    $(wildcard t/unit/*.h)
	@mkdir -p $(dir $@)
	$(CC) $(CORE_FLAGS) -g -O2 -o $@ $(filter %.c %.o,$^) $(CORE_LIBS)

$(BUILD)/unit-asan/%: t/unit/test_%.c $(CORE_OBJS:%=$(BUILD)/core-asan/%) \
    $(wildcard t/unit/*.h)
	@mkdir -p $(dir $@)
	$(CC) $(CORE_FLAGS) $(SANITIZE) -fno-sanitize-recover=all -o $@ \
	    $(filter %.c %.o,$^) $(CORE_LIBS)

test-unit: $(UNITS:%=$(BUILD)/unit/%)
	$(PROVE) -j$(JOBS) --exec '' $^

test-unit-asan: $(UNITS:%=$(BUILD)/unit-asan/%)
	$(PROVE) -j$(JOBS) --exec '' $^

test-prove: build
	DFD_MODULE=$(OUT)/$(MODULE) $(PROVE) $(PROVE_FLAGS) t/*.t

test-prove-asan: build-asan
	DFD_ASAN=1 DFD_MODULE=$(OUT)/asan/$(MODULE) \
	    $(PROVE) $(PROVE_FLAGS) t/*.t

# uninitialised reads, which the sanitizers do not see: where requests go
test-valgrind: build
	DFD_VALGRIND=1 DFD_MODULE=$(OUT)/$(MODULE) $(PROVE) $(PROVE_FLAGS) \
	    t/enrich.t t/enrich-filters.t t/variables.t t/api-enrich.t


# --- fuzzing: FUZZ_TIME seconds for each target, FUZZ_SHORT for small ones ---

$(BUILD)/fuzz/%: t/fuzz/fuzz_%.c $(CORE_OBJS:%=$(BUILD)/core-fuzz/%)
	@mkdir -p $(dir $@)
	$(CLANG) $(CORE_FLAGS) -g -O1 -fno-sanitize-recover=all \
	    -fsanitize=fuzzer,address,undefined -o $@ $(filter %.c %.o,$^) \
	    $(CORE_LIBS)

fuzz: $(FUZZERS:%=$(BUILD)/fuzz/%)
	@printf '%s\n' $(FUZZERS) | xargs -P$(JOBS) -I{} sh -c ' \
	    case " $(FUZZ_LONG) " in *" {} "*) s=$(FUZZ_TIME) ;; \
	        *) s=$(FUZZ_SHORT) ;; esac; \
	    mkdir -p $(BUILD)/corpus/{} t/fuzz/corpus/{}; \
	    $(BUILD)/fuzz/{} -max_total_time=$$s -verbosity=0 \
	        -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/corpus/{} \
	        t/fuzz/corpus/{} >$(BUILD)/fuzz/{}.log 2>&1 \
	        && echo "fuzz {}: nothing found in $$s s" \
	        || { cat $(BUILD)/fuzz/{}.log; exit 255; }'


# --- everything else ---------------------------------------------------------

$(BUILD)/bench/simdjson.o: bench/scan_simdjson.cpp
	@mkdir -p $(dir $@)
	$(CXX) -std=c++17 -O2 -c -o $@ $<

$(BUILD)/bench/scan: bench/scan.c $(BUILD)/bench/simdjson.o \
    $(CORE_OBJS:%=$(BUILD)/core/%)
	$(CC) $(CORE_FLAGS) -g -O2 -o $@ $^ $(CORE_LIBS) -lsimdjson -lstdc++

$(BUILD)/bench/snapshot: bench/snapshot.c $(CORE_OBJS:%=$(BUILD)/core/%)
	@mkdir -p $(dir $@)
	$(CC) $(CORE_FLAGS) -g -O2 -o $@ $^ $(CORE_LIBS)

bench: build $(BUILD)/bench/scan $(BUILD)/bench/snapshot
	BENCH="$(BENCH)" bench/run

demo: build
	conf-examples/demo/run.pl $(DEMO)

NGINX_INCS = $(NGINX_SRC)/src/core $(NGINX_SRC)/src/event \
    $(NGINX_SRC)/src/event/modules $(NGINX_SRC)/src/os/unix \
    $(NGINX_SRC)/src/http $(NGINX_SRC)/src/http/modules \
    $(NGINX_SRC)/src/http/v2 $(BUILD)/nginx

lint: build
	clang-format --dry-run -Werror $(SOURCES) $(HEADERS) \
	    $(wildcard t/unit/*.[ch] t/fuzz/*.c bench/*.c)
	@# one process a file: in one for all, clang-tidy 14 mixes up va_lists
	printf '%s\n' $(SOURCES) | xargs -P$(JOBS) -I{} clang-tidy --quiet \
	    --warnings-as-errors='*' {} -- -std=gnu11 -Isrc \
	    $(NGINX_INCS:%=-isystem %) 2>/dev/null

format:
	clang-format -i $(SOURCES) $(HEADERS) \
	    $(wildcard t/unit/*.[ch] t/fuzz/*.c bench/*.c)

install: build
	install -d $(DESTDIR)/usr/lib/nginx/modules \
	    $(DESTDIR)/usr/share/nginx/modules-available
	install -m 644 $(BUILD)/$(MODULE) $(DESTDIR)/usr/lib/nginx/modules/
	echo "load_module modules/$(MODULE);" \
	    > $(DESTDIR)/usr/share/nginx/modules-available/mod-http-defender.conf

clean:
	rm -rf $(BUILD)
