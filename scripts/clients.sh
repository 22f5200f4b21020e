#!/usr/bin/env bash
# Gets a client of etcd from its language's package index, in the release that the tests use, and prints the
# folder that holds it.
#
#   bash scripts/clients.sh etcd3      for Python: the folder is for PYTHONPATH
#   bash scripts/clients.sh aetcd      for Python, with asyncio
#   bash scripts/clients.sh node       etcd3 for Node.js: the folder is for NODE_PATH
set -euo pipefail
cd "$(dirname "$0")/.."

client=${1:?which client}
consumers=$PWD/tests/consumers
case $client in
node) asked="$consumers/node/package-lock.json" ;;
*) asked="$consumers/python/$client.txt" ;;
esac
# What is asked for names the folder, and for Python so does the release that runs it.
version=$(cat "$asked" <(python3 --version) | cksum | cut -d' ' -f1)
folder="${CARGO_TARGET_DIR:-$PWD/target}/clients/$client-$version"
if [ ! -d "$folder" ]; then
  mkdir -p "$(dirname "$folder")"
  download=$(mktemp -d "$(dirname "$folder")/getting-XXXX")
  trap 'rm -rf "$download"' EXIT
  if [ "$client" = node ]; then
    cp "$consumers"/node/package*.json "$download"
    (cd "$download" && npm ci --silent --no-audit --no-fund --ignore-scripts) >&2
    got=$download/node_modules
  else
    got=$download/packages
    python3 -m pip install --quiet --root-user-action ignore --disable-pip-version-check --no-deps \
      --target "$got" --requirement "$asked" >&2
  fi
  # Whole or not there; another who was quicker has the same.
  mv -T "$got" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder"
