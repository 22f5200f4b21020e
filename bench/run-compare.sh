#!/usr/bin/env bash
# Compares Headwater with etcd 3.5.1 on this machine: same load, same disk, default flags, in turn.
#
#   bash bench/run-compare.sh [--rounds 5] [--seconds 5] ...   as of `headwater-bench compare`
#
# The figures mean something only if the machine is otherwise idle ("CPUs that others used") and
# the data lies on a real disk.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

rival="$(bash scripts/rival.sh)/etcd"

cargo build --locked --release
cargo build --locked --release --manifest-path bench/Cargo.toml
# One comparison at a time has this folder; what a broken one left behind goes.
data="$CARGO_TARGET_DIR/bench-data"
rm -rf "$data"
mkdir -p bench/results
exec "$CARGO_TARGET_DIR/release/headwater-bench" compare \
  --ours "$CARGO_TARGET_DIR/release/headwater" --rival "$rival" --dir "$data" \
  --json bench/results/latest.json "$@"
