//! Watches that etcdctl cannot make: what one stream says, word for word, and what it says to those
//! who are many, slow or elsewhere.
//!
//! `SERVER_BIN=etcd` has etcd itself judged.

use etcd_client::{Client, EventType, PutOptions, Txn, TxnOp, WatchFilterType, WatchOptions};
use etcd_client::{WatchResponse, WatchStream};
use headwater_etcd_tests::cluster::{Cluster, Server};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// So long without a word is silence.
const SILENCE: Duration = Duration::from_millis(400);

async fn cluster(size: usize, options: &[&str]) -> Cluster {
    let server = Server::from_env().expect("a server to test");
    Cluster::start(&server, size, options)
        .await
        .expect("a cluster")
}

async fn client(cluster: &Cluster, member: usize) -> Client {
    cluster.client(member, PATIENCE).await.expect("a client")
}

/// One word of a stream, without terms and ids of the cluster.
fn spell(said: &WatchResponse) -> String {
    let revision = said.header().map_or(0, |header| header.revision());
    let mut text = format!("{}@{revision}", said.watch_id());
    if said.created() {
        text += " created";
    }
    if said.canceled() {
        text += " cancelled";
    }
    if said.compact_revision() != 0 {
        text += &format!(" compacted {}", said.compact_revision());
    }
    if !said.cancel_reason().is_empty() {
        text += &format!(" because {}", said.cancel_reason());
    }
    for event in said.events() {
        let kv = event.kv().expect("an event of a key");
        let sign = match event.event_type() {
            EventType::Put => '+',
            EventType::Delete => '-',
        };
        let key = kv.key_str().expect("text");
        let value = kv.value_str().expect("text");
        text += &format!(" {sign}{key}={value}/{}", kv.mod_revision());
        if let Some(before) = event.prev_kv() {
            let value = before.value_str().expect("text");
            text += &format!("(was {value}/{})", before.mod_revision());
        }
    }
    text
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    let said = timeout(PATIENCE, stream.message()).await;
    let said = said.expect("a word in time").expect("a stream in order");
    said.expect("a stream that goes on")
}

async fn words(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(spell(&next(stream).await));
    }
    words
}

async fn is_silent(stream: &mut WatchStream) -> bool {
    timeout(SILENCE, stream.message()).await.is_err()
}

fn numbered(number: i64) -> WatchOptions {
    WatchOptions::new().with_watch_id(number)
}

#[tokio::test]
async fn one_stream_has_many_watchers_each_with_its_number() {
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    client.put("a", "1", None).await.expect("a put");
    let mut stream = client.watch("a", None).await.expect("a stream");
    assert_eq!(words(&mut stream, 1).await, ["0@2 created"]);
    let all = WatchOptions::new().with_all_keys();
    stream.watch("", Some(all)).await.expect("a request");
    stream
        .watch("b", Some(numbered(7)))
        .await
        .expect("a request");
    assert_eq!(words(&mut stream, 2).await, ["1@2 created", "7@2 created"]);
    // A number that is taken, and a range without keys.
    stream
        .watch("c", Some(numbered(7)))
        .await
        .expect("a request");
    let empty = WatchOptions::new().with_range("a");
    stream.watch("b", Some(empty)).await.expect("a request");
    assert_eq!(
        words(&mut stream, 2).await,
        [
            "-1@2 created cancelled because mvcc: duplicate watch ID provided on the WatchStream",
            "-1@2 created cancelled because mvcc: watcher range is empty"
        ]
    );
    client.put("b", "2", None).await.expect("a put");
    let mut both = words(&mut stream, 2).await;
    both.sort();
    assert_eq!(both, ["1@3 +b=2/3", "7@3 +b=2/3"]);
    // Of one that is not there nothing is said.
    stream.cancel(99).await.expect("a request");
    stream.cancel(1).await.expect("a request");
    assert_eq!(words(&mut stream, 1).await, ["1@3 cancelled"]);
    client.delete("a", None).await.expect("a deletion");
    assert_eq!(words(&mut stream, 1).await, ["0@4 -a=/4"]);
    assert!(is_silent(&mut stream).await);
}

#[tokio::test]
async fn options_say_what_is_told() {
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    client.put("a", "1", None).await.expect("a put");
    client.put("a", "2", None).await.expect("a put");
    client.delete("a", None).await.expect("a deletion");
    client.put("a", "3", None).await.expect("a put");
    let from = |revision| WatchOptions::new().with_start_revision(revision);
    let told = async |mut client: Client, options| {
        let mut stream = client.watch("a", Some(options)).await.expect("a stream");
        words(&mut stream, 2).await.remove(1)
    };
    assert_eq!(
        told(client.clone(), from(2)).await,
        "0@5 +a=1/2 +a=2/3 -a=/4 +a=3/5"
    );
    assert_eq!(
        told(client.clone(), from(2).with_prev_key()).await,
        "0@5 +a=1/2 +a=2/3(was 1/2) -a=/4(was 2/3) +a=3/5"
    );
    let no_puts = from(2).with_filters([WatchFilterType::NoPut]);
    assert_eq!(told(client.clone(), no_puts).await, "0@5 -a=/4");
    let no_deletions = from(3).with_filters([WatchFilterType::NoDelete]);
    assert_eq!(
        told(client.clone(), no_deletions).await,
        "0@5 +a=2/3 +a=3/5"
    );
}

#[tokio::test]
async fn what_is_compacted_away_cannot_be_watched() {
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    for value in ["1", "2", "3", "4"] {
        client.put("a", value, None).await.expect("a put");
    }
    client.compact(4, None).await.expect("a compaction");
    let from = |revision| Some(WatchOptions::new().with_start_revision(revision));
    let mut stream = client.watch("a", from(3)).await.expect("a stream");
    let said = words(&mut stream, 2).await;
    assert_eq!(said, ["0@5 created", "0@0 cancelled compacted 4"]);
    stream.watch("a", from(4)).await.expect("a request");
    assert_eq!(
        words(&mut stream, 2).await,
        ["1@5 created", "1@5 +a=3/4 +a=4/5"]
    );
    if !cluster.server.is_etcd {
        // etcd took such a start for none before 3.6.
        stream.watch("a", from(-1)).await.expect("a request");
        assert_eq!(
            words(&mut stream, 1).await,
            [
                "-1@5 created cancelled because etcdserver: mvcc: required revision has been compacted"
            ]
        );
    }
}

#[tokio::test]
async fn a_large_transaction_comes_in_fragments_or_at_once() {
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    let large = "x".repeat(20_000);
    let put =
        |round: &str, number: usize| TxnOp::put(format!("{round}{number}"), large.clone(), None);
    let txn = Txn::new().and_then((0..60).map(|number| put("a", number)).collect::<Vec<_>>());
    client.txn(txn).await.expect("a transaction");
    // Its prefix holds more than one message may.
    for _ in 0..3 {
        let again = (0..60).map(|number| put("a", number)).collect::<Vec<_>>();
        client
            .txn(Txn::new().and_then(again))
            .await
            .expect("a transaction");
    }
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(2)
        .with_fragment();
    let mut stream = client.watch("a", Some(options)).await.expect("a stream");
    assert!(next(&mut stream).await.created());
    let mut keys = 0;
    while keys < 240 {
        let said = next(&mut stream).await;
        keys += said.events().len();
    }
    assert_eq!(keys, 240);
    let whole = WatchOptions::new().with_prefix().with_start_revision(5);
    let mut stream = client.watch("a", Some(whole)).await.expect("a stream");
    assert!(next(&mut stream).await.created());
    assert_eq!(
        next(&mut stream).await.events().len(),
        60,
        "a revision is whole"
    );
}

#[tokio::test]
async fn a_client_can_ask_how_far_it_is() {
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    for value in 0..100 {
        client
            .put("a", value.to_string(), None)
            .await
            .expect("a put");
    }
    let past = WatchOptions::new().with_start_revision(2);
    let mut stream = client.watch("a", Some(past)).await.expect("a stream");
    assert!(next(&mut stream).await.created());
    let mut seen = 0;
    while seen < 100 {
        seen += next(&mut stream).await.events().len();
    }
    stream.request_progress().await.expect("a request");
    assert_eq!(words(&mut stream, 1).await, ["-1@101"]);
    client.put("other", "x", None).await.expect("a put");
    stream.request_progress().await.expect("a request");
    assert_eq!(words(&mut stream, 1).await, ["-1@102"]);
}

#[tokio::test]
async fn who_wants_it_is_told_from_time_to_time_how_far_it_is() {
    let flag = "--experimental-watch-progress-notify-interval=500ms";
    let server = Server::from_env().expect("a server to test");
    if server.is_etcd {
        println!("etcd 3.4 has no such flag");
        return;
    }
    let cluster = cluster(1, &[flag]).await;
    let mut client = client(&cluster, 0).await;
    client.put("a", "1", None).await.expect("a put");
    let notified = WatchOptions::new().with_progress_notify();
    let mut stream = client.watch("a", Some(notified)).await.expect("a stream");
    stream.watch("a", None).await.expect("a request");
    let said = words(&mut stream, 4).await;
    assert_eq!(said, ["0@2 created", "1@2 created", "0@2", "0@2"]);
    client.put("b", "1", None).await.expect("a put");
    assert_eq!(words(&mut stream, 1).await, ["0@3"]);
}

#[tokio::test]
async fn every_member_tells_the_same() {
    let cluster = cluster(3, &[]).await;
    let mut streams = Vec::new();
    for member in 0..3 {
        let options = WatchOptions::new().with_all_keys().with_start_revision(2);
        let mut client = client(&cluster, member).await;
        streams.push(client.watch("", Some(options)).await.expect("a stream"));
    }
    for round in 0..30usize {
        let mut client = client(&cluster, round % 3).await;
        client
            .put("a", round.to_string(), None)
            .await
            .expect("a put");
    }
    for stream in &mut streams {
        let mut values = Vec::new();
        while values.len() < 30 {
            for event in next(stream).await.events() {
                let value = event.kv().expect("a key").value_str().expect("text");
                values.push(value.to_string());
            }
        }
        let written: Vec<String> = (0..30).map(|round| round.to_string()).collect();
        assert_eq!(values, written);
    }
}

/// Resident memory of a server.
fn resident_bytes(cluster: &Cluster) -> u64 {
    let pid = cluster.members[0].pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        << 10
}

/// Ten clients that do not read must cost little, must not hurt one that does, and must be told
/// everything once they read.
#[tokio::test]
async fn slow_watchers_hurt_nobody_and_lose_nothing() {
    const WRITES: usize = 1_000;
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut client = self::client(&cluster, 0).await;
        let mut stream = client.watch("k", None).await.expect("a stream");
        assert!(next(&mut stream).await.created());
        slow.push(stream);
    }
    let mut quick = client.watch("k", None).await.expect("a stream");
    assert!(next(&mut quick).await.created());
    let before = resident_bytes(&cluster);
    let value = "v".repeat(100_000);
    let mut longest = Duration::ZERO;
    for _ in 0..WRITES {
        let since = Instant::now();
        client.put("k", value.clone(), None).await.expect("a put");
        assert_eq!(next(&mut quick).await.events().len(), 1);
        longest = longest.max(since.elapsed());
    }
    let grown = resident_bytes(&cluster).saturating_sub(before);
    println!(
        "measured: grown by {} MiB, slowest event {longest:?}",
        grown >> 20
    );
    // The history itself is 100 MB, and as much is in the log.
    assert!(
        grown < 400 << 20,
        "{grown} bytes for watchers that do not read"
    );
    if cluster.server.is_etcd {
        println!("etcd tells all that was missed at once, more than this client takes");
        return;
    }
    for stream in &mut slow {
        let mut revision = 1;
        while revision < 1 + WRITES as i64 {
            for event in next(stream).await.events() {
                let told = event.kv().expect("a key").mod_revision();
                assert_eq!(told, revision + 1, "lost, doubled or out of order");
                revision = told;
            }
        }
    }
}

/// Ten thousand watchers on one member, a hundred a stream: creation, an event for all, one for each.
#[tokio::test]
async fn ten_thousand_watchers_are_served() {
    const STREAMS: usize = 100;
    const EACH: usize = 100;
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    let before = resident_bytes(&cluster);
    let since = Instant::now();
    let mut streams = Vec::new();
    for stream_number in 0..STREAMS {
        let key = |number: usize| format!("k/{}", stream_number * EACH + number);
        let mut stream = client.watch(key(0), None).await.expect("a stream");
        for number in 1..EACH {
            // Half of them watch a key, half a range that all share.
            let options = (number % 2 == 0).then(|| WatchOptions::new().with_range("k0"));
            let key = if number % 2 == 0 {
                "k/".to_string()
            } else {
                key(number)
            };
            stream.watch(key, options).await.expect("a request");
        }
        streams.push(stream);
    }
    for stream in &mut streams {
        for _ in 0..EACH {
            assert!(next(stream).await.created());
        }
    }
    let created = since.elapsed();
    let grown = resident_bytes(&cluster).saturating_sub(before);
    let since = Instant::now();
    client
        .put("k/x", "for those who watch the range", None)
        .await
        .expect("a put");
    let answered = since.elapsed();
    for stream in &mut streams {
        for _ in 0..EACH / 2 - 1 {
            assert_eq!(next(stream).await.events().len(), 1);
        }
    }
    println!(
        "measured: {} watchers created in {created:?}, {} MiB for them; a put that concerns {} of them \
         answered in {answered:?}, all told in {:?}",
        STREAMS * EACH,
        grown >> 20,
        STREAMS * (EACH / 2 - 1),
        since.elapsed()
    );
    assert!(since.elapsed() < PATIENCE);
}

/// A lease's keys go at once, and whoever watches sees it.
#[tokio::test]
async fn the_end_of_a_lease_is_one_revision() {
    let cluster = cluster(1, &[]).await;
    let mut client = client(&cluster, 0).await;
    let lease = client.lease_grant(2, None).await.expect("a lease").id();
    for key in ["b", "a"] {
        let options = PutOptions::new().with_lease(lease);
        client.put(key, "v", Some(options)).await.expect("a put");
    }
    let all = WatchOptions::new().with_all_keys();
    let mut stream = client.watch("", Some(all)).await.expect("a stream");
    let since = Instant::now();
    assert_eq!(
        words(&mut stream, 2).await,
        ["0@3 created", "0@4 -a=/4 -b=/4"]
    );
    let lived = since.elapsed();
    assert!(
        lived > Duration::from_millis(1_500),
        "ended after {lived:?}"
    );
}
