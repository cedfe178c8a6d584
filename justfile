# Everything that is done with thermograph. `just` alone shows the menu.

set shell := ["sh", "-euc"]
# Arguments reach the commands as they were given, spaces and all: "$@".
set positional-arguments

# What is run, measured and tested: optimised, with names. One build serves all.
profile := "profiling"
program := "target/profiling/thermograph"
clinic := "target/profiling/examples/clinic"
tools := justfile_directory() / ".tools"

# Installs Debian packages, or says what to install.
install := '''
    install() {
        [ $# -gt 0 ] || return 0
        command -v apt-get >/dev/null || { echo "install these first: $*" >&2; return 1; }
        sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
        echo "installing $* with apt-get" >&2
        $sudo apt-get update -qq
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    }
    install'''

console_version := "0.1.14"
deny_version := "0.20.2"
fuzz_version := "0.13.2"

# Show this menu
[private]
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Start the service: API on 8080, diagnostics on 6060, console on 6669
[group('run')]
run *args: model
    @exec {{ program }} serve "$@"

# Drive traffic at the service that runs; `just load --help`
[group('run')]
load *args: build
    @exec {{ program }} load "$@"

# Start two mocks of an AI API, on 9001 and 9002, and the gateway before them; Ctrl-C stops all
[group('run')]
gateway *args: build
    @trap 'kill $mocks 2>/dev/null || true; wait' EXIT; trap 'exit 130' INT TERM; mocks=''; \
    for port in 9001 9002; do \
        {{ program }} mock --listen "127.0.0.1:$port" --models mock --tokens 60 \
            --latency lognormal:150ms:600ms --interval lognormal:30ms:120ms & \
        mocks="$mocks $!"; \
    done; \
    {{ program }} --config examples/gateway.toml serve "$@"

# With the clinic, so that whatever is built, tried and tested has the same features of its dependencies
# and is compiled once.
# Build the program
[group('run')]
build: _make
    cargo build --profile {{ profile }} --workspace --bin thermograph --example clinic

# Get the weights of the local model, some 120 MB, checked and converted
[group('run')]
model: build _python
    @{{ program }} model pull

# Start the service, drive it, draw flame graphs; URL=http://… for one that runs already
[group('look inside')]
flamegraph *args:
    @if [ -n "${URL:-}" ]; then \
        {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} build; \
        set -- --url "$URL" --diagnostics-url "${DIAGNOSTICS_URL:-http://127.0.0.1:6060}" "$@"; \
    else \
        {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} model; \
    fi; \
    exec {{ program }} flamegraph "$@"

# Record the service with perf while it is driven, and compare that with our own capture
[group('look inside')]
perf *args: model
    @exec {{ program }} perf "$@"

# Drive ill handlers beside healthy ones, and see who is who
[group('look inside')]
clinic *args: build
    @exec {{ program }} flamegraph --program {{ clinic }} --connections 8 \
        --target 'GET /hello=20' --target 'GET /healthy=4' --target 'GET /spawned-blocking=1' \
        --target 'GET /blocking-sleep=1' --target 'GET /lock=1' --target 'GET /file-read=1' \
        --target 'GET /cpu-burn=1' --target 'GET /big-json=1' "$@"

# Capture CPU time of the service that runs, and draw it
[group('look inside')]
profile *args: build
    @exec {{ program }} capture cpu "$@"

# Capture wall-clock time in polls of the service that runs, and draw it
[group('look inside')]
wall *args: build
    @exec {{ program }} capture wall "$@"

# Capture stalls of the service that runs, and draw them
[group('look inside')]
stalls *args: build
    @exec {{ program }} capture stalls "$@"

# Capture spans of the service that runs, and draw them
[group('look inside')]
spans *args: build
    @exec {{ program }} capture spans "$@"

# Capture memory that the running service allocates and keeps, and draw it
[group('look inside')]
heap *args: build
    @exec {{ program }} capture heap "$@"

# List what was captured and kept in profiles/ and flamegraphs/
[group('look inside')]
captures *args: build
    @exec {{ program }} captures "$@"

# Draw what changed between two captures, by name, or .pb.gz or .folded files
[group('look inside')]
diff before after *args: build
    @exec {{ program }} diff "$@"

# Say which handler of the service that runs is ill, why, and what to try; `just diagnose --help`
[group('look inside')]
diagnose *args: build
    @exec {{ program }} diagnose "$@"

# Say what the service that runs can show and what it cannot, and what mends it
[group('look inside')]
doctor *args: build
    @exec {{ program }} doctor "$@"

# What each handler of the service that runs has cost
[group('look inside')]
handlers *args: build
    @exec {{ program }} handlers "$@"

# What every task of the service that runs is and waits for; `just tasks --full` asks them
[group('look inside')]
tasks *args: build
    @exec {{ program }} tasks "$@"

# Record a timeline of the service that runs, for ui.perfetto.dev
[group('look inside')]
trace *args: build
    @exec {{ program }} trace "$@"

# Attach tokio-console to the service that runs
[group('look inside')]
console address="http://127.0.0.1:6669": _tokio-console
    @exec {{ tools }}/bin/tokio-console "$1"

# One at a time: servers say of themselves whether they stalled, and tests side by side take each
# other's processors away.
# All tests, with the real clients of everything
[group('check')]
test *args: model tools
    RUST_TEST_THREADS=1 cargo test --profile {{ profile }} --workspace "$@"

# Tests that need no other program, no network and no root
[group('check')]
test-unit *args: _make
    cargo test --profile {{ profile }} --workspace --lib "$@"
    cargo test --profile {{ profile }} --test structure

# Formatting, lints, documentation, dependencies
[group('check')]
lint: _deny _make
    cargo fmt --check
    cargo clippy --profile {{ profile }} --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings --cfg tokio_unstable' cargo doc --profile {{ profile }} --workspace --no-deps --document-private-items
    {{ tools }}/bin/cargo-deny --locked check bans licenses sources

# Known vulnerabilities in dependencies: asks the advisory database on the network
[group('check')]
audit: _deny
    {{ tools }}/bin/cargo-deny --locked check advisories

# The protocol of the threads' slots, in every order that the memory model allows
[group('check')]
loom:
    RUSTFLAGS='--cfg loom --cfg tokio_unstable' cargo test --profile {{ profile }} --target-dir target/loom \
        -p thermograph-sampler --lib -- slot::model

# The library alone, with each of its features, and without tokio_unstable
[group('check')]
features: _make
    cargo clippy --profile {{ profile }} -p thermograph --no-default-features --lib --example mount -- -D warnings
    cargo clippy --profile {{ profile }} -p thermograph --no-default-features --features jemalloc --lib -- -D warnings
    RUSTFLAGS='-D warnings' cargo check --profile {{ profile }} --target-dir target/plain -p thermograph --lib --example mount
    ! grep -n 'cfg(.*tokio_unstable' crates/thermograph/examples/*.rs README.md

# What the diagnostics cost and how fast the service is, as ratios in one run; builds what is shipped
[group('check')]
bench *args: model
    cargo bench --workspace "$@"

# The second run takes the cells of the first one into its tables; the aims are judged over all.
# How well stalls of ill handlers are judged, in every setting and in both builds: half an hour
[group('check')]
specimens *args:
    @rm -f target/specimens.json
    cargo test --profile {{ profile }} -p thermograph --test matrix -- \
        --all --json "$PWD/target/specimens.json" "$@" || [ -f target/specimens.json ]
    RUSTFLAGS='-C force-frame-pointers=yes' cargo test --profile {{ profile }} --target-dir target/plain \
        -p thermograph --test matrix -- \
        --all --with "$PWD/target/specimens.json" "$@"

# Without sanitizers, which look for what safe code does not do, and need a nightly compiler. The
# versions are those of the package.
# Give the decoders whatever there is, each for so many seconds: `just fuzz 600`
[group('check')]
fuzz seconds="60": _fuzz
    @cp Cargo.lock fuzz/Cargo.lock
    @for target in json messagepack cbor sse; do \
        RUSTC_BOOTSTRAP=1 {{ tools }}/bin/cargo-fuzz run --sanitizer none "$target" -- \
            -max_total_time="$1" -print_final_stats=1 -rss_limit_mb=1024; \
    done

# Whether the server answers as its OpenAPI document says, with generated requests: three minutes
[group('check')]
contract: model
    cargo test --profile {{ profile }} --workspace --test it -- --ignored openapi::

# What the gate runs
[group('check')]
ci: lint loom features test

# Install what the tests use: Python, Node, Go, graphviz, tmux, objdump, Chromium, openssl, nginx, Redis, Postgres, PgBouncer, tokio-console, promtool
[group('set up')]
tools: _python _tokio-console && _promtool _nginx _redis _postgres _pgbouncer
    @missing=''; \
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"; \
    command -v node >/dev/null || missing="$missing nodejs"; \
    command -v npm >/dev/null || missing="$missing npm"; \
    command -v go >/dev/null || missing="$missing golang-go"; \
    command -v tmux >/dev/null || missing="$missing tmux"; \
    command -v dot >/dev/null || missing="$missing graphviz"; \
    command -v objdump >/dev/null || missing="$missing binutils"; \
    command -v chromium >/dev/null || missing="$missing chromium"; \
    command -v openssl >/dev/null || missing="$missing openssl"; \
    {{ install }} $missing

# Draw the README's pictures anew: without the script, which a picture in a page cannot run
[group('set up')]
pictures: flamegraph clinic
    for name in embeddings-cpu embeddings-spans clinic-stalls; do \
        newest=$(ls flamegraphs/*Z-"${name#*-}-${name%-*}".svg | tail -n 1); \
        perl -0pe 's/<script.*?<\/script>//s; s/ onload="[^"]*"//' "$newest" \
            > "flamegraphs/readme-$name.svg"; \
    done

# Take the README's pictures of the page anew, while the clinic is driven
[group('set up')]
screenshots: build tools
    cargo test --profile {{ profile }} --workspace --test it page::pictures -- --ignored

# Remove what was built, captured and installed; the weights stay
[group('set up')]
clean:
    cargo clean
    rm -rf .tools fuzz/target
    find profiles flamegraphs -type f ! -name README.md ! -name 'readme-*' -delete

# Builds jemalloc
_make:
    @missing=''; command -v make >/dev/null || missing=make; {{ install }} $missing

# Fetches and converts the weights
_python:
    @missing=''; \
    python3 -m pip --version >/dev/null 2>&1 || pip3 --version >/dev/null 2>&1 || missing='python3-pip'; \
    {{ install }} $missing

# Built with few optimizations, in three quarters of the time
_tokio-console:
    @[ -x {{ tools }}/bin/tokio-console ] || CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root {{ tools }} tokio-console@{{ console_version }}

# Out of Debian's package, which would start a Prometheus of its own if it were installed
_promtool:
    @[ -x {{ tools }}/bin/promtool ] || command -v promtool >/dev/null || { \
        command -v apt-get >/dev/null || { echo 'install promtool first' >&2; exit 1; }; \
        echo 'fetching promtool' >&2; \
        dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; \
        apt-get download -qq prometheus 2>/dev/null || { \
            sudo=; [ "$(id -u)" = 0 ] || sudo=sudo; $sudo apt-get update -qq; \
            apt-get download -qq prometheus; }; \
        dpkg -x prometheus_*.deb unpacked; \
        mkdir -p {{ tools }}/bin; cp unpacked/usr/bin/promtool {{ tools }}/bin/; \
    }

# Out of Debian's package, which would start a server of its own if it were installed
_nginx:
    @{{ tools }}/bin/nginx -v 2>/dev/null || command -v nginx >/dev/null || { \
        command -v apt-get >/dev/null || { echo 'install nginx first' >&2; exit 1; }; \
        echo 'fetching nginx' >&2; \
        dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; \
        apt-get download -qq nginx 2>/dev/null || { \
            sudo=; [ "$(id -u)" = 0 ] || sudo=sudo; $sudo apt-get update -qq; \
            apt-get download -qq nginx; }; \
        dpkg -x nginx_*.deb unpacked; \
        mkdir -p {{ tools }}/bin; cp unpacked/usr/sbin/nginx {{ tools }}/bin/; \
        {{ tools }}/bin/nginx -v 2>/dev/null || { {{ install }} libcrypt1 libpcre2-8-0 libssl3 zlib1g; }; \
    }

# Out of Debian's packages, which would start a server of their own if they were installed
_redis:
    @{{ tools }}/bin/redis-server --version >/dev/null 2>&1 || command -v redis-server >/dev/null || { \
        command -v apt-get >/dev/null || { echo 'install redis-server first' >&2; exit 1; }; \
        echo 'fetching Redis' >&2; \
        dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; \
        apt-get download -qq redis-server redis-tools 2>/dev/null || { \
            sudo=; [ "$(id -u)" = 0 ] || sudo=sudo; $sudo apt-get update -qq; \
            apt-get download -qq redis-server redis-tools; }; \
        for package in *.deb; do dpkg -x "$package" unpacked; done; \
        mkdir -p {{ tools }}/bin; \
        cp -L unpacked/usr/bin/redis-server unpacked/usr/bin/redis-cli {{ tools }}/bin/; \
        {{ tools }}/bin/redis-server --version >/dev/null 2>&1 || { {{ install }} libatomic1 libjemalloc2 liblzf1 libssl3 libsystemd0; }; \
    }

# Out of Debian's package, which would start a server of its own if it were installed
_postgres:
    @for program in {{ tools }}/postgres/usr/lib/postgresql/*/bin/initdb /usr/lib/postgresql/*/bin/initdb; do \
        if "$program" --version >/dev/null 2>&1; then exit 0; fi; \
    done; \
    command -v apt-get >/dev/null || { echo 'install postgresql first' >&2; exit 1; }; \
    echo 'fetching postgresql' >&2; \
    dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; \
    newest() { apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: \(postgresql-[0-9]*\)$/\1/p'; }; \
    [ -n "$(newest)" ] && apt-get download -qq "$(newest)" 2>/dev/null || { \
        sudo=; [ "$(id -u)" = 0 ] || sudo=sudo; $sudo apt-get update -qq; \
        apt-get download -qq "$(newest)"; }; \
    mkdir -p {{ tools }}/postgres; \
    dpkg -x postgresql-*.deb {{ tools }}/postgres; \
    {{ install }} $(dpkg-deb -f postgresql-*.deb Depends | tr ',' '\n' | sed 's/[|(].*//' \
        | grep -oE '[^ ]*lib[^ ]*|tzdata' | grep -v llvm)

# Out of Debian's package, which would start a pooler of its own if it were installed
_pgbouncer:
    @{{ tools }}/bin/pgbouncer --version >/dev/null 2>&1 || command -v pgbouncer >/dev/null || { \
        command -v apt-get >/dev/null || { echo 'install pgbouncer first' >&2; exit 1; }; \
        echo 'fetching pgbouncer' >&2; \
        dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; \
        apt-get download -qq pgbouncer 2>/dev/null || { \
            sudo=; [ "$(id -u)" = 0 ] || sudo=sudo; $sudo apt-get update -qq; \
            apt-get download -qq pgbouncer; }; \
        dpkg -x pgbouncer_*.deb unpacked; \
        mkdir -p {{ tools }}/bin; cp unpacked/usr/sbin/pgbouncer {{ tools }}/bin/; \
        {{ tools }}/bin/pgbouncer --version >/dev/null 2>&1 || { {{ install }} \
            $(dpkg-deb -f pgbouncer_*.deb Depends | tr ',' '\n' | sed 's/[|(].*//' | grep -oE '[^ ]*lib[^ ]*' | grep -v libc6); }; \
    }

# It runs for three seconds: it is built without optimizations, in one minute instead of three
_deny:
    @[ -x {{ tools }}/bin/cargo-deny ] || CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root {{ tools }} cargo-deny@{{ deny_version }}

# libFuzzer is C++
_fuzz:
    @missing=''; command -v c++ >/dev/null || missing=g++; {{ install }} $missing
    @[ -x {{ tools }}/bin/cargo-fuzz ] || cargo install --quiet --locked --root {{ tools }} cargo-fuzz@{{ fuzz_version }}
