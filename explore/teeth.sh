#!/usr/bin/env bash
# Plants one bug at a time in a copy of the core, and shows that the exploration finds it.
#
#   bash explore/teeth.sh                all of explore/mutants
#   bash explore/teeth.sh NAME...        these
#
# The first lines of a mutant say what it does and in which scope it is looked for.
set -uo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# The crates of the workspace are the copy's, the compiled dependencies of all mutants are shared.
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$copy"
export CARGO_TARGET_DIR="${TEETH_TARGET_DIR:-$copy/target}"

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  names=()
  for patch in explore/mutants/*.patch; do
    names+=("$(basename "$patch" .patch)")
  done
fi

printf '%-28s %-18s %-22s %10s %8s\n' mutant scope 'caught by' states seconds
missed=0
for name in "${names[@]}"; do
  patch="$PWD/explore/mutants/$name.patch"
  scope=$(sed -n 's/^Scope: //p' "$patch")
  caught='' states='' seconds=''
  if ! (cd "$copy" && git apply "$patch"); then
    caught='DOES NOT APPLY'
  elif ! (cd "$copy" && cargo build -q --locked --release --manifest-path explore/Cargo.toml) 2>"$copy/log"; then
    caught='DOES NOT COMPILE'
    cat "$copy/log" >&2
  else
    # shellcheck disable=SC2086 # A scope may have bounds behind it.
    "$CARGO_TARGET_DIR/release/headwater-explore" $scope >"$copy/out"
    caught=$(sed -n 's/^broken: \([^:]*\):.*/\1/p' "$copy/out")
    states=$(sed -n 's/^measured: [^:]*: \([0-9]*\) states.*/\1/p' "$copy/out")
    seconds=$(sed -n 's/^measured: .*; \([0-9.]*\) s$/\1/p' "$copy/out")
  fi
  case $caught in
  '' | DOES*) missed=$((missed + 1)) ;;
  esac
  printf '%-28s %-18s %-22s %10s %8s\n' "$name" "$scope" "${caught:-NOTHING}" "$states" "$seconds"
  # Another one may follow; a copy that cannot be mended is of no use.
  [ "$caught" = 'DOES NOT APPLY' ] || (cd "$copy" && git apply -R "$patch") || exit 1
done
echo "${#names[@]} mutants, $missed not caught"
[ "$missed" -eq 0 ]
