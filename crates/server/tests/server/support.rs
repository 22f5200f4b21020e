//! A server process for tests, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

#[path = "../../../../tests/etcd/src/port.rs"]
mod port;

pub use port::Port;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program, with none of the caller's settings.
pub fn headwater() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ETCD_") || text.starts_with("HEADWATER_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What the program says, and how it ends, when run with `arguments`.
pub fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = headwater()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program is there");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status, text(stdout), text(stderr))
}

/// A port that is free, and the caller's as long as it is held.
pub fn free_port() -> Port {
    Port::reserve().expect("a port is free")
}

/// Flags of a server's own, for where it listens; the usual port for peers is for the tests of
/// `headwater dev`.
pub fn listen_flags([client, peer]: &[Port; 2]) -> [String; 2] {
    let (client, peer) = (client.number, peer.number);
    [
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
    ]
}

/// A server of one, killed when dropped.
pub struct Server {
    /// Its port for clients.
    pub port: u16,
    /// Its port for peers.
    pub peer_port: u16,
    /// What it logged until it was ready.
    pub said: Vec<String>,
    child: Child,
    /// Held until the process is gone.
    _ports: [Port; 2],
}

impl Server {
    /// Starts a server with its data in `dir` and waits until it serves and proposes nothing more
    /// of its own accord.
    pub fn start(dir: &Path, flags: &[&str]) -> Self {
        let ports = [free_port(), free_port()];
        let mut command = headwater();
        command
            .arg("--data-dir")
            .arg(dir)
            .args(listen_flags(&ports))
            .args(flags);
        Self::run(command, ports)
    }

    /// Starts a server by a command that has it listen on these ports, and waits in the same way.
    pub fn run(mut command: Command, ports: [Port; 2]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is there");
        let log = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(log).lines();
        let mut said = Vec::new();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
            let is_settled = line.contains("known to the cluster");
            said.push(line);
            is_settled
        });
        let serves = |line: &String| line.contains("ready to serve client requests");
        assert!(
            is_ready && said.iter().any(serves),
            "it ended before it was ready:\n{}",
            said.join("\n")
        );
        // The log must be read on, or the server would block when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            port: ports[0].number,
            peer_port: ports[1].number,
            said,
            child,
            _ports: ports,
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill(1) is there").success());
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The status line, headers and body of an answer over plain HTTP/1.1.
    pub fn http(&self, method: &str, path: &str) -> String {
        self.http_accepting(method, path, "*/*")
    }

    /// The same, asking for a type.
    pub fn http_accepting(&self, method: &str, path: &str, accept: &str) -> String {
        http_at(self.port, method, path, accept)
    }
}

/// The same of any port.
pub fn http_at(port: u16, method: &str, path: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
