//! What a driver must write down in which order, shown by what happens otherwise.
//!
//! # Source
//! Raft paper §5.3; rule R2 (one queue of writes).

mod common;

use common::*;

#[test]
fn a_commit_index_written_beside_a_write_is_that_of_the_moment_not_of_the_step() {
    // One message makes node 3 write a term, then replace entries, then commit them. A crash may
    // leave the term alone; were the commit index noted beside it already that of the whole step,
    // the entries that were to be replaced would come back as committed.
    let mut c = Cluster::with_logs(&[(2, &[1]), (2, &[1]), (2, &[1, 2, 2])]);
    c.isolate(3);
    c.elect(1);
    c.propose(1, 1).expect("leads");
    c.settle();
    assert_eq!(c.raft(1).commit(), Index(3));
    c.heal();
    c.deadline(1);
    while let Some(message) = c.take(1, 3) {
        if matches!(message, Message::Append { .. }) {
            c.receive(1, 3, message);
        }
    }
    assert_eq!((c.terms(3), c.raft(3).commit()), (vec![1, 3, 3], Index(3)));
    assert_eq!(c.node(3).disk.queue.len(), 2, "the term, and the entries");
    c.crash(3, 1);
    c.restart(3);
    assert_eq!((c.terms(3), c.raft(3).commit()), (vec![1, 2, 2], Index(0)));
}
