//! A machine that has something to tidy is called again, with pauses, until it has nothing more.

use bytes::Bytes;
use headwater_raft::{Config, Instant, LogId, NodeId};
use headwater_replica::interface::Options;
use headwater_replica::recovery::Recovered;
use headwater_replica::replica::Replica;
use headwater_replica::{Identity, Malformed, StateMachine};

/// Three bits of tidying are left.
#[derive(Debug)]
struct Attic {
    left: u32,
}

impl Default for Attic {
    fn default() -> Self {
        Self { left: 3 }
    }
}

impl StateMachine for Attic {
    type Reply = ();
    type Query = ();
    type Answer = ();
    type Walk = ();

    fn apply(&mut self, _at: LogId, _command: &Bytes) {}

    fn tidy(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    fn query(&self, (): ()) {}

    fn begin_snapshot(&mut self) {}

    fn next_chunk(&mut self, (): &mut (), _max_bytes: usize) -> Option<Bytes> {
        None
    }

    fn load_chunk(&mut self, _chunk: Bytes) -> Result<(), Malformed> {
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), Malformed> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn a_machine_is_tidied_bit_by_bit_with_pauses() {
    let (node, others) = (NodeId(1), [NodeId(1), NodeId(2)]);
    let identity = Identity {
        cluster: 1,
        node,
        incarnation: 1,
    };
    let disk = Recovered::<Attic>::blank(identity, Config::of_voters(others));
    let mut replica = Replica::new(Instant(0), Options::default(), disk).expect("a blank disk");
    let mut now = Instant(0);
    for left in [2, 1, 0] {
        // However many turns there are within a pause, there is one bit.
        replica.end_turn(now, &mut Vec::new());
        replica.end_turn(now, &mut Vec::new());
        assert_eq!(replica.machine().left, left);
        let next = replica.next_deadline();
        let is_soon = next.since(now) <= 1_000_000;
        assert_eq!(is_soon, left > 0, "the next at {next:?} after {now:?}");
        now = next;
    }
}
