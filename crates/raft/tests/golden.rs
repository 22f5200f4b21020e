//! Golden scripts: behaviour between nodes, written down. Each script under `golden/` begins with
//! its claim; then come commands, `---`, and the events they caused, in blocks.
//!
//! `UPDATE_GOLDEN=1 cargo test -p headwater-raft --test golden` rewrites the events; read that
//! difference as code. The commands are in `command` below; `golden/README.md` lists them.
//!
//! # Source
//! docs/style.md, "Tests".

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;

/// Runs one script: its text with the events that really happened.
fn run(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let claim = lines.next().unwrap_or_default();
    assert!(claim.starts_with("# "), "the first line is the claim");
    let mut output = format!("{claim}\n");
    let mut cluster = Cluster::new(3);
    while lines.peek().is_some() {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "---").collect();
        if block.iter().all(|line| line.is_empty()) {
            break;
        }
        let mut events = Vec::new();
        for line in &block {
            output += &format!("{line}\n");
            if !line.is_empty() && !line.starts_with('#') {
                events.extend(command(&mut cluster, line));
            }
        }
        output += "---\n";
        for event in events {
            output += &format!("{event}\n");
        }
        output.push('\n');
        // What the file says happened ends with an empty line.
        lines.by_ref().find(|line| line.is_empty());
    }
    output
}

/// Carries out one command: the events it caused, in words.
fn command(c: &mut Cluster, line: &str) -> Vec<String> {
    let (quiet, line) = line
        .strip_prefix("quiet ")
        .map_or((false, line), |rest| (true, rest));
    let words: Vec<&str> = line.split_whitespace().collect();
    let seen = c.seen.len();
    let mut answer = carry_out(c, &words);
    if quiet {
        return Vec::new();
    }
    let seen = c.seen[seen.min(c.seen.len())..].iter();
    let mut events: Vec<String> = seen.map(|(at, fx)| words::effect(at.0, fx)).collect();
    events.append(&mut answer);
    events
}

fn carry_out(c: &mut Cluster, words: &[&str]) -> Vec<String> {
    let node = |at: usize| {
        words
            .get(at)
            .and_then(|word| word.strip_prefix('n')?.parse().ok())
    };
    let node = |at: usize| node(at).unwrap_or_else(|| panic!("which node? {words:?}"));
    let count = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    match words[0] {
        "cluster" => {
            let disks = words[1..].iter().flat_map(|w| disks(w)).collect();
            *c = Cluster::with_options(c.options.clone(), disks);
        }
        "batch" => c.batch = count(1).unwrap_or(u64::MAX),
        "wait" => c.advance(count(1).expect("milliseconds") * MS),
        "live" => c.live(count(1).expect("milliseconds") * MS),
        "defer" => c.defer(node(1), node(2)),
        "deadline" => c.deadline(node(1)),
        "elect" => c.elect(node(1)),
        "persist" => match count(2) {
            Some(upto) => c.persist_upto(node(1), upto),
            None => c.persist(node(1)),
        },
        "deliver" if words.len() == 1 => {
            for parcel in std::mem::take(&mut c.wire) {
                c.receive(parcel.from.0, parcel.to.0, parcel.message);
            }
        }
        "deliver" => {
            if !c.deliver(node(1), node(2)) {
                return vec![format!(
                    "nothing is under way from {} to {}",
                    words[1], words[2]
                )];
            }
        }
        "repeat" => {
            let message = c.on_wire(node(1), node(2))[0].clone();
            c.receive(node(1), node(2), message);
        }
        "lose" if words.len() == 1 => c.drop_all(),
        "lose" => {
            if c.take(node(1), node(2)).is_none() {
                return vec![format!(
                    "nothing is under way from {} to {}",
                    words[1], words[2]
                )];
            }
        }
        "settle" => c.settle(),
        "cut" => c.cut_one_way(node(1), node(2)),
        "isolate" => c.isolate(node(1)),
        "heal" => c.heal(),
        "crash" => c.crash(node(1), count(2).unwrap_or(0) as usize),
        "restart" => c.restart(node(1)),
        "rot" => {
            let (first, last) = (count(2).expect("an index"), count(3));
            for index in first..=last.unwrap_or(first) {
                let rots = c.node_mut(node(1)).disk.rot(Index(index));
                assert!(rots, "{words:?}: nothing is there to rot");
            }
        }
        "link" => {
            let (peer, up) = (NodeId(node(2)), words[3] == "up");
            c.step(node(1), Input::Link { peer, up });
        }
        "propose" => {
            let taken = c.propose(node(1), count(2).unwrap_or(1));
            return vec![taken.map_or_else(|no| format!("{no:?}"), |id| format!("taken at {id}"))];
        }
        "rests" => {
            c.options.rests = true;
            for at in c.ids() {
                c.crash(at, 0);
                c.restart(at);
            }
        }
        "spare" => {
            let ids = (0..count(1).unwrap_or(1)).map(|_| c.spare());
            return ids.map(|id| format!("n{id} is no member yet")).collect();
        }
        "meet" => {
            let peer = NodeId(node(2));
            let disk = Incarnation(count(3).expect("a disk").into());
            let life = c.node(peer.0).life;
            c.step(node(1), Input::Met { peer, disk, life });
        }
        "change" => {
            let force = words.last() == Some(&"force");
            let taken = c.change(node(1), &target(&words[2..]), force);
            return vec![taken.map_or_else(|no| refusal(&no), |id| format!("begins at {id}"))];
        }
        "transfer" => {
            let begun = c.transfer(node(1), (words.len() > 2).then(|| node(2)));
            return vec![begun.map_or_else(|no| format!("{no:?}"), |to| format!("to n{}", to.0))];
        }
        "hang" => drop(c.hung.insert(NodeId(node(1)))),
        "unhang" => drop(c.hung.remove(&NodeId(node(1)))),
        "priority" => {
            let priority = count(2).expect("a priority") as u8;
            c.priorities.insert(NodeId(node(1)), priority);
            c.crash(node(1), usize::MAX);
            c.restart(node(1));
        }
        "read" => {
            let level = read_level(&words[2..]);
            return vec![format!("asked as {}", c.read_as(node(1), level))];
        }
        "leases" => {
            c.options.lease_drift_ppm = count(1).map(|ppm| u32::try_from(ppm).expect("millionths"));
        }
        "void" => c.void_lease(node(1)),
        "gather" => c.pulls = false,
        "end" => {
            c.pulls = true;
            c.pull_all(node(1));
        }
        "compact" => c.compact(node(1), count(2).expect("an index")),
        "install" => c.install(node(1)),
        "show" => return c.ids().into_iter().map(|at| show(c, at)).collect(),
        other => panic!("no such command: {other}"),
    }
    Vec::new()
}

/// Nothing, `lease`, or `within 500` milliseconds.
fn read_level(words: &[&str]) -> ReadLevel {
    match words {
        [] => ReadLevel::Linearizable,
        ["lease"] => ReadLevel::Lease,
        ["within", ms] => ReadLevel::Bounded {
            max_lag_ns: ms.parse::<u64>().expect("milliseconds") * MS,
        },
        other => panic!("no such level: {other:?}"),
    }
}

/// `3` is three new nodes; `4:1,1,3` is one in term 4 whose entries have these terms.
fn disks(word: &str) -> Vec<disk::Disk> {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|n| n.parse().expect("a term"))
            .collect()
    };
    match word.split_once(':') {
        Some((term, log)) => vec![disk::Disk::holding(numbers(term)[0], &numbers(log))],
        None => (0..numbers(word)[0])
            .map(|_| disk::Disk::holding(0, &[]))
            .collect(),
    }
}

/// `n1,n2 learners=n3 joining=n4`: two voters, a learner, and one on its way to a vote.
fn target(words: &[&str]) -> Config {
    let nodes = |text: &str| -> Vec<NodeId> {
        let ids = text.split(',').filter_map(|id| id.strip_prefix('n'));
        ids.map(|id| NodeId(id.parse().expect("a node"))).collect()
    };
    let mut config = Config::of_voters(nodes(words[0]));
    for word in &words[1..] {
        config = match word.split_once('=') {
            Some(("learners", ids)) => config.with_learners(nodes(ids)),
            Some(("joining", ids)) => config.with_joining(nodes(ids)),
            _ => config,
        };
    }
    config
}

fn refusal(why: &NotChanged) -> String {
    match why {
        NotChanged::Stale { current } => {
            format!("refused: the members are {}", words::config(current))
        }
        NotChanged::NotTaken(why) => format!("refused: {why:?}"),
        other => format!("refused: {other:?}"),
    }
}

fn show(c: &Cluster, at: u64) -> String {
    if !c.is_up(at) {
        return format!("n{at} is down");
    }
    let raft = c.raft(at);
    let log = words::entries(&raft.entries(raft.base().index.next(), raft.last().index));
    let (role, term, base) = (raft.role().as_str(), raft.term(), raft.base());
    let (commit, durable) = (raft.commit(), raft.durable());
    format!("n{at} {role} term={term} base={base} log={log} durable={durable} commit={commit}")
}

fn scripts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let inside = |folder: PathBuf| {
        let entries = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("a file"));
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let rooms = inside(root).into_iter().filter(|path| path.is_dir());
    let mut scripts: Vec<PathBuf> = rooms.flat_map(inside).collect();
    scripts.sort();
    scripts
}

#[test]
fn every_script_tells_what_happens() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let scripts = scripts();
    assert!(
        scripts.len() >= 24,
        "scripts are missing: {}",
        scripts.len()
    );
    for path in scripts {
        println!("{}", path.display());
        let told = fs::read_to_string(&path).expect("a readable script");
        let happened = run(&told);
        if update {
            fs::write(&path, happened).expect("a writable script");
        } else {
            let pairs = told.lines().zip(happened.lines()).enumerate();
            let differs = pairs.clone().find(|(_, (told, happened))| told != happened);
            assert_eq!(
                differs,
                None,
                "in {}; UPDATE_GOLDEN=1 rewrites it",
                path.display()
            );
            assert_eq!(told, happened, "in {}", path.display());
        }
    }
}
