# make build      the broker, at build/release/ottla
# make run        installs what is missing, builds, starts a broker on port 9092
# make cluster    the same with three brokers on ports 9092 to 9094, and a ZooKeeper
# make test       installs, builds, and runs a fixed slice of all tests (at most 30 minutes)
# make test-all   the whole
# make static     the broker as one file without shared libraries, at build/static/ottla; static-arm64: for 64-bit ARM
# make deb        a Debian package of it, in build/deb
# make image      a container image, without a Docker engine, in build/docker
# make libottla   brokers for other programs: build/release/libottla.so and .a (lib/)
# make ottla-test a broker that fails as tests of clients ask it to, at build/release/ottla-test (faults/)
# make unit       the unit tests alone, release and with the sanitizers

BUILD_PACKAGES = gcc g++ make cmake ninja-build python3 pkg-config libisal-dev libsqlite3-dev \
	libjansson-dev libzookeeper-mt-dev zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev libcivetweb-dev \
	libssl-dev libpcre2-dev
TEST_PACKAGES = $(BUILD_PACKAGES) libcunit1-dev clang libclang-rt-14-dev \
	$(shell command -v javac >/dev/null || echo default-jdk-headless) $(shell command -v mvn >/dev/null || echo maven)

STATIC_PACKAGES = $(BUILD_PACKAGES) nasm dpkg-dev patch
ARM64_PACKAGES = $(STATIC_PACKAGES) gcc-aarch64-linux-gnu g++-aarch64-linux-gnu
DEB_PACKAGES = $(BUILD_PACKAGES) debhelper

.PHONY: libottla ottla-test image static static-arm64 deb build run cluster test test-all unit install-build install-test clean format

build: install-build
	@mkdir -p build
	@cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	@cmake --build --preset release --target ottla

libottla ottla-test: install-build
	@mkdir -p build
	@cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	@cmake --build --preset release --target $@

run: build
	@echo "connect with bootstrap.servers=localhost:9092 (Ctrl-C stops the broker)"
	@build/release/ottla

cluster: build
	@tests/install-packages libzookeeper-java \
		$(shell command -v java >/dev/null || echo default-jre-headless)
	@tools/cluster

static:
	@tests/install-packages $(STATIC_PACKAGES)
	@packaging/static

static-arm64:
	@tests/install-packages $(ARM64_PACKAGES)
	@packaging/static arm64

image: static
	@docker/build

deb: build
	@tests/install-packages $(DEB_PACKAGES)
	@packaging/deb/build

test: install-test
	@tests/run slice

test-all: install-test
	@tests/run all

unit: install-test
	@tests/run unit

install-build:
	@tests/install-packages $(BUILD_PACKAGES)

install-test:
	@tests/install-packages $(TEST_PACKAGES)

format:
	@clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build
