//! `lease`: made, ended, looked at, kept alive.
//! Never knows how one is kept alive; `keep` does.
//!
//! # Source
//! etcdctl's commands of this name; the etcd v3 API, service `Lease`.

use clap::{Args, Subcommand};
use headwater_api::etcdserverpb as api;

use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::keep;
use crate::quantity;
use crate::session::{Repeat, Session, leases};
use crate::text::{Answer, Format, Style, Text, field, header_fields, line, quote, say};

/// What can be done with leases.
#[derive(Subcommand, Debug)]
pub enum LeaseCommand {
    /// Make one
    Grant(GrantArgs),
    /// End one; its keys are deleted
    Revoke(IdArgs),
    /// How long one has left
    Timetolive(TimeArgs),
    /// List all
    List,
    /// Keep one alive until it is ended
    KeepAlive(KeepArgs),
}

/// Flags of `lease keep-alive`.
#[derive(Args, Debug)]
pub struct KeepArgs {
    /// Its id, in hexadecimal
    #[arg(value_name = "ID")]
    args: Vec<String>,
    /// Only once: it has its whole time before it again
    #[arg(long)]
    once: bool,
}

/// Flags of `lease grant`.
#[derive(Args, Debug)]
pub struct GrantArgs {
    /// How long it lives unless kept alive: seconds, or with a unit, as in 10m
    #[arg(value_name = "TTL", allow_negative_numbers = true)]
    args: Vec<String>,
}

/// Which lease.
#[derive(Args, Debug)]
pub struct IdArgs {
    /// Its id, in hexadecimal
    #[arg(value_name = "ID")]
    args: Vec<String>,
}

/// Flags of `lease timetolive`.
#[derive(Args, Debug)]
pub struct TimeArgs {
    /// Its id, in hexadecimal
    #[arg(value_name = "ID")]
    args: Vec<String>,
    /// Its keys, too
    #[arg(long)]
    keys: bool,
}

/// Does it.
///
/// # Errors
/// It is not done, or not known to be done.
pub async fn run(session: &Session, style: Style, command: LeaseCommand) -> Result<()> {
    match command {
        LeaseCommand::Grant(args) => {
            let [ttl] = &args.args[..] else {
                return Err(Failure::arguments("lease grant command needs TTL argument"));
            };
            let ttl = quantity::seconds(ttl)
                .map_err(|why| Failure::arguments(format!("bad TTL ({why})")))?;
            let request = api::LeaseGrantRequest { ttl, id: 0 };
            let grant = async |wire| leases(wire).lease_grant(request).await;
            let granted = session.ask(Repeat::Never, grant).await;
            style.print(&granted.map_err(|failure| failure.within("failed to grant lease"))?)
        }
        LeaseCommand::Revoke(args) => {
            let id = one(&args.args, "lease revoke command needs 1 argument")?;
            let request = api::LeaseRevokeRequest { id };
            let revoke = async |wire| leases(wire).lease_revoke(request).await;
            let revoked = session.ask(Repeat::Never, revoke).await;
            let answer = revoked.map_err(|failure| failure.within("failed to revoke lease"))?;
            match style.format {
                Format::Simple => say(format!("lease {id:016x} revoked\n").as_bytes()),
                _ => style.print(&answer),
            }
        }
        LeaseCommand::Timetolive(args) => {
            let id = one(
                &args.args,
                "lease timetolive command needs lease ID as argument",
            )?;
            let request = api::LeaseTimeToLiveRequest {
                id,
                keys: args.keys,
            };
            let ask = async |wire| leases(wire).lease_time_to_live(request).await;
            style.print(&session.ask(Repeat::Always, ask).await?)
        }
        LeaseCommand::KeepAlive(args) => {
            let id = one(
                &args.args,
                "lease keep-alive command needs lease ID as argument",
            )?;
            keep_alive(session, style, id, args.once).await
        }
        LeaseCommand::List => {
            let list = async |wire| leases(wire).lease_leases(api::LeaseLeasesRequest {}).await;
            style.print(&session.ask(Repeat::Always, list).await?)
        }
    }
}

async fn keep_alive(session: &Session, style: Style, id: i64, is_once: bool) -> Result<()> {
    if is_once {
        let answer = keep::once(session, id).await?;
        if answer.ttl <= 0 {
            let missing = "etcdserver: requested lease not found";
            return Err(Failure::connection(missing));
        }
        return style.print(&answer);
    }
    keep::always(session, id, |answer| style.print(answer)).await?;
    if style.format == Format::Simple {
        say(format!("lease {id:016x} expired or revoked.\n").as_bytes())?;
    }
    Ok(())
}

fn one(args: &[String], needs: &str) -> Result<i64> {
    match args {
        [id] => quantity::lease("lease ID arg", id),
        _ => Err(Failure::arguments(needs)),
    }
}

/// The header's own fields, among which etcdctl puts those of some answers.
pub fn header(header: Option<&api::ResponseHeader>) -> Json {
    let none = api::ResponseHeader::default();
    Json::of("etcdserverpb.ResponseHeader", header.unwrap_or(&none))
}

impl Answer for api::LeaseGrantResponse {
    const NAME: &'static str = "etcdserverpb.LeaseGrantResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        line(
            text,
            format!("lease {:016x} granted with TTL({}s)", self.id, self.ttl),
        );
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        field(text, "ID", self.id);
        field(text, "TTL", self.ttl);
        Ok(())
    }

    fn json(&self, _style: Style) -> Json {
        header(self.header.as_ref()).and([
            ("ID", Json::number(self.id)),
            ("TTL", Json::number(self.ttl)),
            ("Error", Json::text(self.error.clone())),
        ])
    }
}

impl Answer for api::LeaseRevokeResponse {
    const NAME: &'static str = "etcdserverpb.LeaseRevokeResponse";

    fn simple(&self, _text: &mut Text, _style: Style) {}

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        Ok(())
    }
}

impl Answer for api::LeaseTimeToLiveResponse {
    const NAME: &'static str = "etcdserverpb.LeaseTimeToLiveResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        let id = self.id;
        if self.granted_ttl == 0 && self.ttl == -1 {
            return line(text, format!("lease {id:016x} already expired"));
        }
        let mut words = format!(
            "lease {id:016x} granted with TTL({}s), remaining({}s)",
            self.granted_ttl, self.ttl
        );
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(|key| String::from_utf8_lossy(key));
            let keys: Vec<_> = keys.collect();
            words += &format!(", attached keys([{}])", keys.join(" "));
        }
        line(text, words);
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        field(text, "ID", self.id);
        field(text, "TTL", self.ttl);
        field(text, "GrantedTTL", self.granted_ttl);
        self.keys
            .iter()
            .for_each(|key| field(text, "Key", quote(key)));
        Ok(())
    }

    fn json(&self, _style: Style) -> Json {
        let keys = match &self.keys[..] {
            [] => Json::Null,
            keys => Json::List(keys.iter().map(|key| Json::bytes(key)).collect()),
        };
        header(self.header.as_ref()).and([
            ("id", Json::number(self.id)),
            ("ttl", Json::number(self.ttl)),
            ("granted-ttl", Json::number(self.granted_ttl)),
            ("keys", keys),
        ])
    }
}

impl Answer for api::LeaseLeasesResponse {
    const NAME: &'static str = "etcdserverpb.LeaseLeasesResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        line(text, format!("found {} leases", self.leases.len()));
        for lease in &self.leases {
            line(text, format!("{:016x}", lease.id));
        }
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        self.leases
            .iter()
            .for_each(|lease| field(text, "ID", lease.id));
        Ok(())
    }

    fn json(&self, _style: Style) -> Json {
        let each = self.leases.iter();
        let each = each.map(|lease| Json::object([("id", Json::number(lease.id))]));
        header(self.header.as_ref()).and([("leases", Json::List(each.collect()))])
    }
}
