#!/usr/bin/env bash
# Installs what the tests need and Rust does not bring along; does nothing where it is there.
#
#   etcdctl   the client whose answers are checked        (Debian: etcd-client)
#   curl      fetches pages of servers                     (Debian: curl)
#   protoc    compiles the protocol of the clients' crate (Debian: protobuf-compiler, libprotobuf-dev)
#   cc        compiles the allocator                      (Debian: build-essential)
#   javac     and java run TLC, which checks the specification (Debian: default-jdk-headless)
#   pip       gets TLC itself, an etcd, and clients of it  (Debian: python3-pip)
#   node      runs a client of etcd, which npm gets        (Debian: nodejs, npm)
#   strace    makes system calls fail                      (Debian: strace)
#   valgrind  counts instructions                          (Debian: valgrind)
#   mkfs.ext4 makes disks that can lose their power        (Debian: e2fsprogs)
set -euo pipefail

if ! command -v cargo >/dev/null; then
  echo "setup: no cargo here: install Rust first, https://rustup.rs" >&2
  exit 1
fi

missing=()
command -v etcdctl >/dev/null || missing+=(etcd-client)
command -v curl >/dev/null || missing+=(curl)
command -v protoc >/dev/null || missing+=(protobuf-compiler)
# protoc's own definitions, which those of etcd import, come in a package of their own.
[ -e /usr/include/google/protobuf/descriptor.proto ] ||
  [ -e "$(dirname "$(command -v protoc || echo /usr/local/bin/protoc)")/../include/google/protobuf/descriptor.proto" ] ||
  missing+=(libprotobuf-dev)
command -v cc >/dev/null || missing+=(build-essential)
command -v javac >/dev/null || missing+=(default-jdk-headless)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v strace >/dev/null || missing+=(strace)
command -v valgrind >/dev/null || missing+=(valgrind)
command -v mkfs.ext4 >/dev/null || [ -x /sbin/mkfs.ext4 ] || missing+=(e2fsprogs)
[ ${#missing[@]} -gt 0 ] || exit 0

by_hand="install these by hand and try again: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "setup: this is no Debian or Ubuntu; $by_hand" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: neither root nor sudo; $by_hand" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
}
# The list of packages may be missing or old, so try with a new one before giving up.
install >/dev/null 2>&1 || { "${as_root[@]}" apt-get update -qq && install; } || {
  echo "setup: apt-get failed; $by_hand" >&2
  exit 1
}
