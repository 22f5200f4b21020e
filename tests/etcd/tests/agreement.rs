//! A member whose store is no longer that of the others, though every checksum on its disk is right: it
//! finds out by itself and says so to everyone.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::{AlarmAction, AlarmOptions, AlarmType};
use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::http;

const LIMIT: Duration = Duration::from_secs(20);
const TRUTH: &[u8] = b"what the others have";
const FORGED: &[u8] = b"what nobody else has";

/// Where a frame's block of entries begins, and how long a frame's checksum reaches from byte 8 on; see
/// docs/format.md.
const BLOCK: usize = 112;
const HEAD_END: usize = 128;

/// Castagnoli's, bit by bit: what is tested must not check itself.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1))
        })
    })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn seal(frame: &mut [u8], at: usize, over: std::ops::Range<usize>) {
    let sum = crc32c(&frame[over]);
    frame[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Puts another value into the last entry of a stopped member's log, and sets all checksums right.
fn forge(data: &Path) {
    let files = fs::read_dir(data.join("wal")).expect("a log");
    let names = files.map(|file| file.expect("a file").path());
    let last = names
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .max()
        .expect("a segment");
    let mut segment = fs::read(&last).expect("a segment");
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).rposition(|part| part == what);
    let value = find(&segment, TRUTH).expect("the value is in the log");
    let begin = find(&segment[..value], b"HWFR").expect("the value's frame");
    segment[value..value + TRUTH.len()].copy_from_slice(FORGED);
    let frame = &mut segment[begin..];
    assert_eq!(number(frame, BLOCK + 4), 1, "a put that came alone");
    let body = BLOCK + 16 + 20;
    let end = body + number(frame, BLOCK + 16 + 8) as usize;
    seal(frame, BLOCK + 16 + 12, body..end);
    seal(frame, BLOCK, BLOCK + 4..body);
    seal(frame, 4, 8..HEAD_END);
    let behind = end.next_multiple_of(8);
    assert!(
        frame[behind..].iter().all(|byte| *byte == 0),
        "it is the last frame"
    );
    fs::write(&last, segment).expect("it is written");
}

#[tokio::test]
async fn a_member_with_another_store_raises_the_alarm() {
    let server = Server::from_env().expect("a server to test");
    if server.is_etcd {
        // Its log is another, and it does not look unless it is told to.
        return;
    }
    let mut cluster = Cluster::start(&server, 3, &["--corrupt-check-time=200ms"])
        .await
        .expect("a cluster");
    let leader = cluster.leader().await.expect("a leader");
    let odd = (leader + 1) % 3;
    let mut client = cluster.client(leader, LIMIT).await.expect("a client");
    for _ in 0..5 {
        client.put("k", "v", None).await.expect("a put");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.put("k", TRUTH, None).await.expect("a put");
    let mut asked = cluster.client(odd, LIMIT).await.expect("a client");
    let deadline = Instant::now() + LIMIT;
    while asked.get("k", None).await.expect("a read").kvs()[0].value() != TRUTH {
        assert!(Instant::now() < deadline, "it does not come");
    }
    let member = asked.status().await.expect("a status");
    let member = member.header().expect("a header").member_id();
    // What it answers with may stand on the others' disks only, until it leaves in peace.
    cluster.terminate(odd).await.expect("it leaves");
    forge(&cluster.members[odd].data_dir);
    cluster.spawn(odd).expect("it starts");

    let deadline = Instant::now() + LIMIT;
    let raised = loop {
        assert!(Instant::now() < deadline, "nobody noticed");
        let list = client.alarm(AlarmAction::Get, AlarmType::None, None).await;
        let list = list.expect("a list");
        if let [alarm] = list.alarms() {
            break (alarm.member_id(), alarm.alarm());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(raised, (member, AlarmType::Corrupt));
    let error = client.put("k", "more", None).await.expect_err("a refusal");
    assert!(error.to_string().contains("corrupt cluster"), "{error}");
    let printed = cluster.members[odd].printed();
    assert!(printed.contains("have not written the same"), "{printed}");
    let count = |number: usize| {
        let port = cluster.members[number].client_port.number;
        let page = http::get(port, "/metrics").expect("a page").body;
        let name = "headwater_agreement_partings_total ";
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().expect("it is counted").to_owned()
    };
    assert_eq!(count(odd), "1");
    assert_eq!(count((leader + 2) % 3), "0");

    // Once it is replaced, or taken to be right, the others go on.
    cluster.kill(odd);
    let mut options = AlarmOptions::new();
    options.with_member(member);
    let ended = client.alarm(AlarmAction::Deactivate, AlarmType::Corrupt, Some(options));
    ended.await.expect("it ends");
    client.put("k", "more", None).await.expect("a put");
}
