// What the Node package `etcd3` can do, on the cluster whose endpoints are in ENDPOINTS.

'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const { Etcd3, EtcdLockFailedError, GRPCOutOfRangeError } = require('etcd3');

const hosts = process.env.ENDPOINTS.split(',');

async function keysAreWrittenReadAndDeleted(etcd) {
  const kv = etcd.namespace('kv/');
  await kv.delete().all();
  await Promise.all(Array.from({ length: 50 }, (_, n) => kv.put(`${n}`).value(n * n)));
  assert.equal(await kv.get('7').number(), 49);
  assert.equal(await kv.get('none').string(), null);
  assert.equal(await kv.get('7').exists(), true);
  const [pair] = (await kv.get('7').exec()).kvs;
  assert.deepEqual([pair.version, pair.create_revision], ['1', pair.mod_revision]);
  await kv.put('7').value('seven');
  const before = await kv.get('7').revision(pair.mod_revision).string();
  assert.equal(before, '49');
  assert.equal(await kv.getAll().count(), 50);
  const page = await kv.getAll().sort('Key', 'Descend').limit(2).keys();
  assert.deepEqual(page, ['9', '8']);
  const all = await kv.getAll().prefix('1').strings();
  assert.deepEqual(Object.keys(all).length, 11);
  const [gone] = await kv.delete().key('7').getPrevious();
  assert.equal(gone.value.toString(), 'seven');
  assert.equal((await kv.delete().all()).deleted, '49');
}

async function transactionsChooseTheirBranch(etcd) {
  const kv = etcd.namespace('txn/');
  await kv.delete().all();
  await kv.put('a').value('1');
  const swap = () =>
    kv.if('a', 'Value', '==', '1').and('b', 'Create', '==', 0)
      .then(kv.put('b').value('2'), kv.delete().key('a'))
      .else(kv.get('b'))
      .commit();
  assert.equal((await swap()).succeeded, true);
  const otherwise = await swap();
  assert.equal(otherwise.succeeded, false);
  assert.equal(otherwise.responses[0].response_range.kvs[0].value.toString(), '2');
}

async function transfersInMemoryAddUp(etcd) {
  // This client takes keys that were written at different revisions for keys in conflict.
  await etcd.if('stm/none', 'Create', '==', 0)
    .then(etcd.put('stm/a').value(100), etcd.put('stm/b').value(0))
    .commit();
  const move = () =>
    etcd.stm({ retries: 100 }).transact(async tx => {
      const [a, b] = [await tx.get('stm/a').number(), await tx.get('stm/b').number()];
      await tx.put('stm/a').value(a - 1);
      await tx.put('stm/b').value(b + 1);
    });
  await Promise.all(Array.from({ length: 8 }, move));
  const sums = [await etcd.get('stm/a').number(), await etcd.get('stm/b').number()];
  assert.deepEqual(sums, [92, 8]);
}

async function changesAreWatched(etcd) {
  const { header } = await etcd.put('watch/a').value('1');
  const watcher = await etcd.watch().prefix('watch/').startRevision(header.revision)
    .withPreviousKV().create();
  const seen = [];
  watcher.on('put', (kv, previous) => seen.push(`+${kv.value} ${previous ? previous.value : ''}`));
  watcher.on('delete', (kv, previous) => seen.push(`- ${previous.value}`));
  const ended = once(watcher, 'delete');
  await etcd.put('watch/a').value('2');
  await etcd.delete().key('watch/a');
  await ended;
  assert.deepEqual(seen, ['+1 ', '+2 1', '- 2']);
  await watcher.cancel();
}

async function whatIsCompactedIsOutOfRange(etcd) {
  const { header } = await etcd.put('compacted').value('1');
  await etcd.put('compacted').value('2');
  await etcd.kv.compact({ revision: String(Number(header.revision) + 1) });
  const past = etcd.get('compacted').revision(header.revision);
  await assert.rejects(past.string(), GRPCOutOfRangeError);
}

async function leasesTakeTheirKeysAlong(etcd) {
  const lease = etcd.lease(60);
  await lease.put('lease/a').value('1');
  await lease.put('lease/b').value('2');
  const id = await lease.grant();
  const told = await etcd.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.equal(told.grantedTTL, '60');
  assert.deepEqual(told.keys.map(String).sort(), ['lease/a', 'lease/b']);
  assert.equal((await lease.keepaliveOnce()).TTL, '60');
  await lease.revoke();
  assert.equal(await etcd.getAll().prefix('lease/').count(), 0);
  // It lives as long as its client renews it, which it does by itself.
  const renewed = etcd.lease(2);
  await renewed.put('lease/renewed').value('1');
  await sleep(3_000);
  assert.equal(await etcd.get('lease/renewed').string(), '1');
  await renewed.revoke();
}

async function aLockHasOneHolder(etcd) {
  const lock = await etcd.lock('lock').acquire();
  await assert.rejects(etcd.lock('lock').acquire(), EtcdLockFailedError);
  await lock.release();
  const inside = await etcd.lock('lock').do(() => etcd.get('lock').exists());
  assert.equal(inside, true);
  assert.equal(await etcd.get('lock').exists(), false);
}

async function anElectionHasOneLeader(etcd) {
  const election = etcd.election('race', 10);
  const first = election.campaign('first');
  await first.wait();
  const observer = await election.observe();
  assert.equal(observer.leader(), 'first');
  const second = election.campaign('second');
  await second.getCampaignKey();
  assert.equal(await election.leader(), 'first');
  const changed = once(observer, 'change');
  await Promise.all([first.resign(), second.wait(), changed]);
  assert.equal(await election.leader(), 'second');
  await observer.cancel();
  await second.resign();
}

async function theClusterTellsOfItself(etcd) {
  const { members } = await etcd.cluster.memberList({});
  assert.deepEqual(members.map(member => member.name).sort(), ['m1', 'm2', 'm3']);
  const status = await etcd.maintenance.status({});
  assert.match(status.version, /^3\./);
  assert.ok(members.some(member => member.ID === status.leader));
  assert.deepEqual((await etcd.maintenance.alarm({ action: 'Get' })).alarms, []);
  await etcd.maintenance.hash({});
}

async function aSnapshotIsADatabase(etcd) {
  const stream = await etcd.maintenance.snapshot({});
  const blobs = [];
  stream.on('data', ({ blob }) => blobs.push(blob));
  await once(stream, 'end');
  // The pages of a bolt database, and behind them a checksum.
  const file = Buffer.concat(blobs);
  assert.equal(file.length % 512, 32);
  assert.equal(file.readUInt32LE(16), 0xed0cdaed);
}

async function usersDoWhatTheirRolesPermit(etcd) {
  const role = await etcd.role('reader').create();
  await role.grant({ permission: 'Read', range: etcd.range({ prefix: 'open/' }) });
  const [permission] = await role.permissions();
  assert.deepEqual([permission.permission, permission.range.start.toString()], ['Read', 'open/']);
  const rooted = await etcd.user('root').create('rpw');
  await rooted.addRole('root');
  const user = await etcd.user('alice').create('apw');
  await user.addRole('reader');
  assert.deepEqual((await user.roles()).map(role => role.name), ['reader']);
  await etcd.put('open/door').value('1');
  await etcd.auth.authEnable({});
  const root = new Etcd3({ hosts, auth: { username: 'root', password: 'rpw' } });
  const alice = new Etcd3({ hosts, auth: { username: 'alice', password: 'apw' } });
  try {
    assert.equal(await alice.get('open/door').string(), '1');
    await assert.rejects(alice.put('open/door').value('2').exec(), /permission denied/);
    await assert.rejects(alice.get('closed').string(), /permission denied/);
    await root.put('closed').value('2');
  } finally {
    await root.auth.authDisable({});
    for (const client of [root, alice]) client.close();
  }
  for (const part of [user, rooted, role]) await part.delete();
}

async function main() {
  const etcd = new Etcd3({ hosts });
  for (const test of [
    keysAreWrittenReadAndDeleted,
    transactionsChooseTheirBranch,
    transfersInMemoryAddUp,
    changesAreWatched,
    whatIsCompactedIsOutOfRange,
    leasesTakeTheirKeysAlong,
    aLockHasOneHolder,
    anElectionHasOneLeader,
    theClusterTellsOfItself,
    aSnapshotIsADatabase,
    usersDoWhatTheirRolesPermit,
  ]) {
    const begin = Date.now();
    await test(etcd);
    console.log(`${test.name}: ${(Date.now() - begin) / 1000} s`);
  }
  etcd.close();
  // Now and then a timer of this client lives half a minute longer, whatever the server.
  process.exit(0);
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
