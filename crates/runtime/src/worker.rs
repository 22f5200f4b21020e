//! A thread that may wait for a disk, and the queue of orders it works off.
//! Never goes on after a failure: what is on the disk is then unknown.
//!
//! # Source
//! Rebello et al., ATC'20 (after a failed sync nothing later may be believed).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use headwater_replica::{DiskError, DiskErrorKind};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::lock::DirectoryLock;

/// Silence after which a worker is told that nothing is to do.
const IDLE_AFTER: Duration = Duration::from_millis(50);

/// How long the end of a worker is waited for; a disk that hangs longer is left to the kernel.
const END_WAIT_MAX: Duration = Duration::from_secs(10);

/// A thread that obeys orders of type `O`, in order. The queue has no bound of its own: the
/// replica bounds what it orders and has not been told done.
#[derive(Debug)]
pub struct Worker<O> {
    orders: Sender<Vec<O>>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl<O: Send + 'static> Worker<O> {
    /// Starts a thread that hands everything ordered since it last looked to `work`; and, once
    /// after each batch that was followed by silence, nothing. That comes again, after a while, if
    /// `work` says that it has something to try again.
    ///
    /// `lock`: kept until the thread ends, since until then it may write.
    /// `failed`: told, once, that `work` failed and that no order will be carried out any more.
    ///
    /// # Errors
    /// The operating system gave no thread.
    pub fn start(
        name: &'static str,
        lock: Arc<DirectoryLock>,
        failed: impl Fn(String) + Send + 'static,
        mut work: impl FnMut(Vec<O>) -> Result<bool, DiskError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, queue) = channel();
        let (ending, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let end = catch_unwind(AssertUnwindSafe(|| work_off(&queue, &mut work)));
                match end {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => failed(advice(&error)),
                    Err(panic) => failed(format!("{name} thread: {}", panic_text(&*panic))),
                }
                // The files are closed and the lock given back before anyone hears of the end.
                drop((work, lock));
                drop(ending);
            })?;
        Ok(Self {
            orders,
            ended,
            thread,
        })
    }

    /// Gives orders. A worker that has failed has said so by itself; orders to it are void.
    pub fn give(&self, orders: Vec<O>) {
        let _ = self.orders.send(orders);
    }

    /// Lets the worker finish what is ordered, and waits for it; says whether it came to its end.
    pub async fn finish(self) -> bool {
        drop(self.orders);
        if timeout(END_WAIT_MAX, self.ended).await.is_err() {
            return false;
        }
        self.thread.join().is_ok()
    }
}

fn work_off<O>(
    queue: &Receiver<Vec<O>>,
    work: &mut impl FnMut(Vec<O>) -> Result<bool, DiskError>,
) -> Result<(), DiskError> {
    let mut idle = true;
    loop {
        let next = if idle {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(IDLE_AFTER)
        };
        let mut orders = match next {
            Ok(orders) => orders,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        idle = orders.is_empty();
        while let Ok(more) = queue.try_recv() {
            orders.extend(more);
        }
        idle &= !work(orders)?;
    }
}

/// What happened, and what the operator can do about it.
pub fn advice(error: &DiskError) -> String {
    let deed = match error.kind {
        DiskErrorKind::Full => {
            "the disk is full; free some space and start the node again, nothing acknowledged is lost"
        }
        DiskErrorKind::Denied => {
            "the data directory may not be written; correct its permissions and start the node again"
        }
        // An older copy, or none, makes a node forget votes and entries that others count on.
        DiskErrorKind::NotFound => {
            "a file of the data directory was removed from under the node; put it back as it was, \
             or keep this node stopped while the majority goes on: with an older copy or an empty \
             directory it may come back only as a new member"
        }
        _ => {
            "the disk failed, so nothing since its last sync is believed; check it and start the node again"
        }
    };
    format!("{error} ({deed})")
}

/// The words of a panic, if it has any.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic
        .downcast_ref::<String>()
        .map_or("an assertion failed", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel as std_channel;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn lock(directory: &tempfile::TempDir) -> Arc<DirectoryLock> {
        Arc::new(DirectoryLock::take(directory.path()).expect("nobody else is here"))
    }

    #[tokio::test]
    async fn orders_that_wait_together_are_carried_out_together_and_before_the_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (entered, has_entered) = std_channel();
        let (gate, pass) = std_channel::<()>();
        let (seen, was_seen) = std_channel();
        let worker = Worker::start(
            "test",
            lock(&directory),
            |text| panic!("{text}"),
            move |orders: Vec<u32>| {
                if !orders.is_empty() {
                    let _ = entered.send(());
                    let _ = pass.recv();
                    let _ = seen.send(orders);
                }
                Ok(false)
            },
        )
        .expect("a thread");
        worker.give(vec![1]);
        has_entered.recv_timeout(PATIENCE).expect("it works");
        // All that comes while the first order is carried out is the next batch.
        worker.give(vec![2, 3]);
        worker.give(vec![4]);
        drop(gate);
        assert!(worker.finish().await);
        assert_eq!(
            was_seen.try_iter().collect::<Vec<_>>(),
            [vec![1], vec![2, 3, 4]]
        );
        // The lock was given back before the end was told.
        DirectoryLock::take(directory.path()).expect("free again");
    }

    #[test]
    fn every_failure_says_what_to_do() {
        let cases = [
            (DiskErrorKind::Full, "free some space"),
            (DiskErrorKind::Denied, "correct its permissions"),
            (DiskErrorKind::NotFound, "put it back as it was"),
            (DiskErrorKind::Failed, "check it"),
        ];
        for (kind, deed) in cases {
            let what = "sync a".into();
            let text = advice(&DiskError { what, kind });
            assert!(
                text.starts_with("sync a (") && text.contains(deed),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn after_a_failure_no_order_is_carried_out() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (failed, why) = std_channel();
        let (seen, was_seen) = std_channel();
        let worker = Worker::start(
            "test",
            lock(&directory),
            move |text| failed.send(text).expect("the test listens"),
            move |orders: Vec<u32>| {
                seen.send(orders).expect("the test listens");
                Err(DiskError {
                    what: "sync a".into(),
                    kind: DiskErrorKind::Full,
                })
            },
        )
        .expect("a thread");
        worker.give(vec![1]);
        let text = why.recv_timeout(PATIENCE).expect("a failure is told");
        assert!(
            text.starts_with("sync a") && text.contains("disk is full"),
            "{text}"
        );
        worker.give(vec![2]);
        assert!(worker.finish().await);
        assert_eq!(was_seen.try_iter().collect::<Vec<_>>(), [vec![1]]);
    }

    #[tokio::test]
    async fn a_panic_is_told_like_a_failure() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (failed, why) = std_channel();
        let worker = Worker::start(
            "test",
            lock(&directory),
            move |text| failed.send(text).expect("the test listens"),
            |orders: Vec<u32>| panic!("cannot do {orders:?}"),
        )
        .expect("a thread");
        worker.give(vec![1]);
        let text = why.recv_timeout(PATIENCE).expect("a panic is told");
        assert_eq!(text, "test thread: cannot do [1]");
        assert!(worker.finish().await);
    }
}
