//! `watch`: what happens to keys, as it happens, and a command for each event.
//! Never knows of connections; `follow` does.
//!
//! # Source
//! etcdctl's command of this name; the etcd v3 API, service `Watch`.

use std::io::BufRead;
use std::rc::Rc;

use bytes::Bytes;
use clap::Args;
use headwater_api::etcdserverpb as api;
use headwater_api::mvccpb::Event;
use headwater_api::mvccpb::event::EventType;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::LocalSet;

use crate::failure::{Failure, Result};
use crate::flags::variable;
use crate::follow::Watch;
use crate::json::Json;
use crate::keys;
use crate::session::Session;
use crate::text::{
    Answer, Style, Text, field, header_fields, key_fields, key_lines, line, quote, say,
};
use crate::txn;

/// Flags of `watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// A key, or the first key and the first one no more [variables: ETCDCTL_WATCH_KEY, ETCDCTL_WATCH_RANGE_END]
    #[arg(value_name = "KEY [RANGE_END]")]
    args: Vec<String>,
    /// Read lines `watch KEY ...` and `progress` from the standard input
    #[arg(short, long)]
    interactive: bool,
    /// All keys that begin so
    #[arg(long)]
    prefix: bool,
    /// From this revision on, rather than from now on
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    rev: i64,
    /// Print the keys as they were before, too
    #[arg(long)]
    prev_kv: bool,
    /// Be told from time to time which revision is reached while nothing happens
    #[arg(long)]
    progress_notify: bool,
    /// What to run for each event; it finds ETCD_WATCH_REVISION, _EVENT_TYPE, _KEY and _VALUE
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl WatchArgs {
    fn request(&self) -> Result<api::WatchCreateRequest> {
        let mut args = self.args.clone();
        if args.is_empty() {
            args.extend(variable("WATCH_KEY"));
            args.extend(variable("WATCH_RANGE_END").filter(|_| !args.is_empty()));
        }
        if args.is_empty() || args.len() > 2 {
            return Err(Failure::arguments("bad number of arguments"));
        }
        let too_many = "`range_end` and `--prefix` are mutually exclusive";
        let (key, range_end) = keys::range(&args, self.prefix, false, too_many)?;
        // No key is empty: this is the first that can be.
        let key = if key.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            key
        };
        Ok(api::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.rev,
            progress_notify: self.progress_notify,
            prev_kv: self.prev_kv,
            ..Default::default()
        })
    }
}

/// Watches until it is ended.
///
/// # Errors
/// It makes no sense, cannot begin, or the server has ended it.
pub async fn run(session: &Session, style: Style, args: WatchArgs) -> Result<()> {
    if args.interactive {
        return LocalSet::new().run_until(interactive(session, style)).await;
    }
    let request = args.request()?;
    let compacted = follow(session, style, request, &args.command, &Notify::new()).await?;
    let failure = Failure::interrupted("watch is canceled by the server");
    Err(match compacted {
        0 => failure,
        first => failure.hint(&format!(
            "what was before revision {first} is forgotten: --rev={first} shows all that is left"
        )),
    })
}

/// Prints what happens until the server ends the watch; gives the revision up to which the past is
/// forgotten if it was because of that, else 0.
async fn follow(
    session: &Session,
    style: Style,
    request: api::WatchCreateRequest,
    command: &[String],
    progress: &Notify,
) -> Result<i64> {
    let mut watch = Watch::new(session, request);
    loop {
        let answer = tokio::select! {
            answer = watch.next() => answer?,
            () = progress.notified() => {
                watch.ask_for_progress().await;
                continue;
            }
        };
        if answer.canceled {
            eprintln!("watch was canceled ({})", reason(&answer));
        } else if answer.events.is_empty() {
            let reached = answer.header.as_ref().map_or(0, |header| header.revision);
            say(format!("progress notify: {reached}\n").as_bytes())?;
        }
        style.print(&answer)?;
        if answer.canceled {
            return Ok(answer.compact_revision);
        }
        if let Some((program, arguments)) = command.split_first() {
            for event in &answer.events {
                execute(program, arguments, &answer, event).await?;
            }
        }
    }
}

fn reason(answer: &api::WatchResponse) -> &str {
    match answer.cancel_reason.as_str() {
        _ if answer.compact_revision != 0 => {
            "etcdserver: mvcc: required revision has been compacted"
        }
        "" => "etcdserver: mvcc: required revision is a future revision",
        reason => reason,
    }
}

async fn execute(
    program: &str,
    arguments: &[String],
    answer: &api::WatchResponse,
    event: &Event,
) -> Result<()> {
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    let key = event.kv.clone().unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote(kind(event).as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&key.key))
        .env("ETCD_WATCH_VALUE", quote(&key.value));
    let why = match command.status().await {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let said: Vec<&str> = [program]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    Err(Failure::error(format!(
        "command {:?} error ({why})",
        said.join(" ")
    )))
}

/// Watches that lines of the standard input ask for, all at once.
async fn interactive(session: &Session, style: Style) -> Result<()> {
    let mut lines = input();
    let progress = Rc::new(Notify::new());
    let mut is_first = true;
    while let Some(line) = lines.recv().await {
        let words = txn::words(&line).unwrap_or_default();
        match words.split_first() {
            Some((name, rest)) if name == "watch" => {
                let args = txn::parsed::<WatchArgs>(rest);
                let request = args.and_then(|args| match args.request() {
                    Ok(request) => Ok((request, args.command)),
                    Err(failure) => Err(failure.to_string()),
                });
                let (request, command) = match request {
                    Ok(request) => request,
                    Err(why) => {
                        eprintln!("Invalid command {line} ({why})");
                        continue;
                    }
                };
                // Each has a connection of its own; the first tells of progress.
                let session = session.only(session.places().to_vec())?;
                let told = if is_first {
                    Rc::clone(&progress)
                } else {
                    Rc::default()
                };
                is_first = false;
                tokio::task::spawn_local(async move {
                    let end = follow(&session, style, request, &command, &told).await;
                    if let Err(failure) = end {
                        eprintln!("Error: {failure}");
                    }
                });
            }
            Some((name, [])) if name == "progress" => progress.notify_one(),
            _ => eprintln!("Invalid command {line} (only support watch)"),
        }
    }
    Err(Failure::input("Error reading watch request line: EOF"))
}

/// Lines that are read ahead, at most: those that came together are understood before the watches that they
/// ask for have anything to tell.
const LINES_MAX: usize = 64;

/// The lines of the standard input. They are read by a thread, which a process that ends leaves behind.
fn input() -> Receiver<String> {
    let (sender, lines) = channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn kind(event: &Event) -> &'static str {
    match event.r#type() {
        EventType::Put => "PUT",
        EventType::Delete => "DELETE",
    }
}

impl Answer for api::WatchResponse {
    const NAME: &'static str = "etcdserverpb.WatchResponse";

    fn simple(&self, text: &mut Text, style: Style) {
        for event in &self.events {
            line(text, kind(event));
            if let Some(before) = &event.prev_kv {
                key_lines(text, style, before);
            }
            if let Some(key) = &event.kv {
                key_lines(text, style, key);
            }
        }
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        for event in &self.events {
            field(text, "Type", kind(event));
            if let Some(before) = &event.prev_kv {
                key_fields(text, "Prev", before);
            }
            if let Some(key) = &event.kv {
                key_fields(text, "", key);
            }
        }
        Ok(())
    }

    fn json(&self, _style: Style) -> Json {
        let header = self.header.unwrap_or_default();
        let events = self.events.iter();
        let events = events.map(|event| Json::of("mvccpb.Event", event));
        Json::object([
            ("Header", Json::of("etcdserverpb.ResponseHeader", &header)),
            ("Events", Json::List(events.collect())),
            ("CompactRevision", Json::number(self.compact_revision)),
            ("Canceled", Json::Bool(self.canceled)),
            ("Created", Json::Bool(false)),
        ])
    }
}
