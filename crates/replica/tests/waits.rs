//! What may wait for something else does so while that costs nobody time.

use headwater_raft::{Instant, NodeId};
use headwater_replica::coalescer::Coalescer;
use headwater_replica::mailbox::Mailbox;

const US: u64 = 1000;

/// To whom frames leave now, and when more do.
fn flush(coalescer: &mut Coalescer, us: u64) -> (Vec<u64>, Option<u64>) {
    let mut left = Vec::new();
    coalescer.flush(Instant(us * US), |to| left.push(to.0));
    (left, coalescer.next_deadline().map(|by| by.0 / US))
}

#[test]
fn what_can_wait_does_at_each_peer_until_something_cannot() {
    let mut frames = Coalescer::new(2000 * US);
    let [two, three] = [2, 3].map(NodeId);
    // Nothing is known yet, so it leaves.
    frames.queue(two, true);
    assert_eq!(flush(&mut frames, 1000), (vec![2], None));
    frames.queue(two, false);
    assert_eq!(flush(&mut frames, 1300), (vec![2], None));
    // Now they wait for the next, each for one to the same peer.
    frames.queue(two, true);
    frames.queue(three, true);
    assert_eq!(flush(&mut frames, 2000), (vec![], Some(4000)));
    frames.queue(three, false);
    assert_eq!(flush(&mut frames, 2100), (vec![3], Some(4000)));
    // What joins those that wait does not make them wait longer.
    frames.queue(three, true);
    assert_eq!(flush(&mut frames, 3900), (vec![], Some(4000)));
    assert_eq!(flush(&mut frames, 4000), (vec![2, 3], None));
    // None followed, so the next one does not wait, either.
    frames.queue(two, true);
    assert_eq!(flush(&mut frames, 5000), (vec![2], None));
}

#[test]
fn nothing_waits_where_nothing_may() {
    let mut frames = Coalescer::new(0);
    for at in 0..10 {
        frames.queue(NodeId(2), at % 2 == 0);
        assert_eq!(flush(&mut frames, at), (vec![2], None));
    }
}

#[test]
fn what_is_put_aside_wakes_who_wants_it_and_comes_with_the_rest() {
    let mut mailbox = Mailbox::default();
    assert!(mailbox.put_aside(1), "nothing else was said");
    let mut taken = Vec::new();
    mailbox.take(&mut taken);
    assert_eq!(std::mem::take(&mut taken), [1]);
    assert!(!mailbox.want_all(false));
    assert!(!mailbox.put_aside(2));
    assert!(!mailbox.want_all(false));
    assert!(mailbox.want_all(true), "it was missed meanwhile");
    mailbox.put(3);
    mailbox.take(&mut taken);
    assert_eq!(taken, [2, 3]);
    assert!(!mailbox.want_all(true));
}
