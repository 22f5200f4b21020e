//! What a put by one client takes beside what it cannot do without: one sync of the log, the way to
//! a follower and back, and one gRPC call.

use crate::cluster::leader_url;
use crate::engine::{Client, Engine};
use crate::figures::{Figures, microseconds, quantiles_ms};
use crate::work::{Shape, Work, Worker};
use crate::{bare, load};
use anyhow::Result;
use hdrhistogram::Histogram;
use headwater_etcd_tests::cluster::Cluster;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the four take turns, so that a slow minute hits all of them.
const TURNS: usize = 4;

/// Bytes of a synced write: what a small put comes to in a log.
const SYNCED_BYTES: usize = 512;

/// Bytes of the file that is synced, filled with zeros beforehand as our log's are.
const LOG_BYTES: u64 = 4 << 20;

/// Measures all four in turn.
///
/// # Errors
/// If one of them fails.
pub async fn measure(cluster: &Cluster, dir: &Path, shape: Shape) -> Result<Figures> {
    let bare = bare::start(dir)?;
    bare.serves().await?;
    let mut null = load::connect(std::slice::from_ref(&bare.url), 1)
        .await?
        .remove(0);
    let leader = Client::connect(Engine::EtcdClient, &leader_url(cluster).await?).await?;
    let mut putter = Worker::new(leader, 0, Work::Put, shape).await?;
    let path = dir.join("floor.log");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; LOG_BYTES as usize], 0)?;
    file.sync_all()?;
    let mut echo = echo()?;
    let [mut syncs, mut hops, mut calls, mut puts] = std::array::from_fn(|_| microseconds());
    let mut at = 0;
    let part = Duration::from_secs_f64(shape.seconds / TURNS as f64 / 2.0);
    for _ in 0..TURNS {
        let until = Instant::now() + part;
        while Instant::now() < until {
            at = (at + SYNCED_BYTES as u64) % LOG_BYTES;
            let begin = Instant::now();
            file.write_all_at(&[1; SYNCED_BYTES], at)?;
            rustix::fs::fdatasync(&file)?;
            record(&mut syncs, begin);
        }
        let until = Instant::now() + part;
        while Instant::now() < until {
            let begin = Instant::now();
            echo.write_all(&[1])?;
            echo.read_exact(&mut [0])?;
            record(&mut hops, begin);
        }
        let until = Instant::now() + part;
        while Instant::now() < until {
            let begin = Instant::now();
            null.get("", None).await?;
            record(&mut calls, begin);
        }
        let until = Instant::now() + part;
        while Instant::now() < until {
            let begin = Instant::now();
            putter.once().await?;
            record(&mut puts, begin);
        }
    }
    std::fs::remove_file(&path)?;
    let p50 = |times: &Histogram<u64>| quantiles_ms(times)["p50_ms"];
    let floor = p50(&syncs) + p50(&hops) + p50(&calls);
    Ok(Figures::from([
        ("sync_p50_ms".into(), p50(&syncs)),
        ("hops_p50_ms".into(), p50(&hops)),
        ("grpc_p50_ms".into(), p50(&calls)),
        ("put_p50_ms".into(), p50(&puts)),
        ("put_to_floor".into(), p50(&puts) / floor),
    ]))
}

fn record(times: &mut Histogram<u64>, begin: Instant) {
    times.saturating_record(begin.elapsed().as_micros() as u64);
}

/// The other end of a connection sends back each byte.
fn echo() -> Result<TcpStream> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nodelay(true)?;
    let (mut other, _) = listener.accept()?;
    other.set_nodelay(true)?;
    std::thread::spawn(move || {
        let mut byte = [0];
        // It ends with the connection.
        while other.read_exact(&mut byte).is_ok() && other.write_all(&byte).is_ok() {}
    });
    Ok(stream)
}
