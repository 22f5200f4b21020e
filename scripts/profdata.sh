#!/usr/bin/env bash
# Prints an llvm-profdata of the LLVM that is in this rustc, whose counts no older one reads; gets one where
# none is: rustup's component, or Debian's package of that number.
set -euo pipefail

version=$(rustc -vV)
host=$(sed -n 's/^host: //p' <<<"$version")
llvm=$(sed -n 's/^LLVM version: \([0-9]*\).*/\1/p' <<<"$version")
own="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"

find_it() {
  local program
  for program in "$own" "llvm-profdata-$llvm" llvm-profdata; do
    if "$program" --version 2>/dev/null | grep -q "LLVM version $llvm\."; then
      command -v "$program"
      return 0
    fi
  done
  return 1
}

find_it && exit 0
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "llvm-$llvm" </dev/null
}
{
  echo "profdata: getting llvm-profdata of LLVM $llvm"
  rustup component add llvm-tools || install || { "${as_root[@]}" apt-get update -qq && install; } || true
} >&2
find_it || {
  echo "profdata: no llvm-profdata of LLVM $llvm; get one with \`rustup component add llvm-tools\`" >&2
  exit 1
}
