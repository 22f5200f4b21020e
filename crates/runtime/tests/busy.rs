//! A node that is asked for more than its queue holds says so, whatever it is asked.

mod common;

use std::future::Future;
use std::task::{Context, Poll, Waker};

use common::Cluster;
use headwater_runtime::{ProposeError, ReadError, ReadLevel, ReconfigureError, TransferError};

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
