"""What the Python package `etcd3` can do, on the cluster whose endpoints are in ENDPOINTS."""

import io
import os
import threading
import time

import etcd3

ENDPOINTS = [tuple(each.rsplit("/")[-1].split(":")) for each in os.environ["ENDPOINTS"].split(",")]


def client(member=0, **options):
    host, port = ENDPOINTS[member]
    return etcd3.client(host=host, port=int(port), timeout=10, **options)


def refused(error, do):
    try:
        do()
    except error as refusal:
        return refusal
    raise AssertionError(f"this was to be refused with {error}")


def keys_are_written_read_and_deleted(etcd):
    etcd.delete_prefix("kv/")
    for number in range(10):
        etcd.put(f"kv/{number}", str(number * number))
    value, about = etcd.get("kv/3")
    assert (value, about.key, about.version, about.lease_id) == (b"9", b"kv/3", 1, 0)
    assert about.create_revision == about.mod_revision
    before = etcd.put("kv/3", "nine", prev_kv=True).prev_kv
    assert (before.value, before.mod_revision) == (b"9", about.mod_revision)
    assert etcd.get("kv/3", serializable=True)[1].version == 2
    assert etcd.get("kv/none") == (None, None)
    prefix = [(about.key, value) for value, about in etcd.get_prefix("kv/", sort_order="descend")]
    assert prefix[0] == (b"kv/9", b"81") and len(prefix) == 10
    assert [about.key for _, about in etcd.get_range("kv/2", "kv/4")] == [b"kv/2", b"kv/3"]
    only_keys = list(etcd.get_prefix("kv/", keys_only=True))
    assert all(value == b"" for value, _ in only_keys) and len(only_keys) == 10
    assert etcd.put_if_not_exists("kv/new", "1") and not etcd.put_if_not_exists("kv/new", "2")
    assert etcd.replace("kv/new", "1", "2") and not etcd.replace("kv/new", "1", "3")
    gone = etcd.delete("kv/new", prev_kv=True, return_response=True)
    assert (gone.deleted, gone.prev_kvs[0].value) == (1, b"2")
    assert not etcd.delete("kv/new")
    assert etcd.delete_prefix("kv/").deleted == 10


def a_large_value_comes_back_as_it_was(etcd):
    value = bytes(range(256)) * 4_000
    etcd.put("large", value)
    assert etcd.get("large")[0] == value
    refused(Exception, lambda: etcd.put("large", value * 2))


def transactions_choose_their_branch(etcd):
    etcd.delete_prefix("txn/")
    of = etcd.transactions
    etcd.put("txn/a", "1")
    when = [of.value("txn/a") == "1", of.version("txn/a") > 0, of.create("txn/b") == 0]
    then = [of.put("txn/b", "2"), of.get("txn/b"), of.delete("txn/a"),
            of.txn(compare=[of.version("txn/a") > 0], success=[of.put("txn/c", "3")], failure=[])]
    succeeded, answers = etcd.transaction(compare=when, success=then, failure=[of.get("txn/a")])
    assert succeeded and answers[1][0][0] == b"2" and answers[3].response_txn.succeeded
    succeeded, answers = etcd.transaction(compare=when, success=then, failure=[of.get("txn/c")])
    assert not succeeded and answers[0][0][0] == b"3"


def changes_are_watched(etcd):
    start = etcd.put("watch/a", "1").header.revision
    events, cancel = etcd.watch_prefix("watch/", start_revision=start, prev_kv=True)
    threading.Timer(0.1, lambda: [etcd.put("watch/a", "2"), etcd.delete("watch/a")]).start()
    seen = [next(events) for _ in range(3)]
    cancel()
    assert [type(event).__name__ for event in seen] == ["PutEvent", "PutEvent", "DeleteEvent"]
    assert [event.value for event in seen] == [b"1", b"2", b""]
    assert [event.prev_value for event in seen] == [b"", b"1", b"2"]
    assert [event.mod_revision for event in seen] == [start, start + 1, start + 2]
    threading.Timer(0.1, lambda: etcd.put("watch/b", "3")).start()
    assert etcd.watch_once("watch/b", timeout=10).value == b"3"
    refused(etcd3.exceptions.WatchTimedOut, lambda: etcd.watch_once("watch/b", timeout=0.1))
    etcd.compact(start + 2)
    events, _ = etcd.watch("watch/a", start_revision=start)
    refusal = refused(etcd3.exceptions.RevisionCompactedError, lambda: next(events))
    assert refusal.compacted_revision == start + 2


def leases_take_their_keys_along(etcd):
    lease = etcd.lease(60)
    etcd.put("lease/a", "1", lease=lease)
    etcd.put("lease/b", "2", lease=lease)
    assert etcd.get("lease/a")[1].lease_id == lease.id
    assert lease.granted_ttl == 60 and 50 < lease.remaining_ttl <= 60
    assert sorted(lease.keys) == [b"lease/a", b"lease/b"]
    assert lease.refresh()[0].TTL == 60
    lease.revoke()
    assert list(etcd.get_prefix("lease/")) == []
    assert etcd.get_lease_info(lease.id).TTL == -1
    events, cancel = etcd.watch("lease/short")
    etcd.put("lease/short", "1", lease=etcd.lease(1))
    assert type(next(events)).__name__ == "PutEvent"
    assert type(next(events)).__name__ == "DeleteEvent"
    cancel()


def a_lock_has_one_holder(etcd):
    other = client(1)
    lock, rival = etcd.lock("lock", ttl=30), other.lock("lock", ttl=30)
    assert lock.acquire() and lock.is_acquired()
    assert not rival.acquire(timeout=0.2)
    assert lock.refresh()[0].TTL == 30
    got = []
    waits = threading.Thread(target=lambda: got.append(rival.acquire(timeout=10)))
    waits.start()
    # This client misses a release between its attempt and its watch, so let it watch first.
    while not other.watcher._callbacks:
        time.sleep(0.01)
    assert lock.release()
    waits.join()
    assert got == [True] and rival.is_acquired() and not lock.is_acquired()
    assert not lock.release() and rival.release()
    with etcd.lock("lock") as held:
        assert held.is_acquired()


def the_cluster_tells_of_itself(etcd):
    members = list(etcd.members)
    assert sorted(member.name for member in members) == ["m1", "m2", "m3"]
    told = {url.split("//")[1] for member in members for url in member.client_urls}
    assert told == {":".join(endpoint) for endpoint in ENDPOINTS}
    added = etcd.add_member(["http://127.0.0.1:1"])
    assert added.id in [member.id for member in etcd.members]
    added.update(["http://127.0.0.1:2"])
    assert ["http://127.0.0.1:2"] in [list(member.peer_urls) for member in etcd.members]
    added.remove()
    status = etcd.status()
    assert status.leader.name in ["m1", "m2", "m3"]
    assert status.version.startswith("3.") and status.db_size > 0
    assert status.raft_index > 0 and status.raft_term > 0
    assert list(etcd.list_alarms()) == []
    etcd.hash()
    etcd.defragment()


def alarms_stop_writes_until_they_end(etcd):
    etcd.create_alarm(member_id=status_id(etcd))
    assert [alarm.member_id for alarm in etcd.list_alarms()] == [status_id(etcd)]
    refused(Exception, lambda: etcd.put("alarm", "1"))
    etcd.disarm_alarm(member_id=status_id(etcd))
    assert list(etcd.list_alarms()) == []
    etcd.put("alarm", "1")


def status_id(etcd):
    return etcd.status().leader.id


def a_snapshot_is_a_database(etcd):
    file = io.BytesIO()
    etcd.snapshot(file)
    # The pages of a bolt database, and behind them a checksum.
    assert len(file.getvalue()) % 512 == 32
    assert file.getvalue()[16:20] == bytes.fromhex("edda0ced")


def any_member_serves(etcd):
    revision = etcd.put("anywhere", "1").header.revision
    for member in range(3):
        with client(member) as other:
            assert other.get("anywhere")[1].mod_revision == revision


if __name__ == "__main__":
    with client() as shared:
        for test in [
            keys_are_written_read_and_deleted,
            a_large_value_comes_back_as_it_was,
            transactions_choose_their_branch,
            changes_are_watched,
            leases_take_their_keys_along,
            a_lock_has_one_holder,
            the_cluster_tells_of_itself,
            alarms_stop_writes_until_they_end,
            a_snapshot_is_a_database,
            any_member_serves,
        ]:
            begin = time.monotonic()
            test(shared)
            print(f"{test.__name__}: {time.monotonic() - begin:.2f} s", flush=True)
