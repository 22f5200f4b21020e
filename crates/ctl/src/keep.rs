//! Keeping a lease alive: for `lease keep-alive`, and for what holds something by one.
//! Never gives up while the lease may live: a connection that breaks is replaced.
//!
//! # Source
//! The etcd v3 API, `LeaseKeepAlive`; etcdctl's `lease keep-alive`.

use std::time::{Duration, Instant};

use headwater_api::etcdserverpb as api;
use tokio::time::sleep;
use tonic::codegen::tokio_stream;
use tonic::{Response, Status};

use crate::failure::Result;
use crate::json::Json;
use crate::session::{Repeat, Session, leases};
use crate::text::{Answer, Style, Text, field, header_fields, line};

/// How long nobody is asked after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Extends the life of a lease once; what comes back has no time to live if there is no such lease.
///
/// # Errors
/// It is not known to be extended.
pub async fn once(session: &Session, id: i64) -> Result<api::LeaseKeepAliveResponse> {
    let keep = async |wire| {
        let request = tokio_stream::once(api::LeaseKeepAliveRequest { id });
        let mut answers = leases(wire).lease_keep_alive(request).await?.into_inner();
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Status::unavailable("the server ended it"))?;
        Ok(Response::new(answer))
    };
    // To keep a lease alive twice is to keep it alive.
    session.ask(Repeat::Always, keep).await
}

/// Keeps a lease alive until it is gone; tells each answer.
///
/// # Errors
/// Nobody could be asked while it may have lived.
pub async fn always(
    session: &Session,
    id: i64,
    mut tell: impl FnMut(&api::LeaseKeepAliveResponse) -> Result<()>,
) -> Result<()> {
    let mut end = None;
    loop {
        match once(session, id).await {
            Ok(answer) if answer.ttl <= 0 => return Ok(()),
            Ok(answer) => {
                tell(&answer)?;
                let life = Duration::from_secs(u64::try_from(answer.ttl).unwrap_or(1));
                end = Instant::now().checked_add(life);
                sleep(life / 3).await;
            }
            Err(failure) => {
                if end.is_none_or(|end| Instant::now() >= end) {
                    return Err(failure);
                }
                // One that is silent is not asked again before the others.
                session.again().await.ok();
                sleep(PAUSE).await;
            }
        }
    }
}

impl Answer for api::LeaseKeepAliveResponse {
    const NAME: &'static str = "etcdserverpb.LeaseKeepAliveResponse";

    fn simple(&self, text: &mut Text, _style: Style) {
        let (id, ttl) = (self.id, self.ttl);
        line(text, format!("lease {id:016x} keepalived with TTL({ttl})"));
    }

    fn fields(&self, text: &mut Text, _style: Style) -> Result<()> {
        header_fields(text, self.header.as_ref());
        field(text, "ID", self.id);
        field(text, "TTL", self.ttl);
        Ok(())
    }

    fn json(&self, _style: Style) -> Json {
        crate::lease::header(self.header.as_ref()).and([
            ("ID", Json::number(self.id)),
            ("TTL", Json::number(self.ttl)),
        ])
    }
}
