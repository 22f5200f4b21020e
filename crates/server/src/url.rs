//! URLs as etcd's flags have them: `http://host:port` or `https://host:port`, and nothing else.
//! Never resolves names; that is for the moment of connecting.
//!
//! # Source
//! etcd's `--listen-client-urls` and its like.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, bail, ensure};
use headwater_runtime::{PeerAddress, tls};

/// Where something listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Url {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Url {
    /// Reads `http://host:port` or the same with `https`, as given to `flag`.
    ///
    /// # Errors
    /// The text names the flag, what is wrong and what would be right.
    pub fn parse(flag: &str, text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!(
                "--{flag}: \"{text}\" is not a URL; write it as http://HOST:PORT or \
                 https://HOST:PORT"
            );
        };
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            "unix" | "unixs" => {
                bail!("--{flag}: \"{text}\": unix sockets are not served; use http:// or https://")
            }
            _ => {
                bail!("--{flag}: \"{text}\": unknown scheme \"{scheme}\"; use http:// or https://")
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        ensure!(
            !rest.contains(['/', '?', '#', '@']),
            "--{flag}: \"{text}\" must be {scheme}://HOST:PORT alone, without a path"
        );
        let Some((host, port)) = rest.rsplit_once(':').filter(|(_, p)| !p.contains(']')) else {
            bail!("--{flag}: \"{text}\" has no port; write it as {scheme}://HOST:PORT");
        };
        let Ok(port) = port.parse() else {
            bail!("--{flag}: \"{text}\": \"{port}\" is not a port (0 to 65535)");
        };
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside.to_owned(),
            None if !host.is_empty() && !host.contains([':', '[', ']', ' ']) => {
                host.to_ascii_lowercase()
            }
            _ => bail!("--{flag}: \"{text}\": \"{host}\" is not a host name or address"),
        };
        Ok(Self { is_tls, host, port })
    }

    /// Reads a comma-separated list of at least one URL, as given to `flag`.
    ///
    /// # Errors
    /// See [`Url::parse`].
    pub fn parse_list(flag: &str, texts: &str) -> Result<Vec<Self>> {
        let texts = texts.split(',').map(str::trim).filter(|t| !t.is_empty());
        let urls: Vec<Self> = texts.map(|t| Self::parse(flag, t)).collect::<Result<_>>()?;
        ensure!(!urls.is_empty(), "--{flag} needs at least one URL");
        Ok(urls)
    }

    /// The address to listen on: an IP address or `localhost`.
    ///
    /// # Errors
    /// The host is a name: which of its addresses is ours is not ours to guess.
    pub fn listen_address(&self, flag: &str) -> Result<SocketAddr> {
        if self.host == "localhost" {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        }
        let Ok(ip) = self.host.parse::<IpAddr>() else {
            bail!(
                "--{flag}: \"{self}\": to listen, give an IP address of this machine \
                 (0.0.0.0 for all of them), not a name"
            );
        };
        Ok(SocketAddr::new(ip, self.port))
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The name or address of the machine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where to connect, as the runtime's peers want it.
    pub fn peer_address(&self) -> PeerAddress {
        match self.is_tls {
            true => tls::secured(&self.authority()),
            false => self.authority(),
        }
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether this stands for all addresses of the machine, which nobody can connect to by name.
    pub fn is_wildcard(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
    }

    /// The same port on this machine's own name.
    pub fn on_localhost(&self) -> Self {
        Self {
            host: "localhost".to_owned(),
            ..*self
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written_back() {
        for text in [
            "http://10.0.0.1:2380",
            "http://[::1]:1",
            "https://node-1.lan:0",
        ] {
            assert_eq!(Url::parse("f", text).unwrap().to_string(), text);
        }
        let same = Url::parse("f", "http://Node:1/").unwrap();
        assert_eq!(same.to_string(), "http://node:1");
    }

    #[test]
    fn a_bad_url_is_refused_with_the_flag_and_the_remedy() {
        let cases = [
            ("localhost:2379", "http://HOST:PORT"),
            ("unixs://a:1", "unix sockets"),
            ("ftp://a:1", "unknown scheme"),
            ("http://a", "no port"),
            ("http://a:b", "not a port"),
            ("http://a:1/x", "without a path"),
            ("http://[::1]", "no port"),
            ("http://:1", "not a host"),
        ];
        for (text, part) in cases {
            let error = Url::parse("listen-client-urls", text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains("--listen-client-urls"), "{error}");
        }
    }

    #[test]
    fn the_scheme_says_whether_tls_is_spoken() {
        let url = |text| Url::parse("f", text).unwrap();
        assert!(url("https://a:1").is_tls());
        assert_eq!(url("https://a:1").peer_address(), "tls://a:1");
        assert_eq!(url("http://[::1]:1").peer_address(), "[::1]:1");
        let here = url("https://0.0.0.0:1").on_localhost();
        assert_eq!(here.to_string(), "https://localhost:1");
    }

    #[test]
    fn only_an_own_address_can_be_listened_on() {
        let address = |text| Url::parse("f", text).unwrap().listen_address("f");
        assert_eq!(
            address("http://localhost:5").unwrap().to_string(),
            "127.0.0.1:5"
        );
        assert_eq!(address("http://[::]:5").unwrap().to_string(), "[::]:5");
        assert!(address("http://example.org:5").is_err());
    }
}
