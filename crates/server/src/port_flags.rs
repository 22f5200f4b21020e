//! The flags of the ports for clients: who is served where, and what one connection may do.
//! Never opens a port: that is for `doors`.
//!
//! # Source
//! etcd's flags and their defaults.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use headwater_ctl::quantity;

use crate::client_threads;
use crate::doors::{Bounds, Door, Served};
use crate::url::Url;

/// Flags of the ports for clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "This server")]
pub struct PortArgs {
    /// Where to listen for clients (gRPC and HTTP on one port), comma-separated
    #[arg(long, value_name = "URLS", default_value = "http://localhost:2379")]
    pub listen_client_urls: String,

    /// Where to listen for clients that speak HTTP and no gRPC, comma-separated; those of
    /// --listen-client-urls are then for gRPC alone
    #[arg(long, value_name = "URLS")]
    pub listen_client_http_urls: Option<String>,

    /// Where to listen for those who read metrics and health and nothing else, comma-separated
    #[arg(long, value_name = "URLS")]
    pub listen_metrics_urls: Option<String>,

    /// Threads that serve clients beside the one that does everything else; 0: that one does. By default 0 on
    /// fewer than 8 processors, then one for each 4 of them, 8 at most
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(..=256),
        help_heading = "Limits"
    )]
    pub client_threads: Option<u16>,

    /// The most calls and watches at a time of one connection
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1 << 16,
        help_heading = "Limits"
    )]
    pub max_concurrent_streams: u32,

    /// How long a client may be silent before it is asked whether it is there; 0 for never
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1m",
        value_parser = quantity::time,
        help_heading = "Limits"
    )]
    pub grpc_keepalive_interval: Duration,

    /// How long it then has to answer, before its connection is ended; 0: it is not asked
    #[arg(
        long,
        value_name = "TIME",
        default_value = "20s",
        value_parser = quantity::time,
        help_heading = "Limits"
    )]
    pub grpc_keepalive_timeout: Duration,
}

impl PortArgs {
    /// The URLs of all ports for clients, each with its flag and what is served there.
    ///
    /// # Errors
    /// One is no URL; the text names the flag.
    pub fn urls(&self) -> Result<Vec<(&'static str, Url, Served)>> {
        let more = |flag, urls: &Option<String>| match urls.as_deref() {
            None | Some("") => Ok(Vec::new()),
            Some(urls) => Url::parse_list(flag, urls),
        };
        let flag = "listen-client-urls";
        let clients = Url::parse_list(flag, &self.listen_client_urls)?;
        let http = more("listen-client-http-urls", &self.listen_client_http_urls)?;
        let metrics = more("listen-metrics-urls", &self.listen_metrics_urls)?;
        let served = match http.is_empty() {
            true => Served::Everything,
            false => Served::Grpc,
        };
        let clients = clients.into_iter().map(|url| (flag, url, served));
        let http = http
            .into_iter()
            .map(|url| ("listen-client-http-urls", url, Served::Http));
        let metrics = metrics
            .into_iter()
            .map(|url| ("listen-metrics-urls", url, Served::Pages));
        Ok(clients.chain(http).chain(metrics).collect())
    }

    /// The ports.
    ///
    /// # Errors
    /// One is no URL, or none to listen on; the text names the flag.
    pub fn doors(&self) -> Result<Vec<Door>> {
        let door = |(flag, url, served): (&'static str, Url, Served)| {
            Ok(Door {
                flag,
                address: url.listen_address(flag)?,
                is_tls: url.is_tls(),
                served,
            })
        };
        self.urls()?.into_iter().map(door).collect()
    }

    /// How many threads serve clients beside the loop's own.
    pub fn client_threads(&self) -> usize {
        self.client_threads
            .map_or_else(client_threads::usual, usize::from)
    }

    /// What one connection may do.
    pub fn bounds(&self) -> Bounds {
        let (interval, timeout) = (self.grpc_keepalive_interval, self.grpc_keepalive_timeout);
        let is_on = !interval.is_zero() && !timeout.is_zero();
        Bounds {
            // As in etcd: none means as many as one likes.
            streams_max: match self.max_concurrent_streams {
                0 => u32::MAX,
                streams => streams,
            },
            keepalive: is_on.then_some((interval, timeout)),
        }
    }
}
