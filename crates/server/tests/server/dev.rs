//! The local cluster: what it says, what it brings back, what it leaves behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::support::{PATIENCE, headwater};

/// Held by whoever has a local cluster run: all of them would have the same, usual ports, and two
/// that begin at once take each other's for free.
static USUAL_PORTS: Mutex<()> = Mutex::new(());

fn usual_ports() -> MutexGuard<'static, ()> {
    // Another test's failure is not this one's.
    USUAL_PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args(["-s", name, pid]).status();
    assert!(status.expect("kill(1) is there").success());
}

/// Waits until there is no such process.
fn wait_gone(pid: &str) {
    let since = Instant::now();
    while Path::new("/proc").join(pid).exists() {
        assert!(since.elapsed() < PATIENCE, "process {pid} was left behind");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The process in a line such as `n1 (pid 7, http://127.0.0.1:2379): leader, term 1`.
fn pid_of(line: &str) -> String {
    let (_, rest) = line.split_once("(pid ").expect("the line names a process");
    let (pid, _) = rest.split_once(',').expect("and more");
    pid.to_owned()
}

#[test]
fn a_killed_server_comes_back_and_nothing_is_left_at_the_end() {
    let _ports = usual_ports();
    let mut dev = headwater()
        .args(["dev", "--nodes", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let out = dev.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(out)
        .lines()
        .map(|line| line.expect("it speaks UTF-8"));
    let mut wait_for = |part: &str| {
        let found = lines.find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("it ended and never said \"{part}\""))
    };
    let head = wait_for("data in ");
    let (_, dir) = head.split_once("data in ").expect("just found");
    let dir = dir.trim_end_matches(" (deleted at the end)").to_owned();
    assert!(Path::new(&dir).is_dir(), "{head}");
    wait_for("export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=http://127.0.0.1:");
    wait_for("Z  n");
    let leader = pid_of(&wait_for(": leader, term"));
    signal("KILL", &leader);
    let told = wait_for("ended (killed); starting it again");
    let (time, _) = told.split_once("  n").expect("a time, then a name");
    assert!(time.len() == 9 && time.ends_with('Z'), "{told}");
    wait_for("leads now, in term ");
    let next = pid_of(&wait_for(": leader, term"));
    assert_ne!(next, leader, "a dead process cannot lead");
    signal("STOP", &next);
    assert_eq!(pid_of(&wait_for(": no answer, term")), next);
    signal("CONT", &next);
    signal("INT", &dev.id().to_string());
    let status = dev.wait().expect("it is our child");
    assert_eq!(status.code(), Some(0));
    wait_gone(&next);
    assert!(!Path::new(&dir).exists(), "{dir} was left behind");
}

#[test]
fn servers_do_not_outlive_a_killed_owner() {
    let _ports = usual_ports();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut dev = headwater()
        .args(["dev", "--nodes", "1", "--data-dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let out = dev.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains(": leader, term"));
    let server = pid_of(&line.expect("it says who leads"));
    dev.kill().expect("it runs");
    dev.wait().expect("it is our child");
    wait_gone(&server);
}

#[test]
fn a_cluster_with_tls_prints_what_its_clients_need() {
    let _ports = usual_ports();
    let mut dev = headwater()
        .args(["dev", "--nodes", "3", "--tls"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let out = dev.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let mut wait_for = |part: &str| lines.find(|line| line.contains(part));
    let line = wait_for("export ETCDCTL_API=3").expect("it says how to connect");
    let variables = line.trim().split(' ').skip(1);
    let variables: Vec<_> = variables.filter_map(|word| word.split_once('=')).collect();
    wait_for(": leader, term").expect("the servers are asked how they are");
    let ctl = |words: &[&str], set: &[(&str, &str)]| {
        let mut command = headwater();
        command.arg("ctl").args(words).envs(set.iter().copied());
        let output = command.output().expect("the program is there");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(
        ctl(&["put", "greeting", "hello"], &variables),
        (true, "OK\n".to_owned())
    );
    let (is_told, text) = ctl(&["get", "greeting", "--print-value-only"], &variables);
    assert!(is_told && text == "hello\n", "{text}");
    let (name, endpoints) = variables[1];
    assert!(
        name == "ETCDCTL_ENDPOINTS" && endpoints.starts_with("https://"),
        "{line}"
    );
    let without_certificates = &variables[..2];
    assert!(
        !ctl(&["get", "greeting"], without_certificates).0,
        "only its own clients are let in"
    );
    signal("INT", &dev.id().to_string());
    assert_eq!(dev.wait().expect("it is our child").code(), Some(0));
}
