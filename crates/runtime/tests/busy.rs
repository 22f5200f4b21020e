//! A node that is asked for more than its queue or its table of requests holds says so, whatever it
//! is asked.

mod common;

use std::future::Future;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use common::{Cluster, PATIENCE};
use headwater_runtime::{ProposeError, ReadError, ReadLevel, ReconfigureError, TransferError};
use tokio::task::unconstrained;

#[tokio::test]
async fn a_full_queue_is_told_as_such_to_every_kind_of_request() {
    let cluster = Cluster::started(1, |_| ()).await;
    let node = cluster.node(1);
    // The node lives on this thread and takes nothing in while the test does not wait.
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut asked = Box::pin(node.propose("more".into()));
        match asked.as_mut().poll(&mut context) {
            Poll::Pending => waiting.push(asked),
            Poll::Ready(outcome) => break outcome,
        }
    };
    assert_eq!(refused, Err(ProposeError::Busy));
    let read = node.query((), ReadLevel::Local).await;
    assert_eq!(read, Err(ReadError::Busy));
    let change = node.reconfigure(node.members(), node.members(), false);
    assert_eq!(change.await, Err(ReconfigureError::Busy));
    let transfer = node.transfer_leadership(None).await;
    assert_eq!(transfer, Err(TransferError::Busy));
    for asked in waiting.drain(..) {
        assert!(asked.await.is_ok(), "what was taken is applied");
    }
}

/// More than the requests that a node has under way at most.
const TOO_MANY: usize = 300 << 10;
/// Fewer than wait in its queue.
const AT_ONCE: usize = 32 << 10;

#[tokio::test]
async fn a_full_table_of_requests_is_told_as_such_to_every_kind_of_request() {
    // One of three, so no command ends before its time is over.
    let mut cluster = Cluster::new(3, |config| config.request_timeout = PATIENCE);
    cluster.start(1).await;
    let node = cluster.node(1);
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = Vec::new();
    while waiting.len() < TOO_MANY {
        for _ in 0..AT_ONCE {
            let mut asked = Box::pin(unconstrained(node.propose(Bytes::new())));
            let outcome = asked.as_mut().poll(&mut context);
            assert!(outcome.is_pending(), "the queue has room: {outcome:?}");
            waiting.push(asked);
        }
        // Whatever this is answered, all that was asked before has left the queue.
        let _ = node.query((), ReadLevel::Local).await;
    }
    let refused = node.propose(Bytes::new()).await;
    assert_eq!(refused, Err(ProposeError::Busy));
    for level in [ReadLevel::Local, ReadLevel::Linearizable] {
        assert_eq!(node.query((), level).await, Err(ReadError::Busy));
    }
    let change = node.reconfigure(node.members(), node.members(), false);
    assert_eq!(change.await, Err(ReconfigureError::Busy));
    let transfer = node.transfer_leadership(None).await;
    assert_eq!(transfer, Err(TransferError::Busy));
    let mut outcomes = waiting
        .into_iter()
        .map(|mut asked| asked.as_mut().poll(&mut context));
    let taken = outcomes.by_ref().take_while(Poll::is_pending).count();
    assert_eq!(taken, 256 << 10);
    assert!(outcomes.all(|outcome| outcome == Poll::Ready(Err(ProposeError::Busy))));
}
