//! What a put by one client takes beside what it cannot do without: one sync of the log, the way to
//! a follower and back, and one gRPC call.

use crate::cluster::leader_url;
use crate::engine::{Client, Engine};
use crate::figures::{Figures, microseconds, quantiles_ms};
use crate::work::{Shape, Work, Worker};
use crate::{bare, load};
use anyhow::Result;
use headwater_etcd_tests::cluster::Cluster;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How often they take turns, so that a slow minute hits all of them.
const TURNS: usize = 4;

/// Bytes of a synced write: what a small put comes to in a log.
const SYNCED_BYTES: usize = 512;

/// Bytes of the file that is synced, filled with zeros beforehand as our log's are.
const LOG_BYTES: u64 = 4 << 20;

/// Measures all of them in turn.
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
    let prototype = Client::connect(Engine::EtcdClient, &bare.url).await?;
    let mut bare_putter = Worker::new(prototype, 0, Work::Put, shape).await?;
    let mut log = Log::create(dir.join("floor.log"))?;
    let mut three = Three::start(dir)?;
    let mut echo = echo()?;
    let mut times = Deed::ALL.map(|_| microseconds());
    let part = Duration::from_secs_f64(shape.seconds / TURNS as f64 / 2.0);
    for _ in 0..TURNS {
        for (deed, times) in Deed::ALL.iter().zip(&mut times) {
            let until = Instant::now() + part;
            while Instant::now() < until {
                let begin = Instant::now();
                match deed {
                    Deed::Sync => log.sync()?,
                    Deed::SyncOfThree => three.sync()?,
                    Deed::Hops => {
                        echo.write_all(&[1])?;
                        echo.read_exact(&mut [0])?;
                    }
                    Deed::Call => {
                        null.get("", None).await?;
                    }
                    Deed::Bare => bare_putter.once().await?,
                    Deed::Put => putter.once().await?,
                }
                times.saturating_record(begin.elapsed().as_micros() as u64);
                if matches!(deed, Deed::SyncOfThree) {
                    three.settle()?;
                }
            }
        }
    }
    let [sync, of_three, hops, call, bare_put, put] = times.map(|of| quantiles_ms(&of)["p50_ms"]);
    Ok(Figures::from([
        ("sync_p50_ms".into(), sync),
        ("sync_of_three_p50_ms".into(), of_three),
        ("hops_p50_ms".into(), hops),
        ("grpc_p50_ms".into(), call),
        ("bare_p50_ms".into(), bare_put),
        ("put_p50_ms".into(), put),
        ("put_to_floor".into(), put / (sync + hops + call)),
        ("put_to_shared_floor".into(), put / (of_three + hops + call)),
        ("put_to_bare".into(), put / bare_put),
    ]))
}

/// What is measured, in turn.
enum Deed {
    /// One sync of a log.
    Sync,
    /// The second of three that begin together: three members share the disk here.
    SyncOfThree,
    /// A byte over loopback and back.
    Hops,
    /// A gRPC call that does nothing.
    Call,
    /// A put to the prototype.
    Bare,
    /// A put to the cluster.
    Put,
}

impl Deed {
    const ALL: [Deed; 6] = [
        Deed::Sync,
        Deed::SyncOfThree,
        Deed::Hops,
        Deed::Call,
        Deed::Bare,
        Deed::Put,
    ];
}

/// A file that is written and synced as a log is; it goes with this.
struct Log {
    path: PathBuf,
    file: File,
    at: u64,
}

impl Log {
    fn create(path: PathBuf) -> Result<Log> {
        let file = File::create(&path)?;
        file.write_all_at(&vec![0; LOG_BYTES as usize], 0)?;
        file.sync_all()?;
        Ok(Log { path, file, at: 0 })
    }

    fn sync(&mut self) -> Result<()> {
        self.at = (self.at + SYNCED_BYTES as u64) % LOG_BYTES;
        self.file.write_all_at(&[1; SYNCED_BYTES], self.at)?;
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Three logs, a thread each, that are synced together.
struct Three {
    begin: [Sender<()>; 3],
    done: Receiver<Result<()>>,
}

impl Three {
    fn start(dir: &Path) -> Result<Three> {
        let (to, done) = channel();
        let mut begin = Vec::new();
        for number in 0..3 {
            let mut log = Log::create(dir.join(format!("floor.{number}.log")))?;
            let (orders, ordered) = channel::<()>();
            let to = to.clone();
            // It ends with the orders.
            std::thread::spawn(move || {
                ordered
                    .iter()
                    .take_while(|()| to.send(log.sync()).is_ok())
                    .for_each(drop);
            });
            begin.push(orders);
        }
        let begin = begin.try_into().expect("three were made");
        Ok(Three { begin, done })
    }

    /// Until two have synced.
    fn sync(&mut self) -> Result<()> {
        for begin in &self.begin {
            begin.send(())?;
        }
        self.done.recv()??;
        self.done.recv()?
    }

    /// Until the last has, too.
    fn settle(&mut self) -> Result<()> {
        self.done.recv()?
    }
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
