#!/usr/bin/env bash
# Runs every test there is, after installing what they need. The one command before a commit.
#
#   bash scripts/test.sh              everything
#   SERVER_BIN=etcd bash scripts/test.sh black-box
#                                     the black-box tests alone, against another server
set -uo pipefail
cd "$(dirname "$0")/.."

# One folder for all workspaces, so that each dependency is compiled once.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
# What is shipped is optimised across crates, which takes its time; what is tested need not be. What
# counts instructions builds as for shipping all the same.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
# Longer than any step takes on two slow cores; a test that hangs must not hang the rest.
STEP_SECONDS=1200

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
summary=()
failures=""
failed_steps=0
passed=0
failed=0

# step NAME COMMAND...: runs a command, shows its output if it fails, and counts its tests.
step() {
  local name=$1 log="$logs/log" begin=$SECONDS status=0
  shift
  printf '== %s\n' "$name"
  timeout "$STEP_SECONDS" "$@" >"$log" 2>&1 </dev/null || status=$?
  account "$name" "$log" "$status" $((SECONDS - begin))
}

# aside NAME COMMAND...: runs a command that only computes, for the steps beside it that mostly wait,
# and takes nothing from them.
aside() {
  local log begin=$SECONDS status=0 name=$1
  log=$(mktemp "$logs/aside-XXXX")
  shift
  nice -n 19 timeout $((2 * STEP_SECONDS)) "$@" >"$log" 2>&1 </dev/null || status=$?
  printf '%s\t' "$log" "$status" "$((SECONDS - begin))" "$name" >>"$logs/asides"
  echo >>"$logs/asides"
}

# await_asides PID COUNT: waits for what runs aside in that process, and counts it as steps.
await_asides() {
  local log status seconds name
  wait "$1" || true
  if [ "$(wc -l <"$logs/asides")" -ne "$2" ]; then
    failed_steps=$((failed_steps + 1))
    failures+="of $2 steps aside, these ended: $(cut -f4 "$logs/asides" | tr '\n' ';')"$'\n'
  fi
  while IFS=$'\t' read -r log status seconds name _; do
    printf '== %s, aside\n' "$name"
    account "$name, aside" "$log" "$status" "$seconds"
  done <"$logs/asides"
}

# account NAME LOG STATUS SECONDS: what a step came to.
account() {
  local name=$1 log=$2 verdict=ok counts=""
  if [ "$3" -ne 0 ]; then
    verdict=FAILED
    failed_steps=$((failed_steps + 1))
    cat "$log"
    # Said again at the end, because that is the part of a long output that is kept and read.
    failures+=$(printf '\n== %s FAILED, and said last:\n' "$name"; tail -n 12 "$log" | cut -c1-400)$'\n'
  fi
  # cargo's closing lines: "test result: ok. 12 passed; 0 failed; ..."
  read -r p f < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
  passed=$((passed + p))
  failed=$((failed + f))
  [ $((p + f)) -eq 0 ] || counts="$p passed, $f failed"
  # What tests measured is worth seeing even when they pass.
  grep -h '^measured: ' "$log" || true
  summary+=("$(printf '%-7s %5d s  %-38s %s' "$verdict" "$4" "$name" "$counts")")
}

# What runs beside the steps, one after the other. The last takes whatever time it is given.
computing() {
  aside "the specification, every state" \
    cargo run --quiet --locked --release -p xtask -- spec check
  aside "the specification, planted changes" \
    cargo run --quiet --locked --release -p xtask -- spec teeth --quick
  aside "exploration of small clusters" cargo run --locked --manifest-path explore/Cargo.toml
  aside "traces against the specification" \
    cargo run --quiet --locked --release -p xtask -- spec traces
  aside "the same states of the core and of the specification" \
    cargo run --quiet --locked --release -p xtask -- spec equal
  aside "simulated worlds, the same and fresh ones" bash scripts/sim-seeds.sh 90
}

bash scripts/setup.sh || exit 1

what=${1:-all}
case $what in
all)
  step "format" cargo fmt --all --check
  step "format of the black-box tests" cargo fmt --manifest-path tests/etcd/Cargo.toml --check
  step "format of the benchmarks" \
    cargo fmt --manifest-path bench/Cargo.toml -p headwater-bench -p headwater-bench-core \
    -p headwater-bench-log --check
  step "format of the generator of code" cargo fmt --manifest-path xtask/protogen/Cargo.toml --check
  step "format of the exploration" cargo fmt --manifest-path explore/Cargo.toml --check
  step "format of the fuzz targets" cargo fmt --manifest-path fuzz/Cargo.toml --check
  # First what runs aside, so that no processor is idle while a step waits or ends with one thread.
  step "the build of what runs aside" cargo build --locked --release -p xtask -p headwater-sim
  step "clippy on the exploration" \
    cargo clippy --locked --manifest-path explore/Cargo.toml --all-targets -- -D warnings
  step "tests of the exploration" cargo test --locked --manifest-path explore/Cargo.toml
  computing &
  computing=$!
  step "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
  step "tests of the crates, and tidy" cargo test --locked --workspace --no-fail-fast
  step "clippy on the fuzz targets" \
    cargo clippy --locked --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings
  step "fuzz targets, kept and drawn inputs" cargo test --locked --manifest-path fuzz/Cargo.toml
  step "the simulator's hashes, debug and release" bash scripts/sim-hash.sh 0..40
  step "instructions of a request's paths" \
    cargo run --quiet --locked --release -p xtask -- bench instructions
  step "the server's build" cargo build --locked
  ;;
black-box)
  [ -n "${SERVER_BIN:-}" ] || step "the server's build" cargo build --locked
  ;;
*)
  echo "usage: bash scripts/test.sh [all|black-box]" >&2
  exit 2
  ;;
esac
if [ "$what" = all ]; then
  step "clippy on the black-box tests" \
    cargo clippy --locked --manifest-path tests/etcd/Cargo.toml --all-targets -- -D warnings
  step "clippy on the benchmarks" \
    cargo clippy --locked --manifest-path bench/Cargo.toml --workspace --all-targets -- -D warnings
  step "tests of the load generator" \
    cargo test --locked --manifest-path bench/Cargo.toml -p headwater-bench
  step "the core's benchmark counts right" \
    cargo run --locked --manifest-path bench/Cargo.toml -p headwater-bench-core -- --quick
  step "a server used in every way there is" \
    cargo run --quiet --locked --manifest-path bench/Cargo.toml -p headwater-bench -- train \
    --server "$CARGO_TARGET_DIR/debug/headwater" --seconds 0.5 --keys 5000 --dir "$CARGO_TARGET_DIR/train-data"
fi
step "the black-box tests' build" \
  cargo test --locked --manifest-path tests/etcd/Cargo.toml --no-run
step "black-box tests with etcd's clients" \
  cargo test --locked --manifest-path tests/etcd/Cargo.toml --no-fail-fast -- --nocapture
if [ "$what" = all ]; then
  step "the demonstration" "$CARGO_TARGET_DIR/debug/headwater" dev --demo
  await_asides "$computing" 6
fi

echo
printf '%s\n' "${summary[@]}"
printf '%s\n' "$failures"
if [ "$failed_steps" -gt 0 ] && [ "$failed" -eq 0 ]; then
  # A step that is no test failed; say so in the one line that is read.
  failed=$failed_steps
fi
echo "$passed passed, $failed failed"
[ "$failed_steps" -eq 0 ]
