#!/usr/bin/env bash
# Shows that Patroni keeps a replicated PostgreSQL available on a cluster of three servers, whose JSON
# API is what its section `etcd3` speaks: transactions, leases, and a watch that stays open.
#
#   SERVER_BIN=target/debug/headwater bash tests/consumers/patroni.sh
#
# SERVER_BIN may be any server with etcd's flags, etcd itself for one.
#
# Two Patroni nodes replicate synchronously while a row is committed every tenth of a second or so. Then
#
# 1. the server that leads, which both nodes talk to, dies by SIGKILL: for longer than Patroni's ttl, which
#    would depose a primary that cannot renew its lease, the same primary must go on to commit;
# 2. the primary dies, Patroni and PostgreSQL, by SIGKILL, while one server is still dead: the replica must be
#    promoted, no row that was acknowledged may be missing, and the dead one must come back as replica.
#
# Debian only. Installs patroni, postgresql and postgresql-client if they are missing; starts none of
# their services (the next boot would, until `systemctl disable patroni postgresql`). As root it runs them as
# the user postgres. Listens on 127.0.0.1, on the first ten ports in a row from 33000 on that are free. Takes a
# minute and a half, three minutes at most, ends what it started and removes its files. Ends with PASS or says
# what went wrong. It is not part of `scripts/test.sh`.
set -euo pipefail
cd "$(dirname "$0")/../.."

server=$(readlink -f "${SERVER_BIN:-${CARGO_TARGET_DIR:-target}/debug/headwater}")
[ -x "$server" ] || {
  echo "patroni: no server at $server: build it (cargo build), or name another in SERVER_BIN" >&2
  exit 1
}
seconds_max=180
# How long a primary may be silent, in seconds; loop_wait + 2 * retry_timeout must fit in.
ttl=20

# PostgreSQL's own programs: Debian's psql in the path is a wrapper that takes longer than a row.
programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

install_packages() {
  local packages="patroni postgresql postgresql-client curl" policy=/usr/sbin/policy-rc.d
  if [ -x /usr/bin/patroni ] && [ -x "$(programs)/initdb" ] && command -v curl >/dev/null; then
    return
  fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "patroni: install these and try again (on Debian, as root): $packages" >&2
    exit 1
  fi
  echo "patroni: installing $packages"
  # Debian asks this before it starts a service.
  local had_policy=true
  if [ ! -e $policy ]; then
    had_policy=false
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
  fi
  local install="apt-get install -y -qq --no-install-recommends $packages" status=0
  export DEBIAN_FRONTEND=noninteractive
  $install >/dev/null 2>&1 </dev/null || { apt-get update -qq && $install </dev/null; } || status=$?
  $had_policy || rm $policy
  return $status
}

# The first of ten ports in a row that nobody uses.
free_ports() {
  /usr/bin/python3 - <<'PYTHON'
import contextlib, socket
for base in range(33000, 60000, 10):
    with contextlib.ExitStack() as held, contextlib.suppress(OSError):
        for port in range(base, base + 10):
            held.enter_context(socket.socket()).bind(("127.0.0.1", port))
        print(base)
        break
PYTHON
}

install_packages
SECONDS=0
bin=$(programs)
base=$(free_ports)
dir=$(readlink -f "$(mktemp -d)")
chmod 711 "$dir"
unset "${!PG@}" "${!PATRONI@}"
PGPASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
export PGPASSWORD
as_postgres=()
[ "$(id -u)" -ne 0 ] || as_postgres=(setpriv --reuid postgres --regid postgres --init-groups)

declare -A pids # of what runs now: s1, s2, s3, p1, p2, writer

# --- The parts

client_port() { echo $((base + ${1#s} - 1)); }
peer_port() { echo $((base + 3 + ${1#s} - 1)); }
postgres_port() { echo $((base + 6 + ${1#p} - 1)); }
patroni_port() { echo $((base + 8 + ${1#p} - 1)); }
peer_url() { echo "http://127.0.0.1:$(peer_port "$1")"; }

# launch NAME COMMAND...: runs it aside; the shell does not tell of its end.
launch() {
  local name=$1
  shift
  (cd "$dir" && exec "$@") >>"$dir/$name.log" 2>&1 </dev/null &
  pids[$name]=$!
  disown
}

start_server() {
  local client
  client=http://127.0.0.1:$(client_port "$1")
  launch "$1" "$server" --name "$1" --data-dir "$dir/$1" \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$(peer_url "$1")" --initial-advertise-peer-urls "$(peer_url "$1")" \
    --initial-cluster "s1=$(peer_url s1),s2=$(peer_url s2),s3=$(peer_url s3)"
}

# start_patroni NAME SERVER: a node that talks to that server first, and learns of the others from it.
start_patroni() {
  local home=$dir/$1
  mkdir -p "$home"
  cat >"$home/patroni.yml" <<YAML
scope: consumer
name: $1
restapi:
  listen: 127.0.0.1:$(patroni_port "$1")
  connect_address: 127.0.0.1:$(patroni_port "$1")
etcd3:
  host: 127.0.0.1:$(client_port "$2")
bootstrap:
  dcs:
    ttl: $ttl
    loop_wait: 5
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
  initdb: [{encoding: UTF8}, {locale: C.UTF-8}, data-checksums]
  pg_hba:
  - host all all 127.0.0.1/32 scram-sha-256
  - host replication all 127.0.0.1/32 scram-sha-256
postgresql:
  listen: 127.0.0.1:$(postgres_port "$1")
  connect_address: 127.0.0.1:$(postgres_port "$1")
  bin_dir: $bin
  data_dir: $home/data
  pgpass: $home/pgpass
  authentication:
    superuser: {username: postgres, password: $PGPASSWORD}
    replication: {username: replicator, password: $PGPASSWORD}
  parameters:
    unix_socket_directories: ''
    dynamic_shared_memory_type: mmap # in the data directory, which is removed
YAML
  chmod -R go= "$home"
  [ "$(id -u)" -ne 0 ] || chown -R postgres:postgres "$home"
  launch "$1" "${as_postgres[@]}" patroni "$home/patroni.yml"
}

# sql NODE STATEMENT: at the node p1 or p2, or at whichever takes writes (`primary`).
sql() {
  local at
  if [ "$1" = primary ]; then
    at="host=127.0.0.1,127.0.0.1 port=$(postgres_port p1),$(postgres_port p2) target_session_attrs=read-write"
  else
    at="host=127.0.0.1 port=$(postgres_port "$1")"
  fi
  timeout 5 "$bin/psql" -XAtq -v ON_ERROR_STOP=1 -c "$2" \
    "$at user=postgres dbname=postgres connect_timeout=2"
}

# is NODE STATE: what its Patroni says of it (primary, replica, synchronous).
is() {
  curl -sf --noproxy '*' --max-time 2 -o "$dir/page" "http://127.0.0.1:$(patroni_port "$1")/$2"
}

# says SERVER LINE: whether the server's metrics have that line.
says() {
  curl -sf --noproxy '*' --max-time 2 -o "$dir/page" "http://127.0.0.1:$(client_port "$1")/metrics" &&
    grep -qx "$2" "$dir/page"
}

has_a_leader() { says "$1" 'etcd_server_has_leader 1'; }

find_leader() {
  for leader in s1 s2 s3; do says $leader 'etcd_server_is_leader 1' && return; done
  return 1
}

find_primary() {
  for primary in p1 p2; do
    replica=p$((3 - ${primary#p}))
    is $primary primary && return
  done
  return 1
}

# Commits one row after the other, and notes which, and when it was told so, in milliseconds.
write_rows() {
  local n=0
  while :; do
    n=$((n + 1))
    ! sql primary "insert into witness values ($n)" || echo "$n $(date +%s%3N)"
    sleep 0.05
  done >"$dir/committed" 2>>"$dir/writer.log"
}

committed() { wc -l <"$dir/committed"; }
commits_again() { [ "$(committed)" -gt "$rows" ]; }

# longest_pause FROM: the longest time without a committed row since then, in milliseconds.
longest_pause() {
  { cat "$dir/committed"; echo "now $(date +%s%3N)"; } | awk -v from="$1" '
    last && $2 > from && $2 - last > longest { longest = $2 - last }
    { last = $2 }
    END { print longest + 0 }'
}

content() { sql "$1" "select count(*), sum(n) from witness"; }
same() { [ "$(content p1)" = "$(content p2)" ]; }

# A primary that was restarted or promoted anew has another life.
life() {
  sql "$1" "select pg_postmaster_start_time(), left(pg_walfile_name(pg_current_wal_lsn()), 8)"
}

# await SECONDS WHAT COMMAND...: until it succeeds, and as long as all that should run does.
await() {
  local until=$((SECONDS + $1)) what=$2 name
  shift 2
  [ $until -lt $seconds_max ] || until=$seconds_max
  until "$@" 2>>"$dir/await.log"; do
    for name in "${!pids[@]}"; do
      kill -0 "${pids[$name]}" 2>/dev/null || fail "$name ended by itself"
    done
    [ $SECONDS -lt $until ] || fail "$what, after $SECONDS s"
    sleep 0.2
  done
}

verdict="FAILED: a command failed" # until there is a better one

fail() {
  verdict="FAILED: $1"
  exit 1
}

# end NAME SIGNAL: ends a process that this script started, and waits for that.
end() {
  local pid=${pids[$1]:-}
  [ -n "$pid" ] || return 0
  unset "pids[$1]"
  kill "-$2" "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

# The process of a node's PostgreSQL, if there is one.
postmaster() { head -n 1 "$dir/$1/data/postmaster.pid" 2>/dev/null; }

# A node dies as its machine would: Patroni, PostgreSQL, and what that had in shared memory.
kill_node() {
  local pid memory
  end "$1" KILL
  pid=$(postmaster "$1")
  memory=$(awk 'NR == 7 { print $2 }' "$dir/$1/data/postmaster.pid")
  # Nothing may be begun or said any more.
  kill -STOP "$pid"
  kill -KILL $(pgrep -P "$pid") "$pid" 2>/dev/null
  while pgrep -P "$pid" >/dev/null || kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  ipcrm -m "$memory"
}

clean_up() {
  local status=$? name pid
  set +e
  if [ $status -eq 1 ]; then
    tail -v -n 15 "$dir"/*.log | cut -c1-300
    echo "$verdict"
  fi >&2
  for name in writer p1 p2 s1 s2 s3; do end $name KILL; done
  for name in p1 p2; do
    pid=$(postmaster $name) || continue
    [ "$(readlink "/proc/$pid/cwd")" = "$dir/$name/data" ] || continue
    # At once, but in order: it leaves no shared memory.
    kill -QUIT "$pid" || continue
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  done
  rm -rf "$dir"
  exit $status
}

# --- What happens

trap clean_up EXIT
trap 'exit 130' INT TERM

for name in s1 s2 s3; do start_server $name; done
for name in s1 s2 s3; do await 20 "$name does not serve" has_a_leader $name; done
find_leader
echo "$("$server" --version | sed -n '1s/ (.*//; 1p'): $leader leads three servers"

start_patroni p1 "$leader"
start_patroni p2 "$leader"
await 75 "no node became primary" find_primary
await 45 "no replica streams synchronously" is $replica synchronous
echo "$(patroni --version), $("$bin/postgres" --version): after $SECONDS s $primary is primary, $replica replica"

sql primary "create table witness (n int primary key)"
write_rows &
pids[writer]=$!
disown
await 10 "rows are not committed" [ -s "$dir/committed" ]

find_leader
before=$(life $primary)
killed_ms=$(date +%s%3N)
end $leader KILL
echo "killed $leader, which leads"
sleep $((ttl + 5))
[ "$(life $primary 2>&1)" = "$before" ] || fail "$primary was restarted or demoted when $leader died"
is $primary primary || fail "$primary does not hold the lease any more"
is $replica synchronous || fail "$replica does not replicate synchronously any more"
pause=$(longest_pause "$killed_ms")
moved=$(grep -l 'Selected new etcd server' "$dir"/p?.log | wc -l)
echo "$moved of 2 nodes went to another server; $primary is still primary after $((ttl + 5)) s;" \
  "longest time without a committed row: $pause ms"
[ "$pause" -lt $((ttl * 1000)) ] || fail "no row was committed for $pause ms, which is longer than the ttl"

killed_ms=$(date +%s%3N)
kill_node $primary
rows=$(committed)
echo "killed $primary, the primary; $rows rows were committed"
await 50 "$replica was not promoted" is $replica primary
await 20 "the new primary commits nothing" commits_again
echo "$replica is primary; longest time without a committed row: $(longest_pause "$killed_ms") ms"

await 10 "no server leads" find_leader
start_patroni $primary $leader
await 60 "$primary did not come back as replica" is $primary synchronous
end writer TERM

await 10 "the replica does not hold what the primary holds" same
for node in p1 p2; do
  sql $node "select n from witness" | sort >"$dir/rows"
  lost=$(cut -d' ' -f1 "$dir/committed" | sort | comm -23 - "$dir/rows" | wc -l)
  [ "$lost" -eq 0 ] || fail "$node has lost $lost of $(committed) committed rows"
done
echo "$primary is a replica again; both hold all $(committed) rows that were committed"
echo "PASS, after $SECONDS s"
