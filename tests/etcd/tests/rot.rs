//! Every kind of file in a server's data directory, damaged a byte at a time: whoever looks at it says
//! what is wrong and never more than is true, and what holds nothing harms nobody.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use headwater_etcd_tests::cluster::{Cluster, Server};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(5);

const KEYS: usize = 60;

/// What `headwater disk verify` may say.
const WHOLE: i32 = 0;
const REFUSED: i32 = 1;
const MENDED: i32 = 3;
const MADE_UP_FOR: i32 = 4;

/// In how many places of each file a byte is turned over: `PLACES`, or few.
fn places() -> usize {
    let places = std::env::var("PLACES").ok();
    places.map_or(2, |places| places.parse().expect("a number"))
}

async fn put_all(cluster: &Cluster) {
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    for number in 0..KEYS {
        let put = client.put(format!("k{number:04}"), "v".repeat(300), None);
        put.await.expect("a put");
    }
}

fn disk(words: &[&str], directory: &Path) -> Output {
    let server = Server::from_env().expect("a server to test");
    let mut command = Command::new(server.program);
    let output = command.arg("disk").args(words).arg(directory).output();
    let output = output.expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("panicked"), "{complaint}");
    output
}

/// All files under a directory, by their names in it.
fn files(directory: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("readable") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(directory).expect("it is in there");
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(name.display().to_string(), path)),
            }
        }
    }
    files
}

/// What a directory of which one byte was turned over is said to be.
fn check(name: &str, at: usize, directory: &Path) {
    let verify = disk(&["verify"], directory);
    let said = [verify.stdout, verify.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let code = verify.status.code().expect("it ends by itself");
    assert!(
        [WHOLE, REFUSED, MENDED, MADE_UP_FOR].contains(&code),
        "{name}, byte {at}: {code}, {said}"
    );
    let holds_nothing = name == "lock" || name.ends_with("reserve.tmp");
    assert!(!holds_nothing || code == WHOLE, "{name}, byte {at}: {said}");
    let kind = name.split('/').next().expect("a name");
    assert!(code == WHOLE || said.contains(kind), "{name}: {said}");
    let recover = disk(&["recover", "--json"], directory);
    assert!(recover.status.success(), "{name}, byte {at}: {recover:?}");
    let told: Value = serde_json::from_slice(&recover.stdout).expect("JSON");
    let keys = told["keys"].as_u64().expect("a number");
    // Only what was written by the last sync passes for torn.
    let is_told = told["lost"] != Value::Null || told["may_lose_acknowledged_writes"] == true;
    assert!(
        keys == KEYS as u64 || is_told || code == WHOLE && keys + 1 == KEYS as u64,
        "{name}, byte {at}: {told:#}"
    );
    let is_whole = code == WHOLE || code == MADE_UP_FOR;
    assert!(!is_whole || keys + 1 >= KEYS as u64, "{name}: {told:#}");
}

#[tokio::test]
async fn whichever_file_is_damaged_it_is_said_and_what_holds_nothing_does_no_harm() {
    let server = Server::from_env().expect("a server to test");
    let options = ["--snapshot-log-bytes=4096"];
    let mut cluster = Cluster::start(&server, 1, &options)
        .await
        .expect("it starts");
    if server.is_etcd {
        return;
    }
    put_all(&cluster).await;
    assert!(cluster.terminate(0).await.expect("it ends").success());
    let directory = cluster.members[0].data_dir.clone();
    let found = files(&directory);
    for kind in ["identity", "lock", "snap/reserve.tmp"] {
        assert!(found.contains_key(kind), "no {kind}: {found:?}");
    }
    for kind in [".wal", ".snap"] {
        assert!(found.keys().any(|name| name.ends_with(kind)), "no {kind}");
    }
    for (name, path) in found {
        let bytes = std::fs::read(&path).expect("readable");
        let last = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let file = std::fs::File::options().write(true).open(&path);
        let file = file.expect("writable");
        for place in 0..places() {
            let at = (last * (2 * place + 1)) / (2 * places());
            let byte = bytes[at];
            file.write_all_at(&[byte ^ 0x10], at as u64).expect("room");
            check(&name, at, &directory);
            file.write_all_at(&[byte], at as u64).expect("room");
        }
    }
    // What crashes leave, and what a start makes anew, may hold anything.
    let leftovers = [
        "lock",
        "identity.tmp",
        "wal/next.tmp",
        "wal/spare.tmp",
        "snap/reserve.tmp",
        "snap/0000000000000001-00000000000000ff.part",
        "snap/0000000000000001-00000000000000ff.tmp",
        "snap/0000000000000001-0000000000000001.bad",
    ];
    for name in leftovers {
        std::fs::write(directory.join(name), "nothing of use").expect("writable");
    }
    cluster.spawn(0).expect("it starts");
    cluster.ready().await.expect("it serves");
    let mut client = cluster.client(0, LIMIT).await.expect("a client");
    let options = etcd_client::GetOptions::new().with_prefix();
    let found = client.get("k", Some(options)).await.expect("a read");
    assert_eq!(found.kvs().len(), KEYS);
}
