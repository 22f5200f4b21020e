#!/usr/bin/env bash
# Runs the same seeds with a debug and a release build of the simulator, twice each with another
# number of threads; all must come to the same hash.
#
#   bash scripts/sim-hash.sh [SEEDS [PLAN]]      0..100 swarm, unless told otherwise
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-0..100}
plan=${2:-swarm}
hashes=""
for build in debug release; do
  # The debug build is that of the server, which is the same simulator: what its tests have compiled
  # is not compiled again.
  case $build in
  debug) sim=(-p headwater -- sim) ;;
  release) sim=(--release -p headwater-sim --) ;;
  esac
  for jobs in 1 2; do
    hash=$(cargo run --quiet --locked "${sim[@]}" \
      --plan "$plan" --seeds "$seeds" --jobs "$jobs" | sed -n 's/^hash //p')
    echo "$build, $jobs threads: $hash"
    hashes="$hashes$hash"$'\n'
  done
done
[ "$(printf '%s' "$hashes" | sort -u | wc -l)" -eq 1 ] || { echo "they differ" >&2; exit 1; }
