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

/// The commands and flags of both releases, as our own are held against them.
const NAMES: &str = include_str!("../../../crates/server/src/cli/etcd_names.txt");

/// The flags that a tool's help names, without those that it says are of all commands.
fn flags(tool: &Path, command: &str) -> BTreeSet<String> {
    let mut asked = Command::new(tool);
    let asked = asked
        .env("ETCDCTL_API", "3")
        .args(command.split_whitespace());
    let output = asked.arg("--help").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = text.split("GLOBAL OPTIONS").next().unwrap_or_default();
    let own = own.split("Global Flags").next().unwrap_or_default();
    let flag = |line: &str| {
        let line = line.trim_start();
        let is_short = line.starts_with('-') && !line.starts_with("--");
        let line = if is_short {
            line.split_once(", ")?.1
        } else {
            line
        };
        let name = line.strip_prefix("--")?;
        let end = name.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        Some(name[..end.unwrap_or(name.len())].to_owned())
    };
    let flags = own.lines().filter_map(flag);
    flags.filter(|flag| flag != "help").collect()
}

#[test]
fn the_names_of_their_commands_and_flags_are_recorded() {
    let newer = rival().expect("etcd's tools");
    let recorded = |name: &str| -> BTreeSet<String> {
        let of_it = |line: &&str| line.split(" --").next() == Some(name);
        let line = NAMES.lines().find(of_it);
        let line = line.unwrap_or_else(|| panic!("{name} is not recorded"));
        line.split(" --").skip(1).map(str::to_owned).collect()
    };
    let older = Path::new("etcdctl").to_owned();
    for tool in [older, newer.join("etcdctl")] {
        let mut commands = listed(&tool);
        let groups = commands.clone();
        commands.extend(
            groups
                .iter()
                .filter_map(|c| Some(c.split_once(' ')?.0.to_owned())),
        );
        commands.insert(String::new());
        for command in commands {
            let found = flags(&tool, &command);
            let is_group = !command.contains(' ') && !groups.contains(&command);
            if is_group && found.is_empty() {
                continue;
            }
            let name = format!("etcdctl {command}");
            let missing = &found - &recorded(name.trim());
            assert!(missing.is_empty(), "{name}: {missing:?}");
        }
    }
    let etcdutl = newer.join("etcdutl");
    for command in [
        "",
        "backup",
        "defrag",
        "snapshot restore",
        "snapshot status",
        "version",
    ] {
        let name = format!("etcdutl {command}");
        let missing = &flags(&etcdutl, command) - &recorded(name.trim());
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
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
