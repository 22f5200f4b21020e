//! A prototype that replicates and syncs but checks nothing: what a put costs at least.
//!
//! Three processes. The leader is a fixed one: there are no terms, elections, recovery, old
//! revisions or limits. But each put comes by gRPC, is sent to both followers, is answered when two
//! of three logs have synced it, and is in a map afterwards.

use crate::cluster::bound;
use crate::machine::{Disk, Watched};
use crate::work;
use anyhow::{Result, bail};
use bytes::Bytes;
use clap::Args;
use etcd_client::Client;
use headwater_etcd_tests::port::Port;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// Bytes of a log, filled with zeros beforehand and written again from its beginning when full.
const LOG_BYTES: u64 = 32 << 20;

/// A header with a revision: all that clients need of a response to a put or a range.
const RESPONSE: &[u8] = &[0, 0, 0, 0, 4, 0x0a, 2, 0x18, 1];

/// One process of the prototype.
#[derive(Debug, Args)]
pub struct BareArgs {
    /// Where it listens: a leader for clients, a follower for its leader.
    #[arg(long)]
    listen: u16,
    /// Its followers' ports; none makes it a follower.
    #[arg(long, value_delimiter = ',')]
    followers: Vec<u16>,
    /// Its log.
    #[arg(long)]
    log: PathBuf,
}

/// What a process keeps.
struct Store {
    log: File,
    at: u64,
    map: BTreeMap<Bytes, Bytes>,
}

impl Store {
    fn new(path: &Path) -> Result<Store> {
        let log = File::create(path)?;
        log.write_all_at(&vec![0; LOG_BYTES as usize], 0)?;
        log.sync_all()?;
        let map = BTreeMap::new();
        Ok(Store { log, at: 0, map })
    }

    /// Makes a batch durable.
    fn write(&mut self, batch: &[u8]) -> Result<()> {
        if self.at + batch.len() as u64 > LOG_BYTES {
            self.at = 0;
        }
        self.log.write_all_at(batch, self.at)?;
        self.at += batch.len() as u64;
        Ok(rustix::fs::fdatasync(&self.log)?)
    }

    /// Puts a batch's keys into the map; gives their number.
    fn apply(&mut self, batch: &Bytes) -> u64 {
        let (mut at, mut count) = (0, 0);
        while at < batch.len() {
            let size = u32_at(batch, at);
            let put = batch.slice(at + 4..at + 4 + size);
            let (key, after) = field(&put, 0);
            self.map.insert(key, field(&put, after).0);
            at += 4 + size;
            count += 1;
        }
        count
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let four = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(four) as usize
}

/// A protobuf field of bytes, and where it ends; one that is empty is left out of messages.
fn field(message: &Bytes, at: usize) -> (Bytes, usize) {
    if at == message.len() {
        return (Bytes::new(), at);
    }
    let (mut size, mut shift, mut from) = (0usize, 0, at + 1);
    loop {
        let byte = message[from];
        size |= usize::from(byte & 0x7f) << shift;
        (from, shift) = (from + 1, shift + 7);
        if byte < 0x80 {
            return (message.slice(from..from + size), from + size);
        }
    }
}

/// Runs a process until it is killed.
///
/// # Errors
/// If the machine refuses it something.
pub async fn run(args: BareArgs) -> Result<()> {
    let store = Store::new(&args.log)?;
    match args.followers.as_slice() {
        [] => follow(&args, store),
        _ => lead(&args, store).await,
    }
}

/// Takes batches, and answers each with its number of entries when they are durable.
fn follow(args: &BareArgs, mut store: Store) -> Result<()> {
    let (mut leader, _) = TcpListener::bind(("127.0.0.1", args.listen))?.accept()?;
    leader.set_nodelay(true)?;
    loop {
        let mut size = [0; 4];
        leader.read_exact(&mut size)?;
        let mut batch = vec![0; u32::from_be_bytes(size) as usize];
        leader.read_exact(&mut batch)?;
        store.write(&batch)?;
        leader.write_all(&[1])?;
        store.apply(&Bytes::from(batch));
    }
}

/// Entries that wait for one of the logs, each behind its length.
type Queue = Rc<RefCell<Vec<u8>>>;

/// What a log said: which one it is, and how many entries it has synced in all.
type Synced = (usize, u64);

async fn lead(args: &BareArgs, store: Store) -> Result<()> {
    let (synced, mut synced_out) = mpsc::unbounded_channel();
    let mut logs = vec![own_log(store, synced.clone())];
    for (number, &port) in args.followers.iter().enumerate() {
        logs.push(remote_log(port, number + 1, synced.clone())?);
    }
    let queues: Rc<Vec<Queue>> = Rc::new(logs.iter().map(|_| Queue::default()).collect());
    let waiting = Rc::new(RefCell::new(VecDeque::<oneshot::Sender<()>>::new()));
    let (puts, mut puts_out) = mpsc::unbounded_channel::<Put>();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.listen)).await?;
    spawn_local(accept(listener, puts));
    let (mut counts, mut busy, mut answered) = (vec![0u64; logs.len()], vec![false; logs.len()], 0);
    loop {
        tokio::select! {
            put = puts_out.recv() => {
                let mut next = put;
                // All that has arrived goes together.
                while let Some((entry, answer)) = next {
                    for queue in queues.iter() {
                        let mut queue = queue.borrow_mut();
                        queue.extend_from_slice(&(entry.len() as u32).to_be_bytes());
                        queue.extend_from_slice(&entry);
                    }
                    waiting.borrow_mut().push_back(answer);
                    next = puts_out.try_recv().ok();
                }
            }
            Some((log, count)) = synced_out.recv() => {
                counts[log] += count;
                busy[log] = false;
            }
        }
        for (log, sender) in logs.iter().enumerate() {
            if !busy[log] && !queues[log].borrow().is_empty() {
                sender.send(Bytes::from(queues[log].take()))?;
                busy[log] = true;
            }
        }
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        for _ in answered..sorted[sorted.len() / 2] {
            if let Some(answer) = waiting.borrow_mut().pop_front() {
                // A client may have left meanwhile.
                let _ = answer.send(());
            }
        }
        answered = sorted[sorted.len() / 2];
    }
}

/// The leader's own log, on a thread that may wait.
fn own_log(mut store: Store, synced: mpsc::UnboundedSender<Synced>) -> Sender<Bytes> {
    let (batches, batches_out): (Sender<Bytes>, Receiver<Bytes>) = channel();
    std::thread::spawn(move || -> Result<()> {
        for batch in batches_out {
            store.write(&batch)?;
            let count = store.apply(&batch);
            synced.send((0, count))?;
        }
        Ok(())
    });
    batches
}

/// A follower's log, behind its socket, on a thread that may wait.
fn remote_log(
    port: u16,
    number: usize,
    synced: mpsc::UnboundedSender<Synced>,
) -> Result<Sender<Bytes>> {
    let mut stream = patiently(port)?;
    stream.set_nodelay(true)?;
    let (batches, batches_out): (Sender<Bytes>, Receiver<Bytes>) = channel();
    std::thread::spawn(move || -> Result<()> {
        for batch in batches_out {
            let mut frame = (batch.len() as u32).to_be_bytes().to_vec();
            frame.extend_from_slice(&batch);
            stream.write_all(&frame)?;
            stream.read_exact(&mut [0])?;
            let (mut at, mut count) = (0, 0);
            while at < batch.len() {
                at += 4 + u32_at(&batch, at);
                count += 1;
            }
            synced.send((number, count))?;
        }
        Ok(())
    });
    Ok(batches)
}

/// Connects to a process that has just been started.
fn patiently(port: u16) -> Result<TcpStream> {
    for _ in 0..200 {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            return Ok(stream);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nobody listens on {port}")
}

/// A put, and who waits for it.
type Put = (Bytes, oneshot::Sender<()>);

async fn accept(listener: tokio::net::TcpListener, puts: mpsc::UnboundedSender<Put>) {
    while let Ok((socket, _)) = listener.accept().await {
        let puts = puts.clone();
        spawn_local(async move {
            socket.set_nodelay(true)?;
            let mut connection = h2::server::handshake(socket).await?;
            while let Some(request) = connection.accept().await {
                let (request, respond) = request?;
                spawn_local(answer(request, respond, puts.clone()));
            }
            anyhow::Ok(())
        });
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    puts: mpsc::UnboundedSender<Put>,
) -> Result<()> {
    let is_put = request.uri().path().ends_with("/Put");
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        message.extend_from_slice(&part);
    }
    if is_put {
        let (answer, answered) = oneshot::channel();
        // gRPC's own head has five bytes.
        puts.send((Bytes::from(message).slice(5..), answer))?;
        answered.await?;
    }
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(head.body(())?, false)?;
    stream.send_data(Bytes::from_static(RESPONSE), false)?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    Ok(stream.send_trailers(trailers)?)
}

/// The prototype's processes; they end with this.
#[derive(Debug)]
pub struct Bare {
    /// Where clients reach it.
    pub url: String,
    processes: Vec<Child>,
    folder: PathBuf,
    _ports: [Port; 3],
}

/// Starts the prototype, with its logs in a folder of its own.
///
/// # Errors
/// If a process cannot be started.
pub fn start(dir: &Path) -> Result<Bare> {
    let ports = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
    let numbers: Vec<u16> = ports.iter().map(|port| port.number).collect();
    let folder = dir.join(format!("bare-{}", numbers[0]));
    std::fs::create_dir_all(&folder)?;
    let mut bare = Bare {
        url: format!("http://127.0.0.1:{}", numbers[0]),
        processes: Vec::new(),
        folder,
        _ports: ports,
    };
    for number in [1, 2, 0] {
        let mut command = bound(&std::env::current_exe()?);
        command
            .arg("bare")
            .arg(format!("--listen={}", numbers[number]));
        command
            .arg("--log")
            .arg(bare.folder.join(number.to_string()));
        if number == 0 {
            command.arg(format!("--followers={},{}", numbers[1], numbers[2]));
        }
        bare.processes.push(command.stdin(Stdio::null()).spawn()?);
    }
    Ok(bare)
}

impl Bare {
    /// Waits until it serves.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn serves(&self) -> Result<()> {
        for _ in 0..200 {
            let mut client = Client::connect([&self.url], None).await?;
            if client.put(work::key(0), "", None).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the prototype does not serve")
    }

    /// Its processes, as measurements look at them.
    pub fn watched(&self, disk: &Disk) -> Watched {
        Watched {
            pids: self.processes.iter().map(Child::id).collect(),
            ports: Vec::new(),
            disk: Some(disk.clone()),
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill().and_then(|()| process.wait());
        }
        // Nothing depends on the folder being gone.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
