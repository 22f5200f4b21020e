use clap::Parser;

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::doors::Served;
use crate::tls::{Allowed, Source};

fn config(flags: &str) -> anyhow::Result<Config> {
    let argv = ["headwater", "serve"].into_iter();
    match Cli::try_parse_from(argv.chain(flags.split_whitespace()))?.command {
        Command::Serve(args) => Config::from_args(&args),
        other => panic!("not to serve: {other:?}"),
    }
}

const CLIENTS: &str = "--listen-client-urls https://127.0.0.1:1,http://127.0.0.1:2";
const PEERS: &str = "--listen-peer-urls https://127.0.0.1:3";

#[test]
fn each_url_has_tls_by_its_scheme() {
    let config = config(&format!(
        "{CLIENTS} --cert-file c --key-file k --listen-metrics-urls http://127.0.0.1:4 \
         {PEERS} --peer-auto-tls --initial-advertise-peer-urls https://127.0.0.1:3"
    ))
    .expect("sound");
    let doors: Vec<_> = config
        .doors
        .iter()
        .map(|d| (d.is_tls, d.served == Served::Pages))
        .collect();
    assert_eq!(doors, [(true, false), (false, false), (false, true)]);
    assert!(config.node.listen_peer.is_empty());
    assert_eq!(
        config.node.listen_peer_tls,
        ["127.0.0.1:3".parse().unwrap()]
    );
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn peers_are_dialled_by_the_scheme_of_their_urls() {
    let config = config(
        "--name a --initial-advertise-peer-urls https://a:1 --peer-auto-tls \
         --initial-cluster a=https://a:1,b=http://b:1",
    )
    .expect("sound");
    let mut members: Vec<_> = config.node.members.values().collect();
    members.sort();
    assert_eq!(members, ["b:1", "tls://a:1"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused_with_what_to_do() {
    let cases = [
        (
            CLIENTS.to_owned(),
            "https://127.0.0.1:1 asks for TLS, which needs --cert-file",
        ),
        (PEERS.to_owned(), "--peer-cert-file and --peer-key-file"),
        (
            format!("{CLIENTS} --cert-file c"),
            "--cert-file needs --key-file",
        ),
        (
            format!("{CLIENTS} --key-file k"),
            "--key-file needs --cert-file",
        ),
        (
            format!("{CLIENTS} --trusted-ca-file a"),
            "--trusted-ca-file needs --cert-file",
        ),
        (
            format!("{CLIENTS} --cert-file c --key-file k --client-cert-auth"),
            "--client-cert-auth needs --trusted-ca-file",
        ),
        (
            format!("{PEERS} --peer-cert-file c --peer-key-file k"),
            "--peer-cert-file needs --peer-trusted-ca-file",
        ),
        (
            format!(
                "{PEERS} --peer-cert-file c --peer-key-file k --peer-trusted-ca-file a \
                 --peer-cert-allowed-cn x --peer-cert-allowed-hostname y"
            ),
            "give one of them",
        ),
        (
            format!("{CLIENTS} --cert-file c --key-file k --client-crl-file r"),
            "--client-crl-file needs --trusted-ca-file",
        ),
        (
            format!("{PEERS} --peer-auto-tls --peer-crl-file r"),
            "--peer-crl-file needs --peer-trusted-ca-file",
        ),
        (
            format!("{PEERS} --peer-auto-tls --peer-cert-allowed-cn x"),
            "need --peer-trusted-ca-file",
        ),
    ];
    for (flags, part) in cases {
        let text = config(&flags).expect_err(&flags).to_string();
        assert!(text.contains(part), "{flags}: {text}");
    }
}

#[test]
fn certificates_that_no_url_uses_are_told_of() {
    let config = config("--cert-file c --key-file k").expect("sound");
    assert!(
        config.warnings[0].contains("no URL begins with https://"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn what_is_empty_or_false_asks_for_nothing() {
    let config = config("--cert-file= --auto-tls=false --client-cert-auth=false").expect("sound");
    assert_eq!(config.client_tls, None);
}

#[test]
fn names_that_are_allowed_come_as_a_list() {
    let flags = "--peer-cert-file c --peer-key-file k --peer-trusted-ca-file a \
                 --peer-cert-allowed-cn n1,n2";
    let config = config(&format!("{PEERS} {flags}")).expect("sound");
    let Some(Source::Files(files)) = config.peer_tls else {
        panic!("not from files");
    };
    let names = ["n1", "n2"].map(str::to_owned).to_vec();
    assert_eq!(files.allowed, Allowed::Names(names));
}

#[test]
fn a_self_made_certificate_stands_for_the_hosts_of_the_urls() {
    let config = config("--listen-client-urls https://10.0.0.1:1 --auto-tls").expect("sound");
    let Some(Source::SelfMade { hosts }) = config.client_tls else {
        panic!("not self-made");
    };
    assert_eq!(hosts, ["10.0.0.1", "127.0.0.1", "::1", "localhost"]);
}
