# make run      installs what it needs, builds, starts a demo mailbox server in the foreground
# make check    installs what tests need, builds, runs every test: "N passed, N failed"
#
# The rest: build, check-long, bench, fuzz, install, clean. Meson does the work (meson.build).

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
WERROR ?= true
PYTHON = /usr/bin/python3
MESON = /usr/bin/meson
NINJA = /usr/bin/ninja

.PHONY: all build san run check check-long bench fuzz install clean
all: build

build:
	tools/install-packages build
	test -e build/build.ninja || CC=gcc $(MESON) setup build -Dwerror=$(WERROR)
	$(NINJA) -C build

# AddressSanitizer, UndefinedBehaviorSanitizer and the fuzzers, with the unit tests.
san:
	tools/install-packages build test
	test -e build/san/build.ninja || CC=clang $(MESON) setup build/san -Dwerror=$(WERROR) \
		-Db_sanitize=address,undefined -Db_lundef=false -Dhardened=false -Dfuzz=true \
		-Dtests=enabled
	$(NINJA) -C build/san

run: build
	tools/demo

check:
	tools/install-packages build test
	$(PYTHON) tools/check

# Longer soaks, more kill rounds, longer fuzzing: hours, not minutes.
check-long:
	tools/install-packages build test
	$(PYTHON) tools/check --long

bench: build
	tools/install-packages build test
	$(PYTHON) bench/run

fuzz: san
	$(PYTHON) tools/fuzz

install: build
	$(MESON) configure build -Dprefix=$(PREFIX) -Dsysconfdir=$(SYSCONFDIR)
	$(MESON) install -C build $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	rm -rf build
