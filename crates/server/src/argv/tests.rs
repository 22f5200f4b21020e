use clap::CommandFactory;

use super::*;

fn run(line: &str, set: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
    let arguments = line.split(' ').map(str::to_owned).collect();
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = set.iter().map(pair).collect();
    normalise(&crate::cli::Cli::command(), arguments, &environment)
        .map(|request| (request.argv.join(" "), request.notes))
        .map_err(|error| error.to_string())
}

#[test]
fn to_serve_is_what_is_meant_when_nothing_else_is_said() {
    assert_eq!(run("headwater", &[]).unwrap().0, "headwater serve");
    assert_eq!(
        run("headwater --name a", &[]).unwrap().0,
        "headwater serve --name a"
    );
    assert_eq!(run("headwater dev", &[]).unwrap().0, "headwater dev");
    assert_eq!(run("headwater --help", &[]).unwrap().0, "headwater --help");
    assert_eq!(
        run("headwater -version", &[]).unwrap().0,
        "headwater version"
    );
}

#[test]
fn a_command_that_there_is_not_is_refused_with_those_that_there_are() {
    let error = run("headwater bogus", &[]).unwrap_err();
    for part in [
        "\"bogus\"",
        "serve (meant if nothing is said), dev, ctl, sim, certs, disk, import, snapshot, completion, man, version",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("did you mean"), "{error}");
    let error = run("headwater grpc-proxy start", &[]).unwrap_err();
    assert!(error.contains("a TCP proxy"), "{error}");
    let error = run("headwater server --name a", &[]).unwrap_err();
    assert!(error.contains("did you mean \"serve\"?"), "{error}");
    for client in ["put", "status", "compact"] {
        let error = run(&format!("headwater {client} a b"), &[]).unwrap_err();
        let meant = format!("did you mean `headwater ctl {client}`?");
        assert!(error.contains(&meant), "{error}");
    }
}

#[test]
fn a_variable_that_is_no_setting_is_told_of_once() {
    let set = [
        ("ETCD_DATADIR", "/d"),
        ("ETCD_NAME", "n"),
        ("ETCD_LOGGER", "zap"),
        ("HEADWATER_COLOUR", "blue"),
    ];
    let (_, notes) = run("headwater", &set).unwrap();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(
        notes[0].contains("ignored; did you mean ETCD_DATA_DIR?"),
        "{notes:?}"
    );
    assert_eq!(notes[1], "HEADWATER_COLOUR is no setting and is ignored");
    assert!(notes[2].contains("ETCD_LOGGER"), "{notes:?}");
    assert_eq!(run("headwater dev", &set).unwrap().1, [""; 0]);
}

#[test]
fn one_of_ours_that_is_misspelt_is_refused_and_what_kubernetes_sets_is_not() {
    for misspelt in ["HEADWATER_DATADIR", "HEADWATER_data_dir"] {
        let error = run("headwater", &[(misspelt, "/d")]).unwrap_err();
        let expected = format!("{misspelt} is no setting; did you mean HEADWATER_DATA_DIR?");
        assert!(error.contains(&expected), "{error}");
        run("headwater serve --help", &[(misspelt, "/d")]).unwrap();
    }
    let links = [
        "HEADWATER_SERVICE_HOST",
        "HEADWATER_SERVICE_PORT",
        "HEADWATER_PORT",
        "HEADWATER_PORT_2379_TCP_ADDR",
        "HEADWATER_LISTEN_CLIENT_PORT",
    ];
    for link in links {
        let (_, notes) = run("headwater", &[(link, "tcp://10.0.0.1:2379")]).unwrap();
        assert!(
            notes[0].contains("is no setting and is ignored"),
            "{notes:?}"
        );
    }
}

#[test]
fn a_complaint_names_the_place_once_and_no_flag_that_nobody_wrote() {
    let place = |flag: &str| format!("e.yaml:1: {flag}");
    let flags = ["heartbeat-interval", "initial-cluster"];
    let set = flags.map(|flag| (flag.to_owned(), place(flag)));
    let origins = Origins(BTreeMap::from(set));
    for (complaint, expected) in [
        (
            "invalid value 'x' for '--heartbeat-interval <MS>': no number\n\nFor more \
             information, try '--help'.\n",
            "e.yaml:1: heartbeat-interval: invalid value 'x': no number",
        ),
        (
            "--initial-cluster: \"a\" is not NAME=URL",
            "e.yaml:1: initial-cluster: \"a\" is not NAME=URL",
        ),
        (
            "--election-timeout (9 ms) should be at least 5 times --heartbeat-interval (8 ms)",
            "e.yaml:1: heartbeat-interval: --election-timeout (9 ms) should be at least 5 times \
             --heartbeat-interval (8 ms)",
        ),
        ("--name must not be empty", "--name must not be empty"),
    ] {
        assert_eq!(origins.explain(complaint), expected);
    }
}

#[test]
fn gos_single_dash_is_understood() {
    assert_eq!(
        run("headwater -name a -data-dir=/d -h", &[]).unwrap().0,
        "headwater serve --name a --data-dir=/d -h"
    );
}

#[test]
fn a_harmless_flag_of_etcds_is_left_out_with_a_note() {
    let (argv, notes) = run("headwater --logger zap --name a --pre-vote", &[]).unwrap();
    assert_eq!(argv, "headwater serve --name a");
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("--logger"));
}

#[test]
fn a_flag_that_asks_for_safety_we_lack_is_refused() {
    let error = run("headwater --host-whitelist=x", &[]).unwrap_err();
    assert!(
        error.contains("--host-whitelist") && error.contains("trusted clients"),
        "{error}"
    );
    assert!(error.contains("leave the flag out"), "{error}");
    for variable in ["ETCD_HOST_WHITELIST", "HEADWATER_HOST_WHITELIST"] {
        let error = run("headwater", &[(variable, "x")]).unwrap_err();
        assert!(error.contains(&format!("unset {variable}")), "{error}");
        assert!(!error.contains("flag"), "{error}");
    }
    run("headwater --cors=false", &[("ETCD_HOST_WHITELIST", "")]).unwrap();
}
