//! One put, many watchers: how long until the last of them knows, and how many events a second.

use crate::engine::{self, Client, Engine};
use crate::figures::{Figures, microseconds, quantiles_ms};
use crate::load::leader_of;
use crate::machine::{Spent, Watched};
use crate::work::{self, Shape};
use anyhow::{Result, ensure};
use bytes::Bytes;
use headwater_etcd_tests::random::Random;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

/// Streams that share a connection.
const STREAMS_A_CONNECTION: usize = 50;

/// Puts under way while events are counted: enough that the server never waits for one.
const WRITERS: usize = 4;

/// How far watchers may be behind while events are counted, in puts: they are not to be cut off.
const BEHIND_MAX: u64 = 32;

/// How long all watchers may take for what was put.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// What has reached the watchers.
#[derive(Debug, Default)]
struct Arrived {
    events: Cell<u64>,
    last: Cell<Option<Instant>>,
    news: Notify,
}

impl Arrived {
    async fn wait_for(&self, events: u64) -> Result<()> {
        let all = async {
            while self.events.get() < events {
                self.news.notified().await;
            }
        };
        let waited = timeout(DELIVERY_LIMIT, all).await;
        let arrived = self.events.get();
        ensure!(waited.is_ok(), "{arrived} of {events} events arrived");
        Ok(())
    }
}

/// Watches one key with so many watchers on all endpoints, and puts to it at the leader.
///
/// # Errors
/// If an event does not arrive.
pub async fn fan_out(
    endpoints: &[String],
    engine: Engine,
    watchers: usize,
    shape: Shape,
    watched: &Watched,
) -> Result<Figures> {
    let arrived = Rc::new(Arrived::default());
    let conns = watchers.div_ceil(STREAMS_A_CONNECTION);
    let mut connections = engine::connect(engine, endpoints, conns).await?;
    let mut tasks = JoinSet::new();
    for number in 0..watchers {
        let mut watch = connections[number % conns].watch("watched").await?;
        let arrived = Rc::clone(&arrived);
        tasks.spawn_local(async move {
            // Events that do not come are missed below.
            while let Ok(events) = watch.events().await {
                arrived.events.set(arrived.events.get() + events as u64);
                arrived.last.set(Some(Instant::now()));
                arrived.news.notify_one();
            }
        });
    }
    let leader = leader_of(endpoints).await?;
    let writer = Client::connect(engine, &leader).await?;
    sleep(Duration::from_millis(300)).await;
    let mut figures = delays(&writer, &arrived, watchers as u64, shape).await?;
    figures.extend(throughput(&writer, &arrived, watchers as u64, shape, watched).await?);
    Ok(figures)
}

/// One put at a time.
async fn delays(
    writer: &Client,
    arrived: &Arrived,
    watchers: u64,
    shape: Shape,
) -> Result<Figures> {
    let mut client = writer.clone();
    let value = Bytes::from(work::value(&mut Random::new(1), shape.value_bytes));
    let mut last_us = microseconds();
    let begin = Instant::now();
    let mut puts = 0;
    while puts < 5 || begin.elapsed().as_secs_f64() < shape.seconds {
        let sent = Instant::now();
        let before = arrived.events.get();
        client.put("watched", &value).await?;
        arrived.wait_for(before + watchers).await?;
        puts += 1;
        if let (Some(last), true) = (arrived.last.get(), puts > 2) {
            last_us.saturating_record((last - sent).as_micros() as u64);
        }
    }
    let last = |(figure, value)| (format!("last_{figure}"), value);
    Ok(quantiles_ms(&last_us).into_iter().map(last).collect())
}

/// Puts without end.
async fn throughput(
    writer: &Client,
    arrived: &Rc<Arrived>,
    watchers: u64,
    shape: Shape,
    watched: &Watched,
) -> Result<Figures> {
    let first = arrived.events.get();
    let puts = Rc::new(Cell::new(0u64));
    let before = Spent::so_far(watched)?;
    let begin = Instant::now();
    let until = begin + Duration::from_secs_f64(shape.seconds);
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (mut client, arrived, puts) = (writer.clone(), Rc::clone(arrived), Rc::clone(&puts));
        let value = Bytes::from(work::value(
            &mut Random::new(number as u64),
            shape.value_bytes,
        ));
        writers.spawn_local(async move {
            while Instant::now() < until {
                if puts.get() > (arrived.events.get() - first) / watchers + BEHIND_MAX {
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
                client.put("watched", &value).await?;
                puts.set(puts.get() + 1);
                yield_now().await;
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    arrived.wait_for(first + puts.get() * watchers).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let events = (arrived.events.get() - first) as f64;
    let mut figures = Spent::so_far(watched)?.since(&before, events, seconds);
    figures.insert("watchers".into(), watchers as f64);
    figures.insert("events_per_s".into(), events / seconds);
    figures.insert("puts_per_s".into(), puts.get() as f64 / seconds);
    Ok(figures)
}
