//! etcd's own tools of release 3.5.1, which are newer than Debian's: on our cluster they must print what they
//! print on an etcd of that release. And no command of either release goes untested.

use headwater_etcd_tests::cluster::{Cluster, Server};
use headwater_etcd_tests::golden::{self, Differences};
use headwater_etcd_tests::rival::rival;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands that ask no server, and one that reads what etcd 2 left on a disk.
const OFFLINE: [&str; 7] = [
    "completion bash",
    "completion fish",
    "completion powershell",
    "completion zsh",
    "help",
    "migrate",
    "snapshot restore",
];

async fn start(server: &Server) -> Cluster {
    // Each command brings its password along: it may be cheap here.
    let cluster = Cluster::start(server, 3, &["--bcrypt-cost=4"]).await;
    let cluster = cluster.expect("a cluster");
    cluster.acquainted().await.expect("all know all");
    cluster
}

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    folder.join(format!("{name}.txt"))
}

fn assert_none(differences: &Differences, name: &str) {
    let count = differences.len();
    let all = differences.join("\n");
    assert!(count == 0, "{count} differences from {name}:\n{all}");
}

#[tokio::test]
async fn the_newer_tools_print_what_they_print_on_an_etcd() {
    let tools = rival().expect("etcd's tools");
    let cluster = start(&Server::from_env().expect("a server to test")).await;
    let run = golden::run_with(&cluster, &golden("tools"), Some(&tools)).await;
    assert_none(&run.expect("a golden file and a shell"), "tools");
}

/// `GOLDEN=watch,lease` runs these files with the newer tools on both; without it, nothing is to be done: it
/// takes a minute or two for all.
#[tokio::test]
async fn the_files_of_the_older_ones_go_the_same_way_with_the_newer() {
    let tools = rival().expect("etcd's tools");
    let ours = Server::from_env().expect("a server to test");
    let theirs = Server::at(tools.join("etcd")).expect("an etcd");
    for name in std::env::var("GOLDEN")
        .unwrap_or_default()
        .split_terminator(',')
    {
        let (ours, theirs) = (start(&ours).await, start(&theirs).await);
        let compared = golden::compare(&ours, &theirs, &golden(name), &tools).await;
        assert_none(&compared.expect("a golden file and a shell"), name);
    }
}

/// `CHECKS=1` has both releases load the cluster for a minute each; without it nothing is to be done.
#[tokio::test]
async fn etcdctl_finds_the_cluster_fast_enough() {
    if std::env::var_os("CHECKS").is_none() {
        return;
    }
    let newer = rival().expect("etcd's tools");
    let cluster = start(&Server::from_env().expect("a server to test")).await;
    for tools in [Path::new("/usr/bin"), &newer] {
        for check in ["etcdctl check datascale", "etcdctl check perf"] {
            let command = format!("{check} --load=s --auto-compact --auto-defrag");
            let said = golden::shell_with(&cluster, &command, Some(tools));
            let said = said.expect("a shell").replace('\r', "\n");
            let verdicts = said.lines().filter(|line| line.contains("PASS"));
            println!(
                "measured: {check}: {}",
                verdicts.collect::<Vec<_>>().join("; ")
            );
            let passed = said.contains("PASS") && !said.contains("FAIL");
            assert!(passed && !said.contains("[exit"), "{said}");
        }
    }
}

/// The commands that a tool lists, of two words where there are groups.
fn listed(etcdctl: &Path) -> BTreeSet<String> {
    let mut command = Command::new(etcdctl);
    let output = command.env("ETCDCTL_API", "3").arg("help").output();
    let text = output.expect("it runs").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("COMMANDS"));
    let lines = lines
        .skip(1)
        .take_while(|line| !line.starts_with("OPTIONS"));
    let commands = lines.filter_map(|line| line.trim().split(['\t', '\u{a0}']).next());
    let commands = commands.filter_map(|line| line.split("  ").next());
    let commands = commands.map(|command| command.trim().to_string());
    commands.filter(|command| !command.is_empty()).collect()
}

#[test]
fn no_command_goes_untested() {
    let newer = rival().expect("etcd's tools").join("etcdctl");
    let mut commands = listed(Path::new("etcdctl"));
    commands.extend(listed(&newer));
    assert!(commands.len() > 40, "{commands:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tested = String::new();
    for folder in ["golden", "tests"] {
        for file in std::fs::read_dir(root.join(folder)).expect("a folder") {
            let path = file.expect("a file").path();
            if path.is_file() {
                tested += &std::fs::read_to_string(&path).expect("a text");
            }
        }
    }
    for command in commands {
        let words = format!("etcdctl {command}");
        // Some tests give the words one by one.
        let alone = format!("\"{}\"", command.replace(' ', "\", \""));
        let is_tested = tested.contains(&words) || tested.contains(&alone);
        assert!(
            is_tested || OFFLINE.contains(&command.as_str()),
            "nobody tests `{words}`"
        );
    }
}
