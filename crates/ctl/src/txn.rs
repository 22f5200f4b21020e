//! `txn`: conditions, and what is done if they hold or do not, read from the standard input.
//! Never reads more than its three parts, each of which ends with an empty line.
//!
//! # Source
//! etcdctl's command of this name; the etcd v3 API, `Txn`.

use std::io::BufRead;

use clap::{Args, FromArgMatches};
use headwater_api::etcdserverpb as api;
use headwater_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use headwater_api::etcdserverpb::request_op::Request;
use headwater_api::etcdserverpb::response_op::Response;

use crate::failure::{Failure, Result};
use crate::flags::booleans;
use crate::keys::{DelArgs, GetArgs, PutArgs};
use crate::session::{Repeat, Session, kv};
use crate::text::{Answer, Style, Text, field, header_fields, line, say};

/// What is read.
pub const HELP: &str = "\
Three parts are read from the standard input, each a line an item, and each ended by an empty line:
  compares           TARGET(\"KEY\") = \"VALUE\", or != < >, where TARGET is value (val), version (ver),
                     create (c), mod (m) or lease; with none the success requests are done
  success requests   put, get and del with their flags, done if all compares hold
  failure requests   the same, done if one does not

Example: write a key only if it is not there, and read it if it is:
  printf 'create(\"a\") = \"0\"\\n\\nput a 1\\n\\nget a\\n\\n' | headwater ctl txn";

/// Flags of `txn`.
#[derive(Args, Debug)]
pub struct TxnArgs {
    /// Say what is read next
    #[arg(short, long)]
    interactive: bool,
}

/// Reads a transaction and has it done.
///
/// # Errors
/// It makes no sense, is not done, or is not known to be done.
pub async fn run(session: &Session, style: Style, args: TxnArgs) -> Result<()> {
    let request = read(&mut std::io::stdin().lock(), args.interactive)?;
    let txn = async |wire| kv(wire).txn(request.clone()).await;
    style.print(&session.ask(Repeat::Never, txn).await?)
}

fn read(input: &mut impl BufRead, prompts: bool) -> Result<api::TxnRequest> {
    let compare = part(input, prompts, "compares:", compare)?;
    let success = part(
        input,
        prompts,
        "success requests (get, put, del):",
        operation,
    )?;
    let failure = part(
        input,
        prompts,
        "failure requests (get, put, del):",
        operation,
    )?;
    Ok(api::TxnRequest {
        compare,
        success,
        failure,
    })
}

/// The lines up to an empty one.
fn part<T>(
    input: &mut impl BufRead,
    prompts: bool,
    title: &str,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Vec<T>> {
    if prompts {
        say(format!("{title}\n").as_bytes())?;
    }
    let mut parsed = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let line = line.trim();
        if line.is_empty() {
            return Ok(parsed);
        }
        parsed.push(parse(line)?);
    }
}

fn compare(line: &str) -> Result<api::Compare> {
    let malformed = || Failure::input(format!("malformed comparison: {line}"));
    let (target, rest) = line.split_once('(').ok_or_else(malformed)?;
    let (key, rest) = quoted(rest).ok_or_else(malformed)?;
    let rest = rest.trim_start().strip_prefix(')').ok_or_else(malformed)?;
    let (operator, rest) = rest.trim().split_once(' ').ok_or_else(malformed)?;
    let (value, _) = quoted(rest.trim()).ok_or_else(malformed)?;
    let invalid = || Failure::input(format!("invalid txn compare request: {line}"));
    let number = || {
        String::from_utf8_lossy(&value)
            .parse::<i64>()
            .map_err(|_| invalid())
    };
    let (target, union) = match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (
            CompareTarget::Create,
            TargetUnion::CreateRevision(number()?),
        ),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (
            CompareTarget::Value,
            TargetUnion::Value(value.clone().into()),
        ),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number()?)),
        other => {
            return Err(Failure::input(format!(
                "malformed comparison: {line} (unknown target {other})"
            )));
        }
    };
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(invalid()),
    };
    Ok(api::Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: Default::default(),
        target_union: Some(union),
    })
}

/// A text between quotation marks at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut found = Vec::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Some((found, rest)),
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                match escaped {
                    'n' => found.push(b'\n'),
                    'r' => found.push(b'\r'),
                    't' => found.push(b'\t'),
                    'x' => {
                        found.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                        rest = &rest[2..];
                    }
                    '"' | '\\' => found.push(escaped as u8),
                    _ => return None,
                }
            }
            c => found.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The words of a line; those between quotation marks are one.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => {
                let (bytes, after) = quoted(rest)?;
                (String::from_utf8(bytes).ok()?, after)
            }
            '\'' => {
                let (word, after) = rest[1..].split_once('\'')?;
                (word.to_owned(), after)
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

fn operation(line: &str) -> Result<api::RequestOp> {
    let invalid = |why: &str| Failure::input(format!("invalid txn request: {line}{why}"));
    let words = words(line).ok_or_else(|| invalid(""))?;
    let Some((name, rest)) = words.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err(invalid(""));
    };
    let request = match name.as_str() {
        // Here the standard input holds the other lines, not a value.
        "put" => Request::RequestPut(flags::<PutArgs>(rest, line)?.request(&mut std::io::empty())?),
        "get" => Request::RequestRange(flags::<GetArgs>(rest, line)?.request()?),
        "del" => Request::RequestDeleteRange(flags::<DelArgs>(rest, line)?.request()?),
        _ => return Err(invalid(" (only get, put and del can be asked for)")),
    };
    Ok(api::RequestOp {
        request: Some(request),
    })
}

fn flags<A: Args + FromArgMatches>(words: &[String], line: &str) -> Result<A> {
    parsed(words).map_err(|why| Failure::input(format!("invalid txn request: {line} ({why})")))
}

/// What the words of a line say, without the command's name; or why they say nothing.
///
/// # Errors
/// The command has no such flags.
pub fn parsed<A: Args + FromArgMatches>(words: &[String]) -> std::result::Result<A, String> {
    let line = clap::Command::new("line").no_binary_name(true);
    let matches = booleans(A::augment_args(line)).try_get_matches_from(words);
    let parsed = matches.and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let why = error.to_string();
        why.lines().next().unwrap_or_default().to_owned()
    })
}

impl Answer for api::TxnResponse {
    const NAME: &'static str = "etcdserverpb.TxnResponse";

    fn simple(&self, text: &mut Text, style: Style) {
        line(text, if self.succeeded { "SUCCESS" } else { "FAILURE" });
        for answer in &self.responses {
            line(text, "");
            match &answer.response {
                Some(Response::ResponseRange(answer)) => answer.simple(text, style),
                Some(Response::ResponsePut(answer)) => answer.simple(text, style),
                Some(Response::ResponseDeleteRange(answer)) => answer.simple(text, style),
                Some(Response::ResponseTxn(answer)) => answer.simple(text, style),
                None => {}
            }
        }
    }

    fn fields(&self, text: &mut Text, style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        field(text, "Succeeded", self.succeeded);
        for answer in &self.responses {
            match &answer.response {
                Some(Response::ResponseRange(answer)) => answer.fields(text, style)?,
                Some(Response::ResponsePut(answer)) => answer.fields(text, style)?,
                Some(Response::ResponseDeleteRange(answer)) => answer.fields(text, style)?,
                Some(Response::ResponseTxn(answer)) => answer.fields(text, style)?,
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_three_parts() {
        let text = "val(\"a b\") = \"c\\n\"\nmod(\"k\") > \"4\"\n\nput 'x y' \"z\"\nget p --prefix\n\ndel x\n\n";
        let request = read(&mut text.as_bytes(), false).unwrap();
        assert_eq!(request.compare[0].key, "a b");
        assert_eq!(
            request.compare[0].target_union,
            Some(TargetUnion::Value("c\n".into()))
        );
        assert_eq!(
            (
                request.compare.len(),
                request.success.len(),
                request.failure.len()
            ),
            (2, 2, 1)
        );
        let Some(Request::RequestPut(put)) = &request.success[0].request else {
            panic!("a put");
        };
        assert_eq!(
            (put.key.as_ref(), put.value.as_ref()),
            (&b"x y"[..], &b"z"[..])
        );
    }

    #[test]
    fn what_is_no_condition_is_told() {
        let error = read(&mut "size(\"k\") = \"1\"\n".as_bytes(), false).unwrap_err();
        assert!(error.to_string().contains("unknown target size"), "{error}");
    }
}
