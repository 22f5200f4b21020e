//! Many clients that ask for one kind of thing.
//!
//! In a *closed* loop each client asks again when it was answered. In an *open* one requests are due
//! at fixed times whether or not earlier ones were answered, and a latency counts from when its
//! request was due: a server that hangs cannot hide the requests that it kept from being sent.

use crate::engine::{self, Engine};
use crate::figures::{Figures, microseconds, quantiles_ms};
use crate::machine::{Spent, Watched};
use crate::work::{Shape, Work, Worker};
use anyhow::{Context, Result, ensure};
use etcd_client::{Client, ConnectOptions};
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

/// How long a request may take: longer than any server is away, and not for ever.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Connections that fit a number of clients: few enough that requests share packets, as many as
/// programs of that size would have.
pub fn usual_conns(clients: usize) -> usize {
    match clients {
        0..=1 => 1,
        2..=16 => 4,
        17..=64 => 8,
        65..=256 => 16,
        _ => 32,
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Client URLs, used in turn.
    pub endpoints: Vec<String>,
    /// What drives it.
    pub engine: Engine,
    /// What every client asks for.
    pub work: Work,
    /// Requests under way at a time, at most.
    pub clients: usize,
    /// Connections.
    pub conns: usize,
    /// Requests a second that are due, of all clients together; nothing is a closed loop.
    pub rate: Option<f64>,
    /// The requests.
    pub shape: Shape,
}

/// What clients count while they run.
struct Tally {
    /// What was due before this does not count; nothing does before it is set.
    from: Option<Instant>,
    /// No more is asked. What is under way counts as a latency, or the last stall would be no stall, but
    /// not as answered in time.
    is_over: bool,
    answered: u64,
    errors: u64,
    first_error: Option<String>,
    latency_us: Histogram<u64>,
}

impl Tally {
    fn count(&mut self, due: Instant, answered: Instant, outcome: &Result<()>) {
        if self.from.is_none_or(|from| due < from) {
            return;
        }
        match outcome {
            Ok(()) => {
                self.answered += u64::from(!self.is_over);
                let us = u64::try_from((answered - due).as_micros()).unwrap_or(u64::MAX);
                self.latency_us.saturating_record(us);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

/// Which of these endpoints leads.
///
/// # Errors
/// If none says so.
pub async fn leader_of(endpoints: &[String]) -> Result<String> {
    for endpoint in endpoints {
        let Ok(mut client) = Client::connect([endpoint], None).await else {
            continue;
        };
        let Ok(status) = client.status().await else {
            continue;
        };
        let id = status.header().map_or(0, |header| header.member_id());
        if id != 0 && id == status.leader() {
            return Ok(endpoint.clone());
        }
    }
    anyhow::bail!("none of {endpoints:?} leads")
}

/// Asks for as long as the plan says.
///
/// # Errors
/// If the servers cannot be reached at all.
pub async fn run(plan: &Plan, watched: &Watched) -> Result<Figures> {
    let nothing = async { Ok(()) };
    let (figures, ()) = run_while(plan, watched, nothing).await?;
    Ok(figures)
}

/// Asks for as long as the plan says, and until something else is done; what came of that, too.
///
/// # Errors
/// If the servers cannot be reached at all, or what else is done fails.
pub async fn run_while<T>(
    plan: &Plan,
    watched: &Watched,
    something: impl Future<Output = Result<T>>,
) -> Result<(Figures, T)> {
    let connections = engine::connect(plan.engine, &plan.endpoints, plan.conns.max(1)).await?;
    let tally = Rc::new(RefCell::new(Tally {
        from: None,
        is_over: false,
        answered: 0,
        errors: 0,
        first_error: None,
        latency_us: microseconds(),
    }));
    let mut clients = JoinSet::new();
    let begin = Instant::now();
    for number in 0..plan.clients {
        let connection = connections[number % connections.len()].clone();
        let worker = Worker::new(connection, number as u64, plan.work, plan.shape).await?;
        let due = plan.rate.map(|rate| {
            let step = Duration::from_secs_f64(plan.clients as f64 / rate);
            (
                begin + step.mul_f64(number as f64 / plan.clients as f64),
                step,
            )
        });
        clients.spawn_local(one_client(worker, due, Rc::clone(&tally)));
    }
    sleep(Duration::from_secs_f64(plan.shape.warmup)).await;
    // Asking the servers what they have spent holds this thread up, so it happens outside the span.
    let before = Spent::so_far(watched)?;
    let from = Instant::now();
    tally.borrow_mut().from = Some(from);
    let least = sleep(Duration::from_secs_f64(plan.shape.seconds));
    let ((), done) = tokio::join!(least, something);
    tally.borrow_mut().is_over = true;
    let seconds = from.elapsed().as_secs_f64();
    let after = Spent::so_far(watched)?;
    while let Some(client) = clients.join_next().await {
        client?;
    }
    let tally = Rc::into_inner(tally)
        .context("a client still counts")?
        .into_inner();
    let first_error = tally.first_error.unwrap_or_default();
    ensure!(tally.answered > 0, "nothing was answered: {first_error}");
    let answered = tally.answered as f64;
    let mut figures = after.since(&before, answered, seconds);
    figures.extend(quantiles_ms(&tally.latency_us));
    figures.insert("clients".into(), plan.clients as f64);
    figures.insert("conns".into(), plan.conns as f64);
    figures.insert("seconds".into(), seconds);
    figures.insert("errors".into(), tally.errors as f64);
    figures.insert("per_s".into(), answered / seconds);
    Ok((figures, done?))
}

/// So many connections, each of which has answered once.
///
/// # Errors
/// If one does not.
pub async fn connect(endpoints: &[String], conns: usize) -> Result<Vec<Client>> {
    let mut connections = Vec::with_capacity(conns);
    for number in 0..conns.max(1) {
        let endpoint = &endpoints[number % endpoints.len()];
        let options = ConnectOptions::new().with_timeout(REQUEST_LIMIT);
        let mut client = Client::connect([endpoint], Some(options)).await?;
        client
            .get("warm", None)
            .await
            .with_context(|| format!("{endpoint} does not answer"))?;
        connections.push(client);
    }
    Ok(connections)
}

async fn one_client(
    mut worker: Worker,
    mut due: Option<(Instant, Duration)>,
    tally: Rc<RefCell<Tally>>,
) {
    while !tally.borrow().is_over {
        let mut sent = Instant::now();
        if let Some((at, step)) = &mut due {
            sleep_until((*at).into()).await;
            sent = *at;
            *at += *step;
        }
        let outcome = worker.once().await;
        tally.borrow_mut().count(sent, Instant::now(), &outcome);
        if outcome.is_err() {
            // A server that refuses at once must not be asked a million times a second.
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_at_the_end_is_a_latency_and_no_throughput() {
        let from = Instant::now();
        let mut tally = Tally {
            from: Some(from),
            is_over: false,
            answered: 0,
            errors: 0,
            first_error: None,
            latency_us: microseconds(),
        };
        let after = |ms| from + Duration::from_millis(ms);
        tally.count(after(1), after(2), &Ok(()));
        tally.is_over = true;
        tally.count(after(1), after(3001), &Ok(()));
        assert_eq!((tally.answered, tally.latency_us.len()), (1, 2));
        assert!(quantiles_ms(&tally.latency_us)["max_ms"] >= 2990.0);
    }
}
