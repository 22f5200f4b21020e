//! The flight recorder: what the core was asked, what it wanted, and what leaves for other nodes, a
//! JSON object a line, in the file before anyone can see any of it. So a record lacks nothing that
//! others know, however the process ends.
//! Never keeps a turn waiting for longer than half an election timeout, and only once: a record with a
//! hole is none, so one that cannot keep up ends there, and says so.
//!
//! # Source
//! docs/trace.md, "Records of real nodes"; write-ahead logging.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headwater_raft::NodeId;
use headwater_replica::calls::Taken;
use headwater_replica::replica::Replica;
use headwater_replica::telling::calls::{self, Start};
use headwater_replica::telling::{self, Object};
use headwater_replica::{StateMachine, header_of};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::handle::NodeConfig;

/// What the last line of a record that has ended holds.
const STOPPED: &str = "\"kind\":\"stopped\"";

/// More than the last line of a record that has ended.
const STOPPED_BYTES: u64 = 512;

/// Where a node's record goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlightRecorder {
    /// The file, which each life of the node continues.
    pub file: PathBuf,
    /// Where the record ends: the file gets no larger.
    pub bytes_max: u64,
}

/// A file that a record goes to.
#[derive(Debug)]
pub(crate) struct Tape {
    file: File,
    /// Whether the life before could not finish its last line.
    is_torn: bool,
    bytes_left: u64,
}

impl Tape {
    /// Opens the file of a record, or makes it; none if that record has ended.
    ///
    /// # Errors
    /// There can be no such file.
    pub(crate) fn open(wanted: &FlightRecorder) -> io::Result<Option<Self>> {
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&wanted.file)?;
        let bytes = file.metadata()?.len();
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(bytes.saturating_sub(STOPPED_BYTES)))?;
        (&file).take(STOPPED_BYTES).read_to_end(&mut end)?;
        let last_line = end.trim_ascii_end().rsplit(|&byte| byte == b'\n').next();
        let last_line = String::from_utf8_lossy(last_line.unwrap_or_default());
        if bytes >= wanted.bytes_max || last_line.contains(STOPPED) {
            return Ok(None);
        }
        Ok(Some(Self {
            file,
            is_torn: end.last().is_some_and(|&byte| byte != b'\n'),
            bytes_left: wanted.bytes_max - bytes,
        }))
    }
}

/// A turn's lines, and who waits for them to be written; or the last line.
enum Order {
    Write(String, oneshot::Sender<io::Result<()>>),
    End(String),
}

/// The loop's side of a record.
#[derive(Debug)]
pub(crate) struct Recorder {
    node: NodeId,
    /// The lines of the turn at hand.
    lines: String,
    sendings: u64,
    bytes_left: u64,
    patience: Duration,
    writer: Sender<Order>,
}

impl Recorder {
    /// Begins the record of a life.
    ///
    /// # Errors
    /// The operating system gave no thread.
    pub(crate) fn start<M: StateMachine>(
        tape: Tape,
        config: &NodeConfig,
        start: &Start,
        replica: &mut Replica<M>,
    ) -> io::Result<Self> {
        replica.keep_calls(true);
        let raft = replica.raft();
        let (writer, orders) = channel();
        let mut file = tape.file;
        std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || write_all(&mut file, &orders))?;
        let mut recorder = Self {
            node: raft.me(),
            lines: if tape.is_torn { "\n" } else { "" }.to_owned(),
            sendings: 0,
            bytes_left: tape.bytes_left,
            // A leader whose loop stands still for so long is not deposed.
            patience: config.election / 2,
            writer,
        };
        let cluster = format!("{:x}", config.cluster);
        recorder.line("start", |line| {
            calls::start(line.text("cluster", &cluster), start, raft)
        });
        Ok(recorder)
    }

    fn line(&mut self, kind: &str, fill: impl FnOnce(Object) -> Object) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let t = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let line = Object::new().number("t", t).number("node", self.node.0);
        self.lines.push_str(&fill(line.text("kind", kind)).end());
        self.lines.push('\n');
    }

    fn calls(&mut self, all: &[Taken]) {
        for taken in all.iter().filter(|taken| calls::is_worth_a_line(taken)) {
            self.line("core", |line| calls::taken(line, taken, None));
        }
    }

    /// The node has taken this in, and asked its core for so much.
    pub(crate) fn step(&mut self, input: Object, all: &[Taken]) {
        self.calls(all);
        self.line("step", |line| line.object("input", input));
    }

    /// A turn ends with these calls, and these frames leave for peers: connected ones, or not.
    pub(crate) fn turn<'a>(
        &mut self,
        all: &[Taken],
        frames: impl Iterator<Item = (NodeId, bool, &'a Bytes)>,
    ) {
        let is_empty = self.lines.is_empty();
        self.calls(all);
        // Most turns of an idle node come from its timers, and tell nothing.
        if is_empty && self.lines.is_empty() {
            return;
        }
        self.line("turn", |line| line);
        for (to, is_linked, frame) in frames {
            let Some(message) = header_of(frame) else {
                continue;
            };
            self.sendings += u64::from(is_linked);
            let sending = is_linked.then_some(self.sendings);
            self.line("send", |line| {
                let line = line.number("to", to.0).maybe("sending", sending);
                line.object("message", telling::message(&message))
            });
        }
    }

    /// Returns when all that was told is in the file, or with the reason why the record has ended.
    async fn written(&mut self) -> Result<(), String> {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return Ok(());
        }
        let bytes = lines.len() as u64;
        if bytes + STOPPED_BYTES > self.bytes_left {
            return Err(self.end("its file is as large as it may be"));
        }
        self.bytes_left -= bytes;
        let (done, mut written) = oneshot::channel();
        // A thread that is gone has said why when it failed.
        let _ = self.writer.send(Order::Write(lines, done));
        // In two halves: a process that was stopped for a while finds one of them gone.
        for _ in 0..2 {
            if let Ok(written) = timeout(self.patience / 2, &mut written).await {
                let why = match written {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "its thread is gone".into(),
                };
                return Err(self.end(&why));
            }
        }
        Err(self.end("the disk does not keep up"))
    }

    /// The last line, and what it says.
    fn end(&mut self, why: &str) -> String {
        self.lines.clear();
        self.line("stopped", |line| line.text("why", why));
        let _ = self
            .writer
            .send(Order::End(std::mem::take(&mut self.lines)));
        why.to_owned()
    }
}

/// Returns when all that was told is in the file. When a record ends, no more calls are kept for it.
pub(crate) async fn written<M: StateMachine>(
    recorder: &mut Option<Recorder>,
    replica: &mut Replica<M>,
) {
    let Some(keeper) = recorder else {
        return;
    };
    if let Err(why) = keeper.written().await {
        tracing::warn!(why, "the flight recorder has stopped");
        replica.keep_calls(false);
        *recorder = None;
    }
}

/// The thread's side: it may wait. A turn is written at once, so that a kill cuts off its end at most.
fn write_all(file: &mut File, orders: &Receiver<Order>) {
    let mut is_whole = true;
    while let Ok(order) = orders.recv() {
        match order {
            Order::Write(lines, done) => {
                let written = file.write_all(lines.as_bytes());
                is_whole = written.is_ok();
                // Whoever does not wait any more ends the record with the next order.
                let _ = done.send(written);
            }
            Order::End(line) => {
                let begin = if is_whole { "" } else { "\n" };
                // Where not even this can be written, the record ends in the middle of a turn.
                let _ = file.write_all(format!("{begin}{line}").as_bytes());
            }
        }
    }
}
