//! `check datascale`: how much memory a server takes for so many keys.
//! Never judges it: whether it is too much depends on the machine.
//!
//! # Source
//! etcdctl's command of this name.

use std::time::Duration;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use clap::Args;

use crate::check::{Afterwards, Load, Seen, by_clients, clean, put, refuse_others_keys};
use crate::failure::{Failure, Result};
use crate::page;
use crate::progress::{Progress, Unit};
use crate::session::Session;
use crate::text::say;

/// Bytes of a key, behind the prefix.
const KEY: usize = 512;
/// Bytes of a value.
const VALUE: usize = 512;
/// How old the memory that a server tells of may be.
const LOOKED_UP_WITHIN: Duration = Duration::from_millis(1100);

/// What servers call the memory that they take.
const MEMORY: &str = "process_resident_memory_bytes";

/// Flags of `check datascale`.
#[derive(Args, Debug)]
pub struct DatascaleArgs {
    /// s: 10 000 keys, m: 100 000, l: 1 000 000, xl: 3 000 000; 1 KiB each
    #[arg(
        long,
        value_name = "S|M|L|XL",
        default_value = "s",
        ignore_case = true,
        hide_possible_values = true
    )]
    load: Load,
    /// So many keys, rather than the load's
    #[arg(long, value_name = "COUNT")]
    keys: Option<u64>,
    /// What the keys begin with; they are deleted at the end
    #[arg(long, value_name = "TEXT", default_value = "/etcdctl-check-datascale/")]
    prefix: String,
    /// At the end.
    #[command(flatten)]
    afterwards: Afterwards,
}

fn keys(load: Load) -> u64 {
    match load {
        Load::S => 10_000,
        Load::M => 100_000,
        Load::L => 1_000_000,
        Load::Xl => 3_000_000,
    }
}

/// Writes keys, and tells how much more memory the first member that was named takes with them.
///
/// # Errors
/// They are not all written, or it does not tell.
pub async fn run(session: &Session, args: DatascaleArgs) -> Result<()> {
    refuse_others_keys(session, &args.prefix).await?;
    let before = memory(session, "before").await?;
    let clients = args.load.clients();
    let keys = args.keys.unwrap_or_else(|| keys(args.load));
    let words = format!(
        "Start data scale check for work load [{keys} key-value pairs, {} bytes per key-value, {clients} \
         concurrent clients].\n",
        KEY + VALUE
    );
    say(words.as_bytes())?;
    let seen = write(session, &args.prefix, keys, clients).await;
    // A server may look that up once a second at most.
    tokio::time::sleep(LOOKED_UP_WITHIN).await;
    let after = memory(session, "after").await;
    let cleaned = clean(session, &args.prefix, args.afterwards).await;
    judge(&seen?, before, after?)?;
    cleaned
}

/// Each client writes the next key that nobody has written.
async fn write(session: &Session, prefix: &str, keys: u64, clients: u32) -> Result<Seen> {
    let value = Bytes::from(vec![b'x'; VALUE]);
    let next = Rc::new(Cell::new(0));
    let bar = Progress::on_terminal("writing", Unit::Of("keys"), keys);
    let bar = Rc::new(RefCell::new(bar));
    let seen = by_clients(session, clients, |_, session, seen| {
        let (prefix, value) = (prefix.to_owned(), value.clone());
        let (next, bar) = (Rc::clone(&next), Rc::clone(&bar));
        async move {
            while next.get() < keys {
                let number = next.replace(next.get() + 1);
                put(&session, &seen, format!("{prefix}{number:0KEY$}"), &value).await;
                bar.borrow_mut().add(1);
            }
        }
    });
    let seen = seen.await;
    // All clients are done with it.
    if let Some(bar) = Rc::into_inner(bar) {
        bar.into_inner().end();
    }
    seen
}

/// Bytes of memory that the first member takes.
async fn memory(session: &Session, when: &str) -> Result<f64> {
    let untold = || format!("FAIL: Could not read {MEMORY} {when} the put operations.");
    let page = page::of(session, &session.places()[0], "/metrics");
    let page = page.await.map_err(|failure| failure.within(&untold()))?;
    gauge(&page, MEMORY).ok_or_else(|| Failure::error(untold()))
}

/// The value of a metric that has no labels.
fn gauge(page: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(value)
}

fn judge(seen: &Seen, before: f64, after: f64) -> Result<()> {
    if let Some(why) = &seen.why {
        let words = format!(
            "FAIL: too many errors\nFAIL: ERROR({why}) -> {}\n",
            seen.failed
        );
        say(words.as_bytes())?;
        return Err(Failure::error("not all keys were written"));
    }
    let mb = (after - before) / f64::from(1 << 20);
    say(format!("PASS: Approximate system memory used : {mb:.2} MB.\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# TYPE a gauge\na_b 1\na{x=\"1\"} 2\na 3.5e+07\n";
        assert_eq!(gauge(page, "a"), Some(35e6));
        assert_eq!(gauge(page, "b"), None);
    }

    #[test]
    fn a_key_that_was_not_written_fails_the_check() {
        assert!(judge(&Seen::default(), 1.0, 2.0).is_ok());
        let mut seen = Seen::default();
        seen.fail(Failure::error("no"));
        assert!(judge(&seen, 1.0, 2.0).is_err());
    }
}
