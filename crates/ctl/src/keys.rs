//! `put`, `get`, `del` and `compaction`.
//! Never judges a key; the server does.
//!
//! # Source
//! etcdctl's commands of these names; the etcd v3 API, service `KV`.

use std::io::Read;

use bytes::Bytes;
use clap::Args;
use headwater_api::etcdserverpb as api;
use headwater_api::etcdserverpb::range_request::{SortOrder, SortTarget};

use crate::failure::{Failure, Result};
use crate::quantity;
use crate::session::{Repeat, Session, kv};
use crate::text::{
    Answer, Format, Style, Text, field, header_fields, key_fields, key_lines, line, say, shown,
};

/// Flags of `put`.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The key and its value; a value that is not there is read from the standard input
    #[arg(value_name = "KEY [VALUE]")]
    args: Vec<String>,
    /// The lease whose end deletes the key, in hexadecimal
    #[arg(long, value_name = "ID", default_value = "0")]
    lease: String,
    /// Print the key as it was
    #[arg(long)]
    prev_kv: bool,
    /// Keep the present value
    #[arg(long)]
    ignore_value: bool,
    /// Keep the present lease
    #[arg(long)]
    ignore_lease: bool,
}

/// Flags of `get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// A key, or the first key and the first one no more
    #[arg(value_name = "KEY [RANGE_END]")]
    args: Vec<String>,
    /// l for what the whole cluster agrees on, s for what one member has
    #[arg(
        long,
        value_name = "L|S",
        default_value = "l",
        hide_default_value = true
    )]
    consistency: String,
    /// ASCEND or DESCEND
    #[arg(
        long,
        value_name = "ORDER",
        default_value = "",
        hide_default_value = true
    )]
    order: String,
    /// CREATE, KEY, MODIFY, VALUE or VERSION
    #[arg(
        long,
        value_name = "TARGET",
        default_value = "",
        hide_default_value = true
    )]
    sort_by: String,
    /// The most keys; 0 for all
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    limit: i64,
    /// All keys that begin so
    #[arg(long)]
    prefix: bool,
    /// All keys from this one on
    #[arg(long)]
    from_key: bool,
    /// The keys as they were at this revision
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    rev: i64,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// Bounds of the revisions at which the keys were written last, and made
    #[command(flatten)]
    bounds: Bounds,
    /// Only count (with -w fields)
    #[arg(long)]
    count_only: bool,
    /// Only the values (with -w simple)
    #[arg(long)]
    print_value_only: bool,
}

/// Bounds of revisions; 0 for none.
#[derive(Args, Debug)]
struct Bounds {
    /// Only keys written at this revision or later
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    min_mod_rev: i64,
    /// Only keys not written after this revision
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    max_mod_rev: i64,
    /// Only keys made at this revision or later
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    min_create_rev: i64,
    /// Only keys not made after this revision
    #[arg(
        long,
        value_name = "REVISION",
        default_value_t = 0,
        hide_default_value = true
    )]
    max_create_rev: i64,
}

/// Flags of `del`.
#[derive(Args, Debug)]
pub struct DelArgs {
    /// A key, or the first key and the first one no more
    #[arg(value_name = "KEY [RANGE_END]")]
    args: Vec<String>,
    /// All keys that begin so
    #[arg(long)]
    prefix: bool,
    /// All keys from this one on
    #[arg(long)]
    from_key: bool,
    /// Print the keys as they were
    #[arg(long)]
    prev_kv: bool,
}

/// Flags of `compaction`.
#[derive(Args, Debug)]
pub struct CompactionArgs {
    /// Forget what was overwritten or deleted before this revision
    #[arg(value_name = "REVISION", allow_negative_numbers = true)]
    args: Vec<String>,
    /// Wait until the room is free, where an etcd answers; a Headwater frees it in the moments that follow, in
    /// any case
    #[arg(long)]
    physical: bool,
}

/// The end of the range of all keys that begin so.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// A range by its first key and what was said of its end.
///
/// # Errors
/// What was said contradicts itself.
pub fn range(
    args: &[String],
    is_prefix: bool,
    is_from_key: bool,
    too_many: &str,
) -> Result<(Bytes, Bytes)> {
    let key = args[0].clone().into_bytes();
    if (is_prefix || is_from_key) && args.len() > 1 {
        return Err(Failure::arguments(too_many));
    }
    let whole = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    Ok(match args.get(1) {
        _ if (is_prefix || is_from_key) && key.is_empty() => whole,
        _ if is_prefix => (key.clone().into(), prefix_end(&key).into()),
        _ if is_from_key => (key.into(), Bytes::from_static(b"\0")),
        Some(end) => (key.into(), end.clone().into()),
        None => (key.into(), Bytes::new()),
    })
}

fn no_two(is_prefix: bool, is_from_key: bool) -> Result<()> {
    if is_prefix && is_from_key {
        return Err(Failure::arguments(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one",
        ));
    }
    Ok(())
}

impl PutArgs {
    /// The request; a value that is not there comes from `input`.
    ///
    /// # Errors
    /// It makes no sense, or the value cannot be read.
    pub fn request(self, input: &mut impl Read) -> Result<api::PutRequest> {
        let mut args = self.args.into_iter();
        let (key, value, more) = (args.next(), args.next(), args.next());
        let needs =
            Failure::arguments("put command needs 1 argument and input from stdin or 2 arguments");
        let (Some(key), None) = (key, more) else {
            return Err(needs);
        };
        if self.ignore_value && value.is_some() {
            return Err(Failure::arguments(
                "put command needs only 1 argument when 'ignore-value' is set",
            ));
        }
        let value = match value {
            Some(value) => value.into_bytes(),
            None if self.ignore_value => Vec::new(),
            None => {
                let mut value = Vec::new();
                input.read_to_end(&mut value)?;
                value
            }
        };
        Ok(api::PutRequest {
            key: key.into(),
            value: value.into(),
            lease: quantity::lease("lease ID", &self.lease)?,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

impl GetArgs {
    /// The request.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn request(self) -> Result<api::RangeRequest> {
        if self.args.is_empty() || self.args.len() > 2 {
            return Err(Failure::arguments(
                "get command needs one argument as key and an optional argument as range_end",
            ));
        }
        no_two(self.prefix, self.from_key)?;
        if self.keys_only && self.count_only {
            return Err(Failure::arguments(
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
            ));
        }
        let serializable = match self.consistency.as_str() {
            "l" => false,
            "s" => true,
            other => {
                return Err(Failure::feature(format!(
                    "unknown consistency flag {other:?}"
                )));
            }
        };
        let too_many =
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
        let (key, range_end) = range(&self.args, self.prefix, self.from_key, too_many)?;
        let order = match self.order.to_uppercase().as_str() {
            "" => SortOrder::None,
            "ASCEND" => SortOrder::Ascend,
            "DESCEND" => SortOrder::Descend,
            _ => return Err(Failure::feature(format!("bad sort order {}", self.order))),
        };
        let target = match self.sort_by.to_uppercase().as_str() {
            "" | "KEY" => SortTarget::Key,
            "CREATE" => SortTarget::Create,
            "MODIFY" => SortTarget::Mod,
            "VALUE" => SortTarget::Value,
            "VERSION" => SortTarget::Version,
            _ => {
                return Err(Failure::feature(format!(
                    "bad sort target {}",
                    self.sort_by
                )));
            }
        };
        Ok(api::RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev.max(0),
            sort_order: order.into(),
            sort_target: target.into(),
            serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: self.bounds.min_mod_rev,
            max_mod_revision: self.bounds.max_mod_rev,
            min_create_revision: self.bounds.min_create_rev,
            max_create_revision: self.bounds.max_create_rev,
        })
    }
}

impl DelArgs {
    /// The request.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn request(self) -> Result<api::DeleteRangeRequest> {
        if self.args.is_empty() || self.args.len() > 2 {
            return Err(Failure::arguments(
                "del command needs one argument as key and an optional argument as range_end",
            ));
        }
        no_two(self.prefix, self.from_key)?;
        let too_many =
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set.";
        let (key, range_end) = range(&self.args, self.prefix, self.from_key, too_many)?;
        Ok(api::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.prev_kv,
        })
    }
}

/// Writes a key.
///
/// # Errors
/// It is not written, or it is not known.
pub async fn put(session: &Session, style: Style, args: PutArgs) -> Result<()> {
    let request = args.request(&mut std::io::stdin().lock())?;
    let put = async |wire| kv(wire).put(request.clone()).await;
    style.print(&session.ask(Repeat::Never, put).await?)
}

/// Reads keys.
///
/// # Errors
/// They cannot be read.
pub async fn get(session: &Session, style: Style, args: GetArgs) -> Result<()> {
    let (is_value_only, is_count_only) = (args.print_value_only, args.count_only);
    let request = args.request()?;
    if is_count_only && style.format != Format::Fields {
        return Err(Failure::arguments(
            "--count-only is only for `--write-out=fields`",
        ));
    }
    if is_value_only && style.format != Format::Simple {
        return Err(Failure::arguments(
            "print-value-only is only for `--write-out=simple`",
        ));
    }
    let get = async |wire| kv(wire).range(request.clone()).await;
    let answer = session.ask(Repeat::Always, get).await?;
    if is_value_only {
        let mut text = Text::new();
        answer
            .kvs
            .iter()
            .for_each(|key| line(&mut text, shown(style, &key.value)));
        return say(&text);
    }
    style.print(&answer)
}

/// Deletes keys.
///
/// # Errors
/// They are not deleted, or it is not known.
pub async fn del(session: &Session, style: Style, args: DelArgs) -> Result<()> {
    let request = args.request()?;
    let delete = async |wire| kv(wire).delete_range(request.clone()).await;
    style.print(&session.ask(Repeat::Never, delete).await?)
}

/// Forgets the past.
///
/// # Errors
/// It is not forgotten, or it is not known.
pub async fn compaction(session: &Session, args: CompactionArgs) -> Result<()> {
    let [revision] = &args.args[..] else {
        return Err(Failure::arguments("compaction command needs 1 argument"));
    };
    let request = api::CompactionRequest {
        revision: quantity::decimal(revision).map_err(Failure::error)?,
        physical: args.physical,
    };
    session
        .ask(Repeat::Never, async |wire| kv(wire).compact(request).await)
        .await?;
    say(format!("compacted revision {}\n", request.revision).as_bytes())
}

impl Answer for api::PutResponse {
    const NAME: &'static str = "etcdserverpb.PutResponse";

    fn simple(&self, text: &mut Text, style: Style) {
        line(text, "OK");
        if let Some(key) = &self.prev_kv {
            key_lines(text, style, key);
        }
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        if let Some(key) = &self.prev_kv {
            key_fields(text, "Prev", key);
        }
        Ok(())
    }
}

impl Answer for api::RangeResponse {
    const NAME: &'static str = "etcdserverpb.RangeResponse";

    fn simple(&self, text: &mut Text, style: Style) {
        self.kvs.iter().for_each(|key| key_lines(text, style, key));
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        self.kvs.iter().for_each(|key| key_fields(text, "", key));
        field(text, "More", self.more);
        field(text, "Count", self.count);
        Ok(())
    }
}

impl Answer for api::DeleteRangeResponse {
    const NAME: &'static str = "etcdserverpb.DeleteRangeResponse";

    fn simple(&self, text: &mut Text, style: Style) {
        line(text, self.deleted.to_string());
        self.prev_kvs
            .iter()
            .for_each(|key| key_lines(text, style, key));
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        field(text, "Deleted", self.deleted);
        self.prev_kvs
            .iter()
            .for_each(|key| key_fields(text, "Prev", key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), b"\0");
    }
}
