//! `--config-file`: a file of settings, each called as the flag that it stands for.
//! Never judges a value: it goes where the command line goes.
//!
//! # Source
//! etcd's configuration file; YAML 1.2.

use std::collections::BTreeMap;
use std::path::Path;

use yaml_rust2::Event;
use yaml_rust2::parser::Parser;
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

/// One setting of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The flag that it stands for, without dashes.
    pub flag: String,
    /// Its value; what is not set is left out.
    pub value: String,
    /// The file, the line and the key, for texts.
    pub place: String,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or holds something else than settings; the text names file and line.
pub fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    parse(&file, &text)
}

fn parse(file: &str, text: &str) -> Result<Vec<Entry>, String> {
    let mut reader = Reader {
        file,
        parser: Parser::new_from_str(text),
        entries: Vec::new(),
        lines: BTreeMap::new(),
    };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart | Event::DocumentEnd, _) => {}
            (Event::MappingStart(..), at) if reader.lines.is_empty() => {
                reader.section(&[], at)?;
            }
            (Event::Scalar(text, style, ..), _) if is_nothing(&text, style) => {}
            (Event::StreamEnd, _) => return Ok(reader.entries),
            (_, at) => {
                let what = "a line is not a setting like \"name: n1\"";
                return Err(reader.complaint(at, what));
            }
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    parser: Parser<std::str::Chars<'a>>,
    entries: Vec<Entry>,
    /// Where each flag is set.
    lines: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<(Event, Marker), String> {
        let next = self.parser.next_token();
        next.map_err(|error: ScanError| self.complaint(*error.marker(), error.info()))
    }

    fn complaint(&self, at: Marker, what: &str) -> String {
        format!("{}:{}: {what}", self.file, at.line())
    }

    /// Keys and values to the section's end; `sections`: what it stands in.
    fn section(&mut self, sections: &[&str], begin: Marker) -> Result<(), String> {
        self.lines.entry(sections.join(".")).or_insert(begin.line());
        loop {
            let (key, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(()),
                (Event::Scalar(key, ..), at) => (key, at),
                (_, at) => return Err(self.complaint(at, "a key must be a word")),
            };
            let path = [sections, &[key.as_str()]].concat();
            let value = match self.next()? {
                (Event::Scalar(value, style, ..), _) if is_nothing(&value, style) => continue,
                (Event::Scalar(value, ..), _) => value,
                (Event::SequenceStart(..), _) => self.list(&key)?,
                (Event::MappingStart(..), at) if is_section(&path) => {
                    self.section(&path, at)?;
                    continue;
                }
                (Event::MappingStart(..), at) => {
                    let what = format!("{key}: it is no section, and takes a value");
                    return Err(self.complaint(at, &what));
                }
                (_, at) => {
                    let what = format!("{key}: write the value out: aliases are not followed");
                    return Err(self.complaint(at, &what));
                }
            };
            if !value.is_empty() {
                self.set(&path, value, at)?;
            }
        }
    }

    fn set(&mut self, path: &[&str], value: String, at: Marker) -> Result<(), String> {
        let key = path.join(".");
        let flag = flag(path).map_err(|why| self.complaint(at, &format!("{key}: {why}")))?;
        if let Some(line) = self.lines.insert(flag.clone(), at.line()) {
            let what = format!("{key}: it is set in line {line} already");
            return Err(self.complaint(at, &what));
        }
        let place = self.complaint(at, &key);
        self.entries.push(Entry { flag, value, place });
        Ok(())
    }

    /// A list, as flags have it: with commas.
    fn list(&mut self, key: &str) -> Result<String, String> {
        let mut parts = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(parts.join(",")),
                (Event::Scalar(part, ..), _) => parts.push(part),
                (_, at) => {
                    let what = format!("{key}: a list holds words alone");
                    return Err(self.complaint(at, &what));
                }
            }
        }
    }
}

/// Whether nothing is set.
fn is_nothing(value: &str, style: TScalarStyle) -> bool {
    let is_null = matches!(value, "~" | "null" | "Null" | "NULL");
    value.is_empty() || is_null && style == TScalarStyle::Plain
}

const CLIENTS: &str = "client-transport-security";
const PEERS: &str = "peer-transport-security";
const SOCKETS: &str = "socket-options";
const DISCOVERY: &str = "discovery-config";

fn is_section(path: &[&str]) -> bool {
    matches!(path, [CLIENTS | PEERS | SOCKETS | DISCOVERY]) || path[0] == DISCOVERY
}

/// The flag that a key stands for.
fn flag(path: &[&str]) -> Result<String, String> {
    Ok(match path {
        [CLIENTS, "allowed-cn"] => {
            return Err(
                "clients are let in by --client-cert-allowed-hostname (allowed-hostname) or by their \
                 users' rights, not by common names"
                    .to_owned(),
            );
        }
        [CLIENTS, "allowed-hostname"] => "client-cert-allowed-hostname".to_owned(),
        [CLIENTS, "crl-file"] => "client-crl-file".to_owned(),
        [CLIENTS, key] => (*key).to_owned(),
        [PEERS, key @ ("allowed-cn" | "allowed-hostname")] => format!("peer-cert-{key}"),
        [PEERS, key] => format!("peer-{key}"),
        [SOCKETS, key] => format!("socket-{key}"),
        [DISCOVERY, .., key] => format!("discovery-{key}"),
        path => path.concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Vec<(String, String)>, String> {
        let entries = parse("e.yaml", text)?.into_iter();
        Ok(entries.map(|entry| (entry.flag, entry.value)).collect())
    }

    #[test]
    fn each_key_is_the_flag_of_its_name() {
        let text = "# A comment.\nname: 'n1'\ndata-dir:\nheartbeat-interval: 100\n\
                    log-outputs: [stderr, \"/x\"]\ncors: ''\ninitial-cluster: ~\n";
        let pair = |flag: &str, value: &str| (flag.to_owned(), value.to_owned());
        let expected = [
            pair("name", "n1"),
            pair("heartbeat-interval", "100"),
            pair("log-outputs", "stderr,/x"),
        ];
        assert_eq!(settings(text).unwrap(), expected);
        assert_eq!(settings("").unwrap(), []);
        assert_eq!(settings("# Nothing.\n---\n").unwrap(), []);
    }

    #[test]
    fn sections_become_the_flags_of_their_part() {
        let text = "client-transport-security:\n  cert-file: a\n  client-cert-auth: true\n  \
                    crl-file: r\n  allowed-hostname: [x, y]\npeer-transport-security:\n  cert-file: b\n  \
                    client-cert-auth: true\n  allowed-cn: z\n  crl-file: s\n  auto-tls: false\nsocket-options:\n  \
                    reuse-port: true\ndiscovery-config:\n  client:\n    endpoints: [e]\n  token: t\n";
        let flags: Vec<String> = settings(text)
            .unwrap()
            .into_iter()
            .map(|(f, _)| f)
            .collect();
        let expected = [
            "cert-file",
            "client-cert-auth",
            "client-crl-file",
            "client-cert-allowed-hostname",
            "peer-cert-file",
            "peer-client-cert-auth",
            "peer-cert-allowed-cn",
            "peer-crl-file",
            "peer-auto-tls",
            "socket-reuse-port",
            "discovery-endpoints",
            "discovery-token",
        ];
        assert_eq!(flags, expected);
    }

    #[test]
    fn a_complaint_names_file_line_and_key() {
        for (text, complaint) in [
            (
                "name: a\nname: b",
                "e.yaml:2: name: it is set in line 1 already",
            ),
            ("name: a\n---\nname: b", "e.yaml:3: a line is not a setting"),
            (
                "a: 1\nname:\n  first: b",
                "e.yaml:3: name: it is no section",
            ),
            (
                "log-outputs: [[a]]",
                "e.yaml:1: log-outputs: a list holds words alone",
            ),
            (
                "name: &x a\ndata-dir: *x",
                "e.yaml:2: data-dir: write the value out",
            ),
            ("- name", "e.yaml:1: a line is not a setting"),
            ("name", "e.yaml:1: a line is not a setting"),
            ("name: a\n  b: c", "e.yaml:2: "),
            (
                "client-transport-security:\n  allowed-cn: [a]",
                "e.yaml:2: client-transport-security.allowed-cn: clients are let in by",
            ),
            (
                "peer-transport-security:\n  cert-file: a\npeer-cert-file: b",
                "line 2 already",
            ),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
        let error = read(Path::new("/no/such/file")).unwrap_err();
        assert!(error.contains("/no/such/file: No such file"), "{error}");
    }
}
