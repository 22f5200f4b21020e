"""What the Python package `aetcd` can do, on the cluster whose endpoints are in ENDPOINTS."""

import asyncio
import io
import os
import time

import aetcd

ENDPOINTS = [each.split("//")[-1].split(":") for each in os.environ["ENDPOINTS"].split(",")]


def client(member=0, **options):
    host, port = ENDPOINTS[member]
    return aetcd.Client(host=host, port=int(port), timeout=10, **options)


async def refused(error, awaitable):
    try:
        await awaitable
    except error as refusal:
        return refusal
    raise AssertionError(f"this was to be refused with {error}")


async def keys_are_written_read_and_deleted(etcd):
    await etcd.delete_prefix(b"kv/")
    first = await etcd.put(b"kv/0", b"0")
    await asyncio.gather(*(etcd.put(b"kv/%d" % n, b"%d" % (n * n)) for n in range(1, 50)))
    got = await etcd.get(b"kv/0")
    assert (got.key, got.value, got.version, got.lease) == (b"kv/0", b"0", 1, 0)
    assert got.create_revision == got.mod_revision == first.header.revision
    before = (await etcd.put(b"kv/0", b"zero", prev_kv=True)).prev_kv
    assert (before.value, before.mod_revision) == (b"0", first.header.revision)
    assert (await etcd.get(b"kv/0", serializable=True)).version == 2
    assert await etcd.get(b"kv/none") is None
    page = await etcd.get_prefix(b"kv/", sort_order="descend")
    assert page.count == 50 and not page.more and page[0].value == b"81"
    assert [each.key for each in await etcd.get_range(b"kv/3", b"kv/31")] == [b"kv/3", b"kv/30"]
    assert await etcd.replace(b"kv/0", b"zero", b"null")
    assert not await etcd.replace(b"kv/0", b"zero", b"0")
    assert (await etcd.delete(b"kv/0", prev_kv=True)).prev_kv.value == b"null"
    assert await etcd.delete(b"kv/0") is None
    assert (await etcd.delete_prefix(b"kv/")).deleted == 49


async def transactions_choose_their_branch(etcd):
    of = etcd.transactions
    await etcd.delete_prefix(b"txn/")
    await etcd.put(b"txn/a", b"1")
    when = [of.value(b"txn/a") == b"1", of.version(b"txn/a") > 0, of.create(b"txn/b") == 0]
    then = [of.put(b"txn/b", b"2"), of.get(b"txn/b"), of.delete(b"txn/a")]
    succeeded, answers = await etcd.transaction(when, then, [of.get(b"txn/a")])
    assert succeeded and answers[1][0][0] == b"2"
    succeeded, answers = await etcd.transaction(when, then, [of.get(b"txn/b")])
    assert not succeeded and answers[0][0][0] == b"2"


async def changes_are_watched(etcd):
    start = (await etcd.put(b"watch/a", b"1")).header.revision
    watch = await etcd.watch_prefix(b"watch/", start_revision=start, prev_kv=True)
    only_deletions = await etcd.watch(b"watch/a", kind=aetcd.EventKind.DELETE)
    await etcd.put(b"watch/a", b"2")
    await etcd.delete(b"watch/a")
    seen = []
    async for event in watch:
        seen.append((event.kind, event.kv.value, event.prev_kv and event.prev_kv.value))
        if len(seen) == 3:
            await watch.cancel()
    assert seen[0][:2] == ("PUT", b"1")
    assert seen[1:] == [("PUT", b"2", b"1"), ("DELETE", b"", b"2")]
    async for event in only_deletions:
        assert event.kind == aetcd.EventKind.DELETE
        await only_deletions.cancel()
    again = await etcd.watch_once(b"watch/a", timeout=10, start_revision=start + 1)
    assert again.kv.mod_revision == start + 1
    await refused(aetcd.WatchTimeoutError, etcd.watch_once(b"watch/a", timeout=0.1))
    await etcd.compact(start + 2)
    refusal = await refused(
        aetcd.RevisionCompactedError,
        anext(aiter(await etcd.watch(b"watch/a", start_revision=start))),
    )
    assert refusal.compacted_revision == start + 2


async def leases_take_their_keys_along(etcd):
    lease = await etcd.lease(60)
    await etcd.put(b"lease/a", b"1", lease=lease)
    await etcd.put(b"lease/b", b"2", lease=lease)
    assert (await etcd.get(b"lease/a")).lease == lease.id
    assert await lease.granted_ttl() == 60 and 50 < await lease.remaining_ttl() <= 60
    assert sorted(await lease.keys()) == [b"lease/a", b"lease/b"]
    assert (await lease.refresh()).TTL == 60
    await refused(aetcd.DuplicateLeaseError, etcd.lease(60, lease.id))
    await lease.revoke()
    assert not await etcd.get_prefix(b"lease/")
    assert (await etcd.get_lease_info(lease.id)).TTL == -1


async def a_lock_has_one_holder(etcd):
    async with client(1) as other:
        lock, rival = etcd.lock(b"lock", ttl=30), other.lock(b"lock", ttl=30)
        assert await lock.acquire() and await lock.is_acquired()
        assert not await rival.acquire(timeout=0.2)
        assert (await lock.refresh()).TTL == 30
        waits = asyncio.create_task(rival.acquire(timeout=20))
        await asyncio.sleep(0.1)
        assert not waits.done() and await lock.release()
        assert await waits and await rival.is_acquired() and not await lock.is_acquired()
        assert not await lock.release() and await rival.release()


async def the_cluster_tells_of_itself(etcd):
    members = [member async for member in etcd.members()]
    assert sorted(member.name for member in members) == ["m1", "m2", "m3"]
    told = {url.split("//")[1] for member in members for url in member.client_urls}
    assert told == {":".join(endpoint) for endpoint in ENDPOINTS}
    status = await etcd.status()
    assert status.leader.name in ["m1", "m2", "m3"]
    assert status.version.startswith("3.") and status.db_size > 0
    assert status.raft_index > 0 and status.raft_term > 0
    assert [alarm async for alarm in etcd.list_alarms()] == []
    await etcd.hash()
    await etcd.defragment()


async def a_snapshot_is_a_database(etcd):
    file = io.BytesIO()
    await etcd.snapshot(file)
    # The pages of a bolt database, and behind them a checksum.
    assert len(file.getvalue()) % 512 == 32
    assert file.getvalue()[16:20] == bytes.fromhex("edda0ced")


async def main():
    async with client() as etcd:
        for test in [
            keys_are_written_read_and_deleted,
            transactions_choose_their_branch,
            changes_are_watched,
            leases_take_their_keys_along,
            a_lock_has_one_holder,
            the_cluster_tells_of_itself,
            a_snapshot_is_a_database,
        ]:
            begin = time.monotonic()
            await asyncio.wait_for(test(etcd), 60)
            print(f"{test.__name__}: {time.monotonic() - begin:.2f} s", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
