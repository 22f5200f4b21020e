//! Whether this member listens where the others look for it.
//! Never changes where that is, and never ends the server: what stands between may lead from there to
//! here.
//!
//! # Source
//! etcd: `member update` changes what the others know, and a member's own flags say where it listens.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::url::Url;

/// What is wrong if none of the URLs by which the cluster knows this member is one that it says it is
/// at, or has a port on which it listens for peers; and what to do.
pub fn of(config: &Config, known: &[String]) -> Option<String> {
    let (node, cluster) = (&config.node, &config.cluster);
    let listens: Vec<_> = node
        .listen_peer
        .iter()
        .chain(&node.listen_peer_tls)
        .collect();
    let ports: BTreeSet<u16> = listens.iter().map(|address| address.port()).collect();
    let fits = |url: &String| {
        let port = Url::parse("peer-urls", url).map(|url| url.port());
        cluster.peer_urls.contains(url) || port.is_ok_and(|port| ports.contains(&port))
    };
    if ports.is_empty() || known.is_empty() || known.iter().any(fits) {
        return None;
    }
    let listens: Vec<String> = listens.iter().map(ToString::to_string).collect();
    Some(format!(
        "the other members look for this one at {}, and it listens for peers at {}, and says that it is \
         at {}: they cannot reach it. Either let --listen-peer-urls and --initial-advertise-peer-urls name \
         that address, or tell them: `etcdctl member update {:x} --peer-urls={}`",
        known.join(","),
        listens.join(","),
        cluster.peer_urls.join(","),
        cluster.me.0,
        cluster.peer_urls.join(",")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(known: &[&str]) -> Option<String> {
        let flags = [
            "--listen-peer-urls=http://127.0.0.1:32402",
            "--initial-advertise-peer-urls=http://proxy:99",
            "--initial-cluster=default=http://proxy:99",
        ];
        let args = crate::cli::serve_args(&flags.map(str::to_owned)).unwrap();
        let known: Vec<String> = known.iter().map(|url| (*url).to_owned()).collect();
        super::of(&Config::from_args(&args).unwrap(), &known)
    }

    #[test]
    fn only_who_listens_elsewhere_and_does_not_say_so_is_astray() {
        assert_eq!(of(&["http://elsewhere:32402"]), None, "a name of its own");
        assert_eq!(of(&["http://proxy:99"]), None, "as its flags say");
        assert_eq!(of(&["http://a:1", "http://b:32402"]), None);
        assert_eq!(of(&[]), None, "it is not known yet");
        let why = of(&["http://127.0.0.1:32403"]).unwrap();
        assert!(why.contains("look for this one at http://127.0.0.1:32403"));
        assert!(why.contains("listens for peers at 127.0.0.1:32402"));
        assert!(why.contains("--peer-urls=http://proxy:99`"), "{why}");
    }
}
