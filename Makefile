# SPDX-License-Identifier: ISC
# make [all] check check-all check-tls check-strict check-wire check-bulk check-audit check-tsan check-model check-steady
#      check-crash check-faults check-valgrind soak fuzz coverage demo bench format lint install uninstall clean deps
#
#   make CC=clang BUILD=build/clang            another compiler, its own directory
#   make SANITIZE=address,undefined check      sanitizers (gcc or clang)
#   make check TEST=lease                      one test program; see tests/README.md
#   make WERROR=1                              warnings are errors (also where CI is set)
#   make NO_INSTALL=1                          never install what is missing: print the line to run
#   make V=1                                   show the commands

prefix     ?= /usr/local
bindir     ?= $(prefix)/bin
sbindir    ?= $(prefix)/sbin
libdir     ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir     ?= $(prefix)/share/man
sysconfdir ?= /etc
docdir     ?= $(prefix)/share/doc/pglend
completiondir ?= $(prefix)/share/bash-completion/completions
unitdir    ?= $(prefix)/lib/systemd/system
BUILD      ?= build
SANITIZE   ?=
CFLAGS     ?= -O2 -g
ifeq ($(origin CC),default)
CC = gcc
endif

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ifneq ($(CI)$(WERROR),)
WARN += -Werror
endif
ifneq ($(SANITIZE),)
HARDEN = -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
else
HARDEN = -fstack-protector-strong -D_FORTIFY_SOURCE=2
LINK   = -Wl,-z,defs
endif
LINK += -Wl,-z,relro,-z,now -Wl,--as-needed

ifneq ($(shell uname -s),Linux)
$(error pglend runs on Linux only: it needs SCM_RIGHTS with SEQPACKET, pidfds and futexes; this is $(shell uname -s))
endif

# What daemon and library both need lives in client/ and is linked into both.
SHARED  = asserted lease borrower ring segment stats status wire pgwire nearest
# The audit trail's format: for the daemon, which writes it, and the command line, which reads it; never the library.
AUDIT   = $(patsubst client/%.c,%,$(wildcard client/audit_*.c))
CLI     = $(patsubst client/%.c,%,client/pglend.c $(wildcard client/cli*.c))
# A program of its own: only it links an HTTP server.
EXPORT  = $(patsubst client/%.c,%,$(wildcard client/export*.c)) cli_send cli_print cli_stats
LIBRARY = $(filter-out $(CLI) $(AUDIT) $(EXPORT) nearest,$(patsubst client/%.c,%,$(wildcard client/*.c)))
DAEMON  = $(patsubst daemon/%.c,%,$(wildcard daemon/*.c))
TESTS   = $(patsubst tests/%_test.c,%,$(wildcard tests/*_test.c))
FIXTURE = $(filter-out %_test,$(patsubst tests/%.c,%,$(wildcard tests/*.c tests/crash/*.c)))
# They know the registers and the breakpoint instruction of one processor.
ifneq ($(shell uname -m),x86_64)
TESTS   := $(filter-out live_crash% live_faults,$(TESTS))
FIXTURE := $(filter-out crash/%,$(FIXTURE))
endif

shared_o  = $(SHARED:%=$(BUILD)/client/%.o)
audit_o   = $(AUDIT:%=$(BUILD)/client/%.o)
cli_o     = $(CLI:%=$(BUILD)/client/%.o)
export_o  = $(EXPORT:%=$(BUILD)/client/%.o)
library_o = $(LIBRARY:%=$(BUILD)/client/%.o)
daemon_o  = $(DAEMON:%=$(BUILD)/daemon/%.o)
fixture_o = $(FIXTURE:%=$(BUILD)/tests/%.o)
tests_bin = $(TESTS:%=$(BUILD)/tests/%_test)

VERSION := $(shell sed -n 's/^\#define PGLEND_VERSION *"\(.*\)"/\1/p' include/pglend.h)

# Asked once, and not before the packages are there.
once   = $(eval $(1) := $(2))$($(1))
pq_c   = $(call once,pq_c,$(shell pkg-config --cflags libpq))
pq_l   = $(call once,pq_l,$(shell pkg-config --libs libpq))
libs_l = $(call once,libs_l,$(shell pkg-config --libs libpq libuv jansson libcrypto libssl libseccomp))
http_l = $(call once,http_l,$(shell pkg-config --libs libmicrohttpd jansson))
test_l = $(call once,test_l,$(shell pkg-config --libs check))

Q = $(if $(V),,@echo '  $@' &&)
compile = $(Q) $(CC) -std=gnu11 -D_GNU_SOURCE -Iinclude -Iclient -Idaemon -Itests $(pq_c) $(WARN) $(HARDEN) -fPIC -fno-plt \
          -pthread $(CPPFLAGS) $(CFLAGS)
link    = $(Q) $(CC) $(HARDEN) $(CFLAGS) -pthread $(LINK) $(LDFLAGS)

all: $(BUILD)/pglendd $(BUILD)/pglend $(BUILD)/pglend-export $(BUILD)/libpglend.so $(BUILD)/libpglend.a $(BUILD)/pglend.pc

$(BUILD)/pglendd: $(daemon_o) $(shared_o) $(audit_o)
	$(link) -o $@ $^ $(libs_l)

$(BUILD)/pglend: $(cli_o) $(audit_o) $(BUILD)/client/nearest.o $(BUILD)/libpglend.a
	$(link) -o $@ $^ $(libs_l)

$(BUILD)/pglend-export: $(export_o)
	$(link) -o $@ $^ $(http_l)

$(BUILD)/libpglend.so.0: $(library_o) client/libpglend.map
	$(link) -shared -Wl,-soname,libpglend.so.0 -Wl,--version-script=client/libpglend.map -o $@ $(library_o) $(pq_l)

$(BUILD)/libpglend.so: $(BUILD)/libpglend.so.0
	@ln -sf libpglend.so.0 $@

$(BUILD)/libpglend.a: $(library_o)
	$(Q) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/pglend.pc: force
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(prefix)' 'libdir=$(libdir)' 'includedir=$(includedir)' '' 'Name: pglend' \
	    'Description: borrow PostgreSQL connections from a pglend supervisor' 'Version: $(VERSION)' \
	    'Requires: libpq' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lpglend' 'Libs.private: -pthread' > $@

$(BUILD)/client/%.o: compile += -fvisibility=hidden
$(BUILD)/%.o: %.c $(BUILD)/flags | $(BUILD)/have-build
	@mkdir -p $(@D)
	$(compile) -MMD -MP -c -o $@ $<

# Other flags, other objects.
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(CC) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(LINK) $(LDFLAGS)' | cmp -s - $@ || \
	    printf '%s\n' '$(CC) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(LINK) $(LDFLAGS)' > $@

# What each goal needs from the system, once a build directory.
$(BUILD)/have-%:
	@mkdir -p $(@D)
	@CC='$(CC)' NO_INSTALL='$(NO_INSTALL)' sh .ci/deps $*
	@touch $@

deps:
	@CC='$(CC)' NO_INSTALL='$(NO_INSTALL)' sh .ci/deps build check demo lint

# ---- Tests. Live tests are what an application is: linked to the shared library. ----
SHARED_TESTS = live_%

$(BUILD)/tests/daemon.a: $(filter-out %/main.o,$(daemon_o)) $(audit_o) $(BUILD)/client/nearest.o
	@mkdir -p $(@D)
	$(Q) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/fixtures.a: $(fixture_o)
	@mkdir -p $(@D)
	$(Q) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/%_test: $(BUILD)/tests/%_test.o $(BUILD)/tests/fixtures.a $(BUILD)/tests/daemon.a $(BUILD)/libpglend.a \
                       $(BUILD)/libpglend.so
	$(link) -o $@ $(filter %.o,$^) $(BUILD)/tests/fixtures.a $(if $(filter $(SHARED_TESTS),$*),-L$(BUILD) -lpglend \
	    -Wl$(comma)-rpath$(comma)$(abspath $(BUILD))) $(BUILD)/tests/daemon.a $(BUILD)/libpglend.a $(test_l) $(libs_l)
comma = ,

# Preloaded into everything that a test of faults starts. A sanitizer keeps its own malloc.
$(BUILD)/tests/faults.so: tests/faults/faults.c tests/faults/faults.h tests/faults/functions.def $(BUILD)/flags | $(BUILD)/have-build
	@mkdir -p $(@D)
	$(Q) $(CC) -std=gnu11 -D_GNU_SOURCE -Itests $(WARN) -O2 -g -fPIC -shared $(if $(SANITIZE),-DFAULTS_WITHOUT_MALLOC) -o $@ $<

$(BUILD)/tests/clock.so: tests/clock/clock.c tests/clock/clock.h $(BUILD)/flags | $(BUILD)/have-build
	@mkdir -p $(@D)
	$(Q) $(CC) -std=gnu11 -D_GNU_SOURCE -Itests $(WARN) -O2 -g -fPIC -shared -o $@ $<

$(BUILD)/tests/live_faults_test: $(BUILD)/tests/faults.so
$(BUILD)/tests/live_soak_test: $(BUILD)/tests/clock.so

$(tests_bin:=.o) $(fixture_o): | $(BUILD)/have-check

# Built by as many as there are processors, where make was not told how many: half of the time would go there.
jobs = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
check: | $(BUILD)/have-build $(BUILD)/have-check
	@$(MAKE) --no-print-directory $(jobs) all $(tests_bin)
	$(if $(TEST),,@$(MAKE) --no-print-directory check-tsan-small check-model-small fuzz-small)
	@PGLEND_BUILD='$(abspath $(BUILD))' PGLEND_SOURCE='$(CURDIR)' CC='$(CC)' SANITIZE='$(SANITIZE)' \
	    tests/run $(if $(TEST),$(TEST),$(TESTS) $(VARIANTS))

# The same tests where all sessions are encrypted: some in each check, the rest on request.
TLS_SOME = live_borrow live_relay_secret live_secret
TLS_REST = live_access live_audit live_audit_admin live_audit_disk live_audit_login live_cancel live_cli live_context live_crowd live_cut live_daemon live_damage live_death live_export \
           live_failover live_fuzz live_health live_hostile live_kept live_lease live_login live_override live_password live_reset live_restart live_roles live_rotation \
           live_sandbox live_scarce live_soak live_stats live_steady live_steer live_supervisor live_token live_top
check-tls: all $(tests_bin)
	@PGLEND_BUILD='$(abspath $(BUILD))' PGLEND_SOURCE='$(CURDIR)' CC='$(CC)' SANITIZE='$(SANITIZE)' \
	    tests/run $(patsubst %,%:tls,$(TLS_SOME) $(TLS_REST))

# And in strict isolation, for which there must be two users; some with both. live_relay encrypts by itself; live_token
# writes into shared memory as a worker of shared isolation can, live_strict has what stands in its place.
STRICT_TLS_SOME = live_borrow
STRICT_TLS_REST = live_reset live_death live_hostile live_supervisor
STRICT_SOME = live_borrow live_reset live_death
STRICT_REST = live_access live_audit live_audit_admin live_audit_disk live_audit_login live_cancel live_cli live_context live_crowd \
              live_cut live_daemon live_failover live_health live_hostile live_kept live_lease live_login live_override live_relay \
              live_restart live_rotation live_scarce live_secret live_soak live_stats live_steady live_steer \
              live_supervisor
check-strict: all $(tests_bin)
	@PGLEND_BUILD='$(abspath $(BUILD))' PGLEND_SOURCE='$(CURDIR)' CC='$(CC)' SANITIZE='$(SANITIZE)' \
	    tests/run $(patsubst %,%:strict,$(STRICT_SOME) $(STRICT_REST)) \
	    $(patsubst %,%:strict-tls,$(STRICT_TLS_SOME) $(STRICT_TLS_REST))

# Of all these, what belongs to each check.
VARIANTS = $(TLS_SOME:%=%:tls) $(STRICT_SOME:%=%:strict) $(STRICT_TLS_SOME:%=%:strict-tls)

# The lease table as threads. ThreadSanitizer needs its own objects, and its end says what it found. Addresses are not
# random where that can be had: some kernels put memory where gcc's ThreadSanitizer cannot follow.
TSAN_OPERATIONS ?= 100000000
$(BUILD)/tests/tsan/lease: tests/tsan/lease.c client/lease.c client/borrower.c client/segment.c $(wildcard include/*.h) \
                           $(BUILD)/flags | $(BUILD)/have-build
	@mkdir -p $(@D)
	$(Q) $(CC) -std=gnu11 -D_GNU_SOURCE -Iinclude -Iclient $(WARN) -O2 -g -fsanitize=thread -pthread -o $@ $(filter %.c,$^)

check-tsan: $(BUILD)/tests/tsan/lease
	@if setarch -R true 2>/dev/null; then quiet='setarch -R'; fi; \
	TSAN_OPTIONS=halt_on_error=1 $$quiet nice $< $(TSAN_OPERATIONS)

check-tsan-small: $(BUILD)/tests/tsan/lease
	@if setarch -R true 2>/dev/null; then quiet='setarch -R'; fi; TSAN_OPTIONS=halt_on_error=1 $$quiet nice $< 1000000

# The lease protocol as Spin models, shared and strict, and mistakes in them that must be found.
check-model: all
	@NO_INSTALL='$(NO_INSTALL)' sh .ci/deps model || :
	CC='$(CC)' tests/model/run.sh
	CC='$(CC)' tests/model/replay.sh 2000

check-model-small:
	@CC='$(CC)' tests/model/run.sh small
	@CC='$(CC)' tests/model/replay.sh 100

# make check with more rounds of what is left to chance, then every campaign, the analyzers and the coverage; about three hours.
CAMPAIGNS = check-tls check-strict check-wire check-bulk check-audit check-tsan check-model fuzz soak check-faults check-crash \
            check-valgrind check-steady lint coverage
check-all: all
	@failed=; \
	echo "== make check"; PGLEND_TEST_ROUNDS=$${PGLEND_TEST_ROUNDS:-10} $(MAKE) --no-print-directory check || failed=" check"; \
	for part in $(CAMPAIGNS); do \
	    echo "== make $$part"; $(MAKE) --no-print-directory $$part || failed="$$failed $$part"; \
	done; \
	if [ -n "$$failed" ]; then echo "check-all: failed:$$failed"; exit 1; fi; echo "check-all: all of it passed"

# No query and no cancel key over the network, as tcpdump sees it.
check-wire: all $(tests_bin)
	@PGLEND_BUILD='$(abspath $(BUILD))' PGLEND_SOURCE='$(CURDIR)' CC='$(CC)' tests/run live_wire

# A GiB each way through a relay, in constant memory.
check-bulk: all $(tests_bin)
	@CK_RUN_CASE=bulk PGLEND_TEST_ROUNDS=32 PGLEND_BUILD='$(abspath $(BUILD))' PGLEND_SOURCE='$(CURDIR)' CC='$(CC)' \
	    tests/run live_relay

# Every bit, every byte, every crash that the audit trail's test has; some minutes.
check-audit: all $(tests_bin)
	@PGLEND_AUDIT_ALL=1 PGLEND_BUILD='$(abspath $(BUILD))' PGLEND_SOURCE='$(CURDIR)' CC='$(CC)' tests/run audit

# Everything dies at random under load, and the history of who had which backend is judged; make check has 10 s of it.
SOAK_SECONDS ?= 300
soak: all $(BUILD)/tests/live_soak_test
	@PGLEND_BUILD='$(abspath $(BUILD))' SANITIZE='$(SANITIZE)' SOAK_SECONDS='$(SOAK_SECONDS)' nice $(BUILD)/tests/live_soak_test

# Lines executed by the tests, a directory; TEST picks some of them. Points are of the shared library, which that build
# does without.
coverage: | $(BUILD)/have-check
	@MAKE='$(MAKE)' tests/coverage/run.sh '$(abspath $(BUILD))/coverage' $(if $(TEST),$(TEST),$(filter-out live_crash%,$(TESTS)) $(VARIANTS))

coverage-tests: $(tests_bin)

# Nothing goes wrong for an hour, with short lives and every timer of a pool at work; make check has 12 s of it.
STEADY_SECONDS ?= 3600
check-steady: all $(BUILD)/tests/live_steady_test
	@PGLEND_BUILD='$(abspath $(BUILD))' SANITIZE='$(SANITIZE)' STEADY_SECONDS='$(STEADY_SECONDS)' nice $(BUILD)/tests/live_steady_test

# libFuzzer, with its own objects: clang's, instrumented. Without clang's runtime it is skipped by name.
FUZZ_SECONDS ?= 60
FUZZERS    = $(filter-out stand,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))
fuzz_cli_o = $(filter-out %/pglend.o,$(cli_o)) $(audit_o)
$(BUILD)/fuzz-%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/stand.o $(BUILD)/tests/daemon.a $(fuzz_cli_o) $(BUILD)/libpglend.a
	$(link) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(BUILD)/tests/daemon.a $(BUILD)/libpglend.a $(libs_l)

fuzzers: $(FUZZERS:%=$(BUILD)/fuzz-%)

fuzz: all $(BUILD)/tests/live_fuzz_test
	@NO_INSTALL='$(NO_INSTALL)' sh .ci/deps fuzz || :
	@MAKE='$(MAKE)' tests/fuzz/run.sh '$(abspath $(BUILD))/fuzz' $(FUZZ_SECONDS) $(FUZZERS)
	@PGLEND_BUILD='$(abspath $(BUILD))' FUZZ_SECONDS='$(FUZZ_SECONDS)' nice $(BUILD)/tests/live_fuzz_test

fuzz-small: | $(BUILD)/have-build
	@MAKE='$(MAKE)' tests/fuzz/run.sh '$(abspath $(BUILD))/fuzz' 10 $(FUZZERS)

# A process killed, and stopped, at every point of its way: all of them, where make check has 0.2 s a script.
CRASH_TESTS = live_crash live_crash_daemon
check-crash: export CRASH_SECONDS ?= 0
check-crash: export CRASH_LANES ?= 8
check-crash: all $(tests_bin)
	@PGLEND_BUILD='$(abspath $(BUILD))' tests/crash/run.sh $(CRASH_TESTS)

# Every call that can fail fails.
check-faults: all $(tests_bin)
	@FAULT_SECONDS=$${FAULT_SECONDS:-0} PGLEND_BUILD='$(abspath $(BUILD))' $(BUILD)/tests/live_faults_test

# Some tests, and the processes of pglendd that they start, under valgrind: what AddressSanitizer cannot look at.
VALGRIND_TESTS = lease pgwire live_lease live_borrow:strict
check-valgrind: | $(BUILD)/have-check
	@MAKE='$(MAKE)' CC='$(CC)' tests/valgrind/run.sh '$(abspath $(BUILD))/valgrind' $(VALGRIND_TESTS)

demo: all $(BUILD)/have-demo
	PGLEND_BUILD='$(abspath $(BUILD))' CC='$(CC)' tests/demo/run.sh

# Against its goals, then against PgBouncer; BENCH_RESULTS=tests/bench/RESULTS.md keeps both.
bench: export BENCH_OWN = $(abspath $(BUILD))/bench.md
bench: all $(BUILD)/have-demo
	PGLEND_BUILD='$(abspath $(BUILD))' CC='$(CC)' tests/bench/run.sh
	PGLEND_BUILD='$(abspath $(BUILD))' CC='$(CC)' BENCH_RESULTS='$(BENCH_RESULTS)' tests/bench/versus.sh

sources = $(wildcard client/*.[ch] daemon/*.[ch] include/*.h tests/*.[ch] tests/*/*.[ch])
format: | $(BUILD)/have-lint
	clang-format -i $(sources)

# It knows no _Noreturn, so to it a pointer may still be NULL after fatal(); clang-tidy's analyzer knows better.
cppcheck_off = missingIncludeSystem nullPointerRedundantCheck ctunullpointer

lint: | $(BUILD)/have-lint
	clang-format --dry-run --Werror $(sources)
	for file in $(filter %.c,$(sources)); do \
	    clang-tidy --quiet $$file -- -std=gnu11 -D_GNU_SOURCE -Iinclude -Iclient -Idaemon -Itests $(pq_c) || exit 1; \
	done
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    $(patsubst %,--suppress=%,$(cppcheck_off)) --library=./.cppcheck.cfg \
	    -Iinclude -Iclient -Idaemon client daemon
	.ci/analyze $(pq_c)

pages  = $(wildcard daemon/*.[578] client/*.[13])
units  = $(wildcard config/*.service)
sysusers = $(wildcard config/*sysusers*.conf)
tmpfiles = $(wildcard config/*tmpfiles*.conf)
examples = config/pglend.json config/pglend.schema.json

install: all
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(sbindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir)
	install -m 755 $(BUILD)/pglend $(BUILD)/pglend-export $(DESTDIR)$(bindir)
	install -m 755 $(BUILD)/pglendd $(DESTDIR)$(sbindir)
	install -m 644 $(BUILD)/libpglend.so.0 $(BUILD)/libpglend.a $(DESTDIR)$(libdir)
	ln -sf libpglend.so.0 $(DESTDIR)$(libdir)/libpglend.so
	install -m 644 $(BUILD)/pglend.pc $(DESTDIR)$(libdir)/pkgconfig
	install -m 644 include/pglend.h $(DESTDIR)$(includedir)
	install -d $(DESTDIR)$(sysconfdir)/pglend $(DESTDIR)$(docdir)
	install -m 644 $(examples) $(DESTDIR)$(docdir)
	$(BUILD)/pglend completion | install -D -m 644 /dev/stdin $(DESTDIR)$(completiondir)/pglend
	$(foreach p,$(pages),install -D -m 644 $(p) $(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(p)))/$(notdir $(p)) &&) :
	$(foreach u,$(units),sed 's|@sbindir@|$(sbindir)|; s|@bindir@|$(bindir)|' $(u) | install -D -m 644 /dev/stdin $(DESTDIR)$(unitdir)/$(notdir $(u)) &&) :
	$(foreach u,$(sysusers),install -D -m 644 $(u) $(DESTDIR)$(prefix)/lib/sysusers.d/pglend.conf &&) :
	$(foreach t,$(tmpfiles),install -D -m 644 $(t) $(DESTDIR)$(prefix)/lib/tmpfiles.d/pglend.conf &&) :
	[ -n '$(DESTDIR)' ] || ldconfig $(libdir) || :

uninstall:
	rm -f $(DESTDIR)$(bindir)/pglend $(DESTDIR)$(bindir)/pglend-export $(DESTDIR)$(sbindir)/pglendd $(DESTDIR)$(includedir)/pglend.h \
	    $(DESTDIR)$(libdir)/libpglend.so $(DESTDIR)$(libdir)/libpglend.so.0 $(DESTDIR)$(libdir)/libpglend.a \
	    $(DESTDIR)$(libdir)/pkgconfig/pglend.pc $(units:config/%=$(DESTDIR)$(unitdir)/%) \
	    $(DESTDIR)$(prefix)/lib/sysusers.d/pglend.conf $(DESTDIR)$(prefix)/lib/tmpfiles.d/pglend.conf \
	    $(DESTDIR)$(completiondir)/pglend \
	    $(examples:config/%=$(DESTDIR)$(docdir)/%) \
	    $(foreach p,$(pages),$(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(p)))/$(notdir $(p)))
	rmdir $(DESTDIR)$(docdir) $(DESTDIR)$(sysconfdir)/pglend 2>/dev/null || :

clean:
	rm -rf $(BUILD)

.PHONY: all check check-all check-audit check-bulk check-crash check-faults check-model check-model-small check-steady \
        check-strict check-tls check-tsan check-tsan-small check-valgrind check-wire soak fuzz fuzz-small fuzzers coverage coverage-tests \
        demo bench format lint install uninstall clean deps force
.DELETE_ON_ERROR:
.SECONDARY:
-include $(patsubst %.o,%.d,$(daemon_o) $(cli_o) $(audit_o) $(library_o) $(export_o) $(fixture_o) $(tests_bin:=.o) \
         $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/fuzz/*.c)))
