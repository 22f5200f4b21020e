//! No lease ends before what clients were told, whoever leads and whatever is late or lost; and
//! each that nobody renews ends.
mod support;

use headwater_kv::Store;
use headwater_kv::lessor::{CHECKPOINT_LEASES_MAX, Lessor, Renewal};
use headwater_kv::request::{
    Command, KvError, LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest, Response,
};
use std::collections::BTreeMap;
use support::{Dice, apply_at, put_of};

const SECOND_NS: u64 = 1_000_000_000;

/// Far below the times to live here, so that checkpoints are common.
const CHECKPOINT_EVERY_NS: u64 = 7 * SECOND_NS;

fn grant(id: i64, ttl: i64) -> Command {
    Command::LeaseGrant(LeaseGrantRequest { id, ttl })
}

fn revoke(id: i64) -> Command {
    Command::LeaseRevoke(LeaseRevokeRequest { id, ended: None })
}

/// One node that leads, and its store.
struct Alone {
    store: Store,
    lessor: Lessor,
    index: u64,
}

impl Alone {
    fn new(leases: &[(i64, i64)]) -> Alone {
        let mut alone = Alone {
            store: Store::default(),
            lessor: Lessor::new(CHECKPOINT_EVERY_NS),
            index: 0,
        };
        alone.lessor.lead(0, 1, &alone.store);
        for (id, ttl) in leases {
            alone.apply(1, &grant(*id, *ttl)).expect("it is new");
        }
        alone.lessor.observe(0, &alone.store);
        alone
    }

    fn apply(&mut self, term: u64, command: &Command) -> Result<Response, KvError> {
        self.index += 1;
        apply_at(term, self.index, &mut self.store, command).result
    }

    fn ended(&mut self, seconds: u64, leases_max: usize) -> Vec<i64> {
        let ended = self.lessor.ended(seconds * SECOND_NS, leases_max);
        ended.into_iter().map(|revoke| revoke.id).collect()
    }

    fn renew(&mut self, seconds: u64, term: u64, id: i64) -> Renewal {
        let now_ns = seconds * SECOND_NS;
        self.lessor.renew(now_ns, term, id, &self.store)
    }

    /// Takes a checkpoint, which is applied.
    fn checkpoint(&mut self, seconds: u64) -> LeaseCheckpointRequest {
        let due = self.lessor.checkpoint(seconds * SECOND_NS);
        let due = due.expect("a checkpoint is due");
        self.apply(due.term, &Command::LeaseCheckpoint(due.clone()))
            .expect("it is in its term");
        due
    }
}

#[test]
fn leases_end_in_the_order_of_their_ends_and_a_few_at_a_time() {
    let mut alone = Alone::new(&[(1, 5), (2, 3), (3, 4), (4, 60)]);
    assert_eq!(
        alone.lessor.in_order_of_end().collect::<Vec<_>>(),
        [2, 3, 1, 4]
    );
    assert_eq!(alone.lessor.next_deadline_ns(), Some(3 * SECOND_NS));
    assert_eq!(alone.ended(2, 9), [0; 0]);
    assert_eq!(alone.lessor.ended(3 * SECOND_NS - 1, 9), [], "never early");
    assert_eq!(alone.ended(5, 2), [2, 3]);
    assert_eq!(alone.ended(5, 2), [1]);
    assert_eq!(alone.ended(5, 2), [0; 0], "each once");
    assert_eq!(alone.ended(9, 9), [1, 2, 3], "again if nothing came of it");
    alone.apply(1, &revoke(2)).expect("it exists");
    alone.lessor.observe(9 * SECOND_NS, &alone.store);
    assert_eq!(alone.ended(13, 9), [1, 3]);
}

#[test]
fn a_renewal_gives_all_its_time_again_until_the_end_was_said() {
    let mut alone = Alone::new(&[(1, 5)]);
    assert_eq!(alone.renew(4, 1, 1), Renewal::Renewed(5));
    assert_eq!(alone.lessor.time_to_live(6 * SECOND_NS + 1, 1), Some(2));
    assert_eq!(alone.ended(8, 9), [0; 0]);
    // Overdue, but nobody has said so.
    assert_eq!(alone.renew(10, 1, 1), Renewal::Renewed(5));
    assert_eq!(alone.ended(15, 9), [1]);
    assert_eq!(alone.renew(15, 1, 1), Renewal::Gone);
    assert_eq!(alone.lessor.time_to_live(15 * SECOND_NS, 1), None);
    assert_eq!(alone.renew(15, 1, 2), Renewal::Gone, "never granted");
}

#[test]
fn who_does_not_lead_renews_and_ends_nothing() {
    let mut alone = Alone::new(&[(1, 5)]);
    assert_eq!(alone.renew(1, 2, 1), Renewal::NotLeading, "another term");
    alone.lessor.follow();
    assert_eq!(alone.renew(1, 1, 1), Renewal::NotLeading);
    assert_eq!(alone.ended(100, 9), [0; 0]);
    assert_eq!(alone.lessor.checkpoint(100 * SECOND_NS), None);
    assert_eq!(alone.lessor.next_deadline_ns(), None);
}

#[test]
fn the_next_leader_gives_what_the_checkpoint_left_or_all() {
    let mut alone = Alone::new(&[(1, 20), (2, 5)]);
    assert_eq!(alone.lessor.checkpoint(6 * SECOND_NS), None, "too soon");
    let due = alone.checkpoint(7);
    let named: Vec<_> = due
        .leases
        .iter()
        .map(|left| (left.id, left.seconds))
        .collect();
    assert_eq!(named, [(1, 13)], "the other has less than the interval");
    alone.lessor.follow();
    alone.lessor.lead(100 * SECOND_NS, 2, &alone.store);
    assert_eq!(alone.ended(104, 9), [0; 0]);
    assert_eq!(alone.ended(105, 9), [2]);
    assert_eq!(alone.ended(112, 9), [2]);
    assert_eq!(alone.ended(113, 9), [1]);
}

#[test]
fn what_a_checkpoint_left_is_rounded_up() {
    let mut alone = Alone::new(&[(1, 20)]);
    let due = alone
        .lessor
        .checkpoint(7 * SECOND_NS + 1)
        .expect("it is due");
    assert_eq!(due.leases[0].seconds, 13);
    let due = alone
        .lessor
        .checkpoint(15 * SECOND_NS)
        .expect("it is due again");
    assert_eq!(due.leases[0].seconds, 5);
    let due = alone.lessor.checkpoint(30 * SECOND_NS);
    assert_eq!(due, None, "less than the interval was left");
}

#[test]
fn a_renewal_first_gives_back_what_a_checkpoint_took() {
    let mut alone = Alone::new(&[(1, 20)]);
    let under_way = alone.lessor.checkpoint(7 * SECOND_NS).expect("it is due");
    let Renewal::First(back) = alone.renew(8, 1, 1) else {
        panic!("a checkpoint is under way");
    };
    assert_eq!(back.leases[0].seconds, 0);
    alone
        .apply(1, &Command::LeaseCheckpoint(back))
        .expect("it is in its term");
    assert_eq!(alone.renew(9, 1, 1), Renewal::Renewed(20));
    let late = alone.apply(1, &Command::LeaseCheckpoint(under_way));
    assert_eq!(late, Err(KvError::LeaseDecisionVoid));
    assert_eq!(alone.renew(10, 1, 1), Renewal::Renewed(20));
    // What an earlier leader took is given back as well.
    alone.checkpoint(17);
    alone.lessor.lead(18 * SECOND_NS, 2, &alone.store);
    let Renewal::First(back) = alone.renew(19, 2, 1) else {
        panic!("a checkpoint was applied");
    };
    alone
        .apply(2, &Command::LeaseCheckpoint(back))
        .expect("it is in its term");
    assert_eq!(alone.renew(20, 2, 1), Renewal::Renewed(20));
}

#[test]
fn what_a_later_leader_gave_back_is_no_leave_to_renew() {
    let mut alone = Alone::new(&[(1, 20)]);
    alone.checkpoint(7);
    // Another leads now, and began with what was left; this node does not know it yet.
    let mut next = Lessor::new(CHECKPOINT_EVERY_NS);
    next.lead(8 * SECOND_NS, 2, &alone.store);
    let Renewal::First(back) = next.renew(9 * SECOND_NS, 2, 1, &alone.store) else {
        panic!("a checkpoint was applied");
    };
    alone
        .apply(2, &Command::LeaseCheckpoint(back))
        .expect("it is in its term");
    assert_eq!(alone.renew(10, 1, 1), Renewal::NotLeading);
}

#[test]
fn a_lease_granted_anew_has_a_clock_of_its_own() {
    let mut alone = Alone::new(&[(1, 5)]);
    assert_eq!(alone.ended(5, 9), [1]);
    let stale = alone.lessor.ended(8 * SECOND_NS, 9).remove(0);
    alone.apply(1, &revoke(1)).expect("it exists");
    alone.apply(1, &grant(1, 10)).expect("the id is free again");
    alone.lessor.observe(9 * SECOND_NS, &alone.store);
    assert_eq!(
        alone.apply(1, &Command::LeaseRevoke(stale)),
        Err(KvError::LeaseDecisionVoid)
    );
    assert_eq!(alone.renew(10, 1, 1), Renewal::Renewed(10));
    assert_eq!(alone.ended(19, 9), [0; 0]);
    assert_eq!(alone.ended(20, 9), [1]);
}

#[test]
fn a_hundred_thousand_leases_are_no_burden() {
    let leases: Vec<(i64, i64)> = (1..=100_000).map(|id| (id, 10 + id % 50)).collect();
    // More grants than are remembered: it then looks at all.
    let mut alone = Alone::new(&leases);
    assert_eq!(alone.lessor.in_order_of_end().count(), 100_000);
    for id in 1..=100_000 {
        if id % 50 == 0 {
            assert_eq!(alone.renew(5, 1, id), Renewal::Renewed(10));
        }
    }
    assert_eq!(alone.ended(14, 100_000).len(), 8000, "those of 11 to 14");
    let due = alone
        .lessor
        .checkpoint(7 * SECOND_NS)
        .expect("many are due");
    assert_eq!(due.leases.len(), CHECKPOINT_LEASES_MAX);
}

/// Some nodes over one log. The log is the truth: what stands in it is committed.
struct Cluster {
    dice: Dice,
    now_ns: u64,
    term: u64,
    leader: usize,
    log: Vec<(u64, Command)>,
    nodes: Vec<Node>,
    /// Has applied the whole log.
    referee: Store,
    /// What someone means to propose; late, out of order, or lost.
    waiting: Vec<Command>,
    asked: Vec<Asked>,
    /// By the index that granted it, each lease there is: its id, and when clients were told that
    /// it ends.
    promised: BTreeMap<u64, (i64, u64)>,
    ended: u64,
    renewed_after_all: u64,
    void: u64,
    seed: u64,
}

struct Node {
    store: Store,
    lessor: Lessor,
    applied: usize,
    /// The term it believes to lead in.
    reign: Option<u64>,
}

/// A renewal that a client waits for; the leader was confirmed when it came.
struct Asked {
    id: i64,
    at_ns: u64,
    node: usize,
    term: u64,
    had_to_wait: bool,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let node = || Node {
            store: Store::default(),
            lessor: Lessor::new(CHECKPOINT_EVERY_NS),
            applied: 0,
            reign: None,
        };
        let mut cluster = Cluster {
            dice: Dice(seed),
            now_ns: 1,
            term: 0,
            leader: 0,
            log: Vec::new(),
            nodes: vec![node(), node(), node()],
            referee: Store::default(),
            waiting: Vec::new(),
            asked: Vec::new(),
            promised: BTreeMap::new(),
            ended: 0,
            renewed_after_all: 0,
            void: 0,
            seed,
        };
        cluster.elect();
        cluster
    }

    /// Another node leads; the one before may not know yet.
    fn elect(&mut self) {
        self.term += 1;
        self.leader = self.dice.below(3) as usize;
        self.commit(&put_of("elected", &self.term.to_string()));
        let (now_ns, term) = (self.now_ns, self.term);
        self.catch_up(self.leader, self.log.len());
        let leader = &mut self.nodes[self.leader];
        leader.reign = Some(term);
        leader.lessor.lead(now_ns, term, &leader.store);
    }

    /// Appends to the log, and judges what comes of it.
    fn commit(&mut self, command: &Command) {
        self.log.push((self.term, command.clone()));
        let index = self.log.len() as u64;
        let result = apply_at(self.term, index, &mut self.referee, command).result;
        self.void += u64::from(result == Err(KvError::LeaseDecisionVoid));
        match (command, result) {
            (Command::LeaseGrant(request), Ok(Response::LeaseGrant(granted))) => {
                let end_ns = self.now_ns + granted.ttl as u64 * SECOND_NS;
                self.promised.insert(index, (request.id, end_ns));
                // It is answered once the leader has applied it.
                self.catch_up(self.leader, self.log.len());
            }
            (Command::LeaseRevoke(request), Ok(_)) => {
                let mut promised = self.promised.iter();
                let (granted, (_, promised_ns)) = promised
                    .find(|(_, (id, _))| *id == request.id)
                    .map(|(granted, promised)| (*granted, *promised))
                    .expect("it was granted");
                self.promised.remove(&granted);
                if request.ended.is_some() {
                    self.ended += 1;
                    assert!(
                        promised_ns <= self.now_ns,
                        "seed {}: lease {} ends at {}, and was promised until {promised_ns}",
                        self.seed,
                        request.id,
                        self.now_ns
                    );
                }
            }
            _ => {}
        }
    }

    fn catch_up(&mut self, node: usize, upto: usize) {
        let node = &mut self.nodes[node];
        while node.applied < upto {
            let (term, command) = &self.log[node.applied];
            node.applied += 1;
            let outcome = apply_at(*term, node.applied as u64, &mut node.store, command);
            drop(outcome);
        }
        node.lessor.observe(self.now_ns, &node.store);
    }

    fn ask(&mut self) {
        let id = 1 + self.dice.below(4) as i64;
        self.asked.push(Asked {
            id,
            at_ns: self.now_ns,
            node: self.leader,
            term: self.term,
            had_to_wait: false,
        });
    }

    /// A node takes a renewal up that was confirmed a while ago.
    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let nth = self.dice.below(self.asked.len() as u64) as usize;
        let mut asked = self.asked.swap_remove(nth);
        let node = &mut self.nodes[asked.node];
        match node
            .lessor
            .renew(self.now_ns, asked.term, asked.id, &node.store)
        {
            Renewal::Renewed(ttl) => {
                let end_ns = asked.at_ns + ttl as u64 * SECOND_NS;
                self.renewed_after_all += u64::from(asked.had_to_wait);
                // A node that lags may speak of a lease that is gone by now, and its id taken.
                let applied = ..=node.applied as u64;
                let known = self.promised.range_mut(applied);
                let told = known.rev().find(|(_, (id, _))| *id == asked.id);
                if let Some((_, (_, promised_ns))) = told {
                    *promised_ns = end_ns.max(*promised_ns);
                }
            }
            Renewal::First(checkpoint) => {
                self.waiting.push(Command::LeaseCheckpoint(checkpoint));
                asked.had_to_wait = true;
                self.asked.push(asked);
            }
            Renewal::Gone | Renewal::NotLeading => {}
        }
    }

    /// Something that was to be proposed is, or is lost.
    fn propose(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let nth = self.dice.below(self.waiting.len() as u64) as usize;
        let command = self.waiting.swap_remove(nth);
        if !self.dice.once_in(6) {
            self.commit(&command);
        }
    }

    /// A node asks its lessor what is to be done.
    fn look(&mut self, node: usize) {
        let (now_ns, node) = (self.now_ns, &mut self.nodes[node]);
        let ended = node.lessor.ended(now_ns, 2);
        self.waiting
            .extend(ended.into_iter().map(Command::LeaseRevoke));
        let due = node.lessor.checkpoint(now_ns);
        self.waiting.extend(due.map(Command::LeaseCheckpoint));
    }

    fn step(&mut self) {
        let node = self.dice.below(3) as usize;
        match self.dice.below(100) {
            0..=24 => self.now_ns += self.dice.below(2 * SECOND_NS),
            25..=26 => self.elect(),
            27..=30 if node != self.leader => {
                self.nodes[node].lessor.follow();
                self.nodes[node].reign = None;
            }
            31..=36 => {
                let id = 1 + self.dice.below(4) as i64;
                let ttl = 1 + self.dice.below(30) as i64;
                self.commit(&grant(id, ttl));
            }
            37 => {
                let id = 1 + self.dice.below(4) as i64;
                self.waiting.push(revoke(id));
            }
            38..=50 => self.ask(),
            51..=65 => self.answer(),
            66..=80 => self.propose(),
            81..=90 => self.look(node),
            _ => {
                let lag = self.dice.below(3) as usize;
                self.catch_up(node, self.log.len().saturating_sub(lag));
            }
        }
    }

    /// From now on one node leads, nobody renews, and nothing is lost.
    fn run_out(&mut self) {
        self.asked.clear();
        for _ in 0..400 {
            self.now_ns += SECOND_NS / 2;
            self.look(self.leader);
            for command in std::mem::take(&mut self.waiting) {
                self.commit(&command);
            }
            self.catch_up(self.leader, self.log.len());
        }
        assert_eq!(self.promised, BTreeMap::new(), "leases that never end");
    }
}

#[test]
fn no_lease_ends_early_and_each_ends() {
    let (mut ended, mut renewed_after_all, mut void) = (0, 0, 0);
    for seed in 0..4_000 {
        let mut cluster = Cluster::new(seed);
        for _ in 0..600 {
            cluster.step();
        }
        cluster.run_out();
        ended += cluster.ended;
        renewed_after_all += cluster.renewed_after_all;
        void += cluster.void;
    }
    assert!(
        ended > 20_000 && renewed_after_all > 3_000 && void > 5_000,
        "all must be common: {ended}, {renewed_after_all}, {void}"
    );
}
