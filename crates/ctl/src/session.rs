//! Asking the cluster: the first member that can be reached, another when that one is gone, and a
//! reason that names the cause when nobody can help.
//! Never repeats a request that may have been carried out, unless twice comes to the same as once.
//!
//! # Source
//! etcd's clients; the etcd v3 API, service `Auth` (tokens).

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use headwater_api::etcdserverpb as api;
use headwater_api::etcdserverpb::auth_client::AuthClient;
use headwater_api::etcdserverpb::cluster_client::ClusterClient;
use headwater_api::etcdserverpb::kv_client::KvClient;
use headwater_api::etcdserverpb::lease_client::LeaseClient;
use headwater_api::etcdserverpb::maintenance_client::MaintenanceClient;
use headwater_api::etcdserverpb::watch_client::WatchClient;
use headwater_api::v3electionpb::election_client::ElectionClient;
use headwater_api::v3lockpb::lock_client::LockClient;
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::connect::{NEEDS_CERT, SPEAKS_TLS, connect, explain, is_there, speaks_tls, wants_cert};
use crate::failure::{Failure, Result, is_transport};
use crate::flags::Options;
use crate::place::Place;
use crate::tls::Files;

/// What may be done with a request that got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// Twice comes to the same as once: another member may be asked.
    Always,
    /// It may have been carried out.
    Never,
}

/// Puts who asks on each request.
#[derive(Clone, Default, Debug)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// What calls go out by.
pub type Wire = InterceptedService<Channel, Token>;

/// Keys.
pub fn kv(wire: Wire) -> KvClient<Wire> {
    KvClient::new(wire).max_decoding_message_size(usize::MAX)
}

/// Leases.
pub fn leases(wire: Wire) -> LeaseClient<Wire> {
    LeaseClient::new(wire).max_decoding_message_size(usize::MAX)
}

/// Members.
pub fn cluster(wire: Wire) -> ClusterClient<Wire> {
    ClusterClient::new(wire)
}

/// Care for one member.
pub fn maintenance(wire: Wire) -> MaintenanceClient<Wire> {
    MaintenanceClient::new(wire).max_decoding_message_size(usize::MAX)
}

/// Watches.
pub fn watches(wire: Wire) -> WatchClient<Wire> {
    WatchClient::new(wire).max_decoding_message_size(usize::MAX)
}

/// Users and roles.
pub fn auth(wire: Wire) -> AuthClient<Wire> {
    AuthClient::new(wire)
}

/// Locks.
pub fn locks(wire: Wire) -> LockClient<Wire> {
    LockClient::new(wire)
}

/// Elections.
pub fn elections(wire: Wire) -> ElectionClient<Wire> {
    ElectionClient::new(wire)
}

struct At {
    number: usize,
    wire: Wire,
}

/// A cluster to ask.
pub struct Session {
    places: Vec<Place>,
    options: Options,
    tls: Option<Arc<ClientConfig>>,
    at: RefCell<Option<At>>,
}

impl Session {
    /// The members that the flags name; nobody is asked yet.
    ///
    /// # Errors
    /// The flags do not say whom to ask and how.
    pub fn new(options: &Options) -> Result<Self> {
        Self::with(Place::all(options)?, options, &Files::of(options))
    }

    /// These members.
    ///
    /// # Errors
    /// The files of TLS cannot be used.
    pub fn with(places: Vec<Place>, options: &Options, files: &Files) -> Result<Self> {
        let is_tls = places.iter().any(|place| place.is_tls);
        Ok(Self {
            places,
            options: options.clone(),
            tls: is_tls.then(|| files.load()).transpose()?,
            at: RefCell::new(None),
        })
    }

    /// The same cluster, by these members alone.
    ///
    /// # Errors
    /// The files of TLS cannot be used.
    pub fn only(&self, places: Vec<Place>) -> Result<Self> {
        if places.iter().any(|place| place.is_tls) && self.tls.is_none() {
            return Self::with(places, &self.options, &Files::of(&self.options));
        }
        Ok(Self {
            places,
            options: self.options.clone(),
            tls: self.tls.clone(),
            at: RefCell::new(None),
        })
    }

    /// How TLS is spoken, if it is with one of them.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// The members that are asked.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The member that answers, as it was typed; the first before one does.
    pub fn at(&self) -> &Place {
        let at = self.at.borrow().as_ref().map_or(0, |at| at.number);
        &self.places[at]
    }

    /// How the flags would have it.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A connection to a member, for calls that go on.
    ///
    /// # Errors
    /// None can be reached: why, of each.
    pub async fn wire(&self) -> Result<Wire> {
        if let Some(at) = &*self.at.borrow() {
            return Ok(at.wire.clone());
        }
        self.reach(0).await
    }

    /// A connection when the present one broke: to the next member that can be reached.
    ///
    /// # Errors
    /// None can be reached: why, of each.
    pub async fn again(&self) -> Result<Wire> {
        let number = self.at.take().map_or(0, |at| at.number + 1);
        self.reach(number).await
    }

    /// Why a call that goes on did not begin, or ended.
    pub async fn lost(&self, status: Status) -> Failure {
        if !is_transport(&status) {
            return status.into();
        }
        let number = self.at.borrow().as_ref().map_or(0, |at| at.number);
        self.broken(&self.places[number], &status).await
    }

    /// Connects to the first that can be reached, beginning with this one and going round.
    async fn reach(&self, first: usize) -> Result<Wire> {
        let mut reasons = Vec::new();
        for step in 0..self.places.len() {
            let number = (first + step) % self.places.len();
            let place = &self.places[number];
            self.tell(&format!("connecting to {}", place.said));
            match connect(place, &self.options, self.tls.clone()).await {
                Err(reason) => {
                    let reason = format!("{}: {reason}", place.with_port());
                    self.tell(&reason);
                    reasons.push(reason);
                }
                Ok(channel) => {
                    let token = self.token(&channel, place).await?;
                    let wire = InterceptedService::new(channel, token);
                    let known = wire.clone();
                    *self.at.borrow_mut() = Some(At { number, wire });
                    return Ok(known);
                }
            }
        }
        Err(Failure::error(match &reasons[..] {
            [one] => format!("cannot connect to {one}"),
            all => format!("cannot connect to any endpoint:\n  {}", all.join("\n  ")),
        }))
    }

    async fn token(&self, channel: &Channel, place: &Place) -> Result<Token> {
        let Some((name, password)) = crate::password::of(&self.options)? else {
            return Ok(Token::default());
        };
        let request = api::AuthenticateRequest { name, password };
        let mut client = AuthClient::new(channel.clone());
        let call = client.authenticate(request);
        match timeout(self.options.command_timeout, call).await {
            Err(_) => Err(self.silent(place).await),
            Ok(Ok(answer)) => {
                let token = answer.into_inner().token.parse();
                let token =
                    token.map_err(|_| Failure::error("the server's token cannot be sent"))?;
                Ok(Token(Some(token)))
            }
            // Who does not ask for names takes everybody's requests.
            Ok(Err(status)) if status.message().ends_with("authentication is not enabled") => {
                Ok(Token::default())
            }
            Ok(Err(status)) if is_transport(&status) => Err(self.broken(place, &status).await),
            Ok(Err(status)) => Err(Failure::connection(status.message())),
        }
    }

    /// Asks a member, and the others if that cannot do harm.
    ///
    /// # Errors
    /// What the server said, or why there is no answer.
    pub async fn ask<A>(
        &self,
        repeat: Repeat,
        call: impl AsyncFn(Wire) -> std::result::Result<Response<A>, Status>,
    ) -> Result<A> {
        self.ask_for(self.options.command_timeout, repeat, call)
            .await
    }

    /// The same, for as long as this.
    ///
    /// # Errors
    /// What the server said, or why there is no answer.
    pub async fn ask_for<A>(
        &self,
        patience: Duration,
        repeat: Repeat,
        call: impl AsyncFn(Wire) -> std::result::Result<Response<A>, Status>,
    ) -> Result<A> {
        let mut wire = self.wire().await?;
        let mut left = self.places.len();
        loop {
            left -= 1;
            let number = self.at.borrow().as_ref().map_or(0, |at| at.number);
            let place = &self.places[number];
            let status = match timeout(patience, call(wire)).await {
                Err(_) => return Err(self.silent(place).await),
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
            };
            let is_transport = is_transport(&status);
            // A member that finds no leader has not passed the request on.
            let may_repeat = is_transport && repeat == Repeat::Always
                || status.code() == Code::Unavailable && status.message().ends_with("no leader");
            if left == 0 || !may_repeat {
                return Err(if is_transport {
                    let failure = self.broken(place, &status).await;
                    match repeat {
                        Repeat::Always => failure,
                        Repeat::Never if is_there(&failure.to_string()) => failure,
                        Repeat::Never => {
                            failure.hint("the request may have been carried out, or not")
                        }
                    }
                } else {
                    status.into()
                });
            }
            self.tell(&format!("{}: {}", place.said, status.message()));
            wire = self.reach(number + 1).await?;
        }
    }

    /// Why a connection broke.
    pub async fn broken(&self, place: &Place, status: &Status) -> Failure {
        let said = &place.said;
        if !place.is_tls && speaks_tls(place).await {
            return Failure::error(format!("{said} {SPEAKS_TLS}"));
        }
        if let Some(tls) = self.tls.clone().filter(|_| place.is_tls)
            && wants_cert(place, tls).await
        {
            return Failure::error(format!("{said}: {NEEDS_CERT}"));
        }
        let error: &dyn std::error::Error = status;
        let reason = match error.source() {
            Some(source) => explain(source),
            None => status.message().to_owned(),
        };
        Failure::error(format!("{said}: {reason}"))
    }

    /// Why there is no answer: what the one that was asked knows of a leader.
    async fn silent(&self, place: &Place) -> Failure {
        let text = format!(
            "{} has not answered in {:?}",
            place.said, self.options.command_timeout
        );
        let status = async {
            let tls = self.tls.clone();
            let channel = connect(place, &self.options, tls).await.ok()?;
            let mut client = MaintenanceClient::new(channel);
            let call = client.status(api::StatusRequest {});
            timeout(Duration::from_secs(1), call).await.ok()?.ok()
        };
        let hint = match status.await.map(Response::into_inner) {
            None => "it does not tell how it is, either: is it overloaded, paused, or cut off?",
            Some(status) if status.leader == 0 => {
                "it knows of no leader: a majority of the members must run and reach each other; `headwater \
                 ctl status` tells who is missing"
            }
            Some(_) => {
                "it knows a leader, which may have no majority; `headwater ctl status` tells who is missing; \
                 --command-timeout gives more time"
            }
        };
        Failure::error(text).hint(hint)
    }

    fn tell(&self, words: &str) {
        if self.options.debug {
            eprintln!("headwater ctl: {words}");
        }
    }
}
