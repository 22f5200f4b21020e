//! Endpoints: where a member listens for clients, as it is typed.
//! Never resolves a name; that is for the moment of connecting.
//!
//! # Source
//! etcdctl's `--endpoints`.

use crate::failure::{Failure, Result};
use crate::flags::Options;

/// Where a member listens for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// As it was typed, for texts.
    pub said: String,
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Place {
    /// Understands `HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str, options: &Options) -> Result<Self> {
        let text = text.trim();
        let wants_tls = options.cert.is_some() || options.cacert.is_some();
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(Failure::arguments(format!(
                    "--endpoints: \"{text}\" begins with {scheme}://, and only http:// and https:// can be \
                     asked"
                )));
            }
            None => (!options.insecure_transport || wants_tls, text),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "2379"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|_| !host.is_empty());
        let port = port.ok_or_else(|| {
            Failure::arguments(format!(
                "--endpoints: \"{text}\" is no place: write HOST:PORT or https://HOST:PORT"
            ))
        })?;
        Ok(Self {
            said: text.to_owned(),
            is_tls,
            host: host.to_owned(),
            port,
        })
    }

    /// The places that were named, of which there is one at least.
    ///
    /// # Errors
    /// One cannot be understood.
    pub fn all(options: &Options) -> Result<Vec<Self>> {
        if options.discovery_srv.is_some() || options.discovery_srv_name.is_some() {
            return Err(Failure::arguments(
                "--discovery-srv is not there: name the members with --endpoints",
            ));
        }
        let said = options.endpoints.iter().map(|text| text.trim());
        let said: Vec<&str> = said.filter(|text| !text.is_empty()).collect();
        if said.is_empty() {
            return Err(Failure::arguments("--endpoints names nobody"));
        }
        said.into_iter()
            .map(|text| Self::parse(text, options))
            .collect()
    }

    /// As it was typed, and the port that was meant if none was.
    pub fn with_port(&self) -> String {
        if self.said.contains(&format!(":{}", self.port)) {
            self.said.clone()
        } else {
            format!("{} (port {})", self.said, self.port)
        }
    }

    /// `HOST:PORT`, as URLs have it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
