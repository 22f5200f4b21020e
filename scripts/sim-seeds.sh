#!/usr/bin/env bash
# Runs simulated worlds of every plan that comes along: the same seeds each time, then fresh ones if
# there is time for them. Prints the seeds, and for a failure the command that repeats it.
#
# Each commit has fresh seeds of its own, so that whoever tests a commit again tries the same ones,
# and a longer run of it goes on where a shorter one ended.
#
#   bash scripts/sim-seeds.sh           the same seeds, as every test run does
#   bash scripts/sim-seeds.sh 300       fresh ones as well, for about so many seconds in all
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-0}
# Outside a repository there is no commit, and the time of day must do.
commit=$(git rev-parse --verify --quiet HEAD || date +%s%N | sha1sum)
first=$((16#${commit:0:12}))
# Plan, seeds that are always run, and its share of the time for fresh ones, in hundredths.
plans=("swarm 0..1000 45" "disks 0..2000 20" "decay 0..200 10" "long 0..4 25")

cargo build --quiet --locked --release --package headwater-sim
sim="${CARGO_TARGET_DIR:-target}/release/headwater-sim"

begin=$SECONDS
run() {
  local log
  printf 'measured: plan %s, %s: ' "$1" "$3"
  if ! log=$("$sim" --plan "$@" --jobs 2 --shrink 0); then
    printf 'FAILED\n%s\n' "$log"
    return 1
  fi
  grep -h '^seeds [0-9]*\.\.' <<<"$log"
}

failed=0
for plan in "${plans[@]}"; do
  read -r name seeds _ <<<"$plan"
  run "$name" --seeds "$seeds" || failed=1
done
[ "$seconds" -gt 0 ] || exit "$failed"
left=$((begin + seconds - SECONDS))
for plan in "${plans[@]}"; do
  read -r name _ share <<<"$plan"
  minutes=$(awk -v left="$left" -v share="$share" 'BEGIN { print (left > 0 ? left : 1) * share / 6000 }')
  run "$name" --seeds "$first..$((first + 1000000000))" --minutes "$minutes" || failed=1
done
exit "$failed"
