//! Shell commands with the output they must have, as files: `$ command`, then its output. A line
//! `> ` goes on with the command; `sorted` before it is for output whose order does not matter.
//!
//! With `UPDATE_GOLDEN=1` the files are rewritten with what the server at hand answers; run that
//! against real etcd only, and read the difference as code.

use crate::cluster::Cluster;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names in a cluster that differ from run to run, and what stands for them in golden files.
#[derive(Debug)]
pub struct Names(Vec<(String, String)>);

impl Names {
    /// Asks a running cluster for its names.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn of(cluster: &Cluster) -> Result<Names> {
        let mut names = Vec::new();
        let mut client = cluster.client(0, Duration::from_secs(5)).await?;
        let list = client.member_list().await?;
        let cluster_id = list
            .header()
            .context("an answer without a header")?
            .cluster_id();
        let mut ids = vec![(cluster_id, "CLUSTER".to_string())];
        for member in list.members() {
            ids.push((member.id(), "MEMBER".to_string()));
        }
        for (id, name) in ids {
            names.push((format!("{id:x}"), name.clone()));
            names.push((id.to_string(), name));
        }
        for (number, member) in (1..).zip(&cluster.members) {
            names.push((member.client_url(), format!("CLIENT_URL_{number}")));
            names.push((
                member.client_url().replace("http://", ""),
                format!("ENDPOINT_{number}"),
            ));
            names.push((member.peer_url(), format!("PEER_URL_{number}")));
        }
        let status = client.status().await?;
        names.push((status.version().to_string(), "VERSION".to_string()));
        Ok(Names(names))
    }

    /// Output as golden files have it: without times, terms, log lines and drawn boxes.
    pub fn normalise(&self, output: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        for line in output.lines() {
            // etcdctl's own log, and the borders of tables.
            if line.starts_with("{\"level\":") || line.starts_with("+--") {
                continue;
            }
            let mut line = line.trim_end().to_string();
            if line.starts_with("| ") {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                line = cells.join(" | ").trim().to_string();
            }
            for (real, name) in &self.0 {
                line = line.replace(real, name);
            }
            // etcdctl fills up an id that is short by chance.
            while line.contains("cluster  ") {
                line = line.replace("cluster  ", "cluster ");
            }
            line = blank_after(&line, "\"raft_term\":", |c| c.is_ascii_digit());
            line = blank_after(&line, "\"RaftTerm\" : ", |c| c.is_ascii_digit());
            line = blank_after(&line, "took = ", |c| c != ' ');
            lines.push(line);
        }
        lines.join("\n").trim_end().to_string()
    }
}

/// Leaves out what stands below an error.
fn without_hints(printed: &str) -> String {
    let mut is_error = false;
    let lines = printed.lines().filter(|line| {
        let is_hint = is_error && line.starts_with("  ");
        is_error = is_hint || line.starts_with("Error: ");
        !is_hint
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Replaces what follows each `mark`, as far as `goes` says, by one letter.
fn blank_after(line: &str, mark: &str, goes: impl Fn(char) -> bool) -> String {
    let mut parts = line.split(mark);
    let mut result = parts.next().unwrap_or_default().to_string();
    for part in parts {
        result.push_str(mark);
        result.push('N');
        result.push_str(part.trim_start_matches(&goes));
    }
    result
}

/// A golden file: what stands before the first command, then the commands with their output.
struct Script {
    head: String,
    steps: Vec<Step>,
}

struct Step {
    command: String,
    /// Comments that follow this step's output, up to the next command.
    comment: String,
    expected: String,
}

impl Step {
    /// Runs it; `tools` is a folder of programs that come before the machine's.
    fn print(&self, cluster: &Cluster, names: &Names, tools: Option<&Path>) -> Result<String> {
        let (command, sorted) = match self.command.strip_prefix("sorted ") {
            Some(command) => (command, true),
            None => (self.command.as_str(), false),
        };
        let mut printed = names.normalise(&shell_with(cluster, command, tools)?);
        if tools.is_some() {
            printed = without_hints(&printed);
        }
        if sorted {
            let mut lines: Vec<&str> = printed.lines().collect();
            lines.sort_unstable();
            printed = lines.join("\n");
        }
        Ok(printed)
    }

    fn difference(&self, expected: &str, printed: &str) -> String {
        let command = &self.command;
        format!("$ {command}\n--- must print\n{expected}\n--- prints\n{printed}")
    }
}

impl Script {
    fn parse(text: &str) -> Script {
        let mut script = Script {
            head: String::new(),
            steps: Vec::new(),
        };
        for line in text.lines() {
            let last = script.steps.last_mut();
            if let Some(command) = line.strip_prefix("$ ") {
                let command = command.to_string();
                script.steps.push(Step {
                    command,
                    comment: String::new(),
                    expected: String::new(),
                });
            } else if let Some(continued) = line.strip_prefix("> ") {
                let step = last.expect("a line goes on that did not begin");
                step.command.push('\n');
                step.command.push_str(continued);
            } else {
                let (head, step) = (&mut script.head, last);
                let text = match step {
                    Some(step) if line.starts_with('#') => &mut step.comment,
                    Some(step) if step.comment.is_empty() => &mut step.expected,
                    Some(step) => &mut step.comment,
                    None => head,
                };
                text.push_str(line);
                text.push('\n');
            }
        }
        script
    }

    fn print(&self) -> String {
        let mut text = self.head.clone();
        for step in &self.steps {
            text += &format!("$ {}\n", step.command.replace('\n', "\n> "));
            let expected = step.expected.trim_end();
            if !expected.is_empty() {
                text += &format!("{expected}\n");
            }
            text += "\n";
            text += &step.comment;
        }
        text.trim_end().to_string() + "\n"
    }
}

/// How a command's output differs from its golden file, one text for each command.
pub type Differences = Vec<String>;

/// Runs the commands of a golden file in a shell and compares what they print; both streams count,
/// and so does the exit code unless it is zero. The shell finds `ENDPOINTS` and `EP1` and so on.
///
/// # Errors
/// If the file cannot be read or written, or a shell cannot be started.
pub async fn run(cluster: &Cluster, path: &Path) -> Result<Differences> {
    run_with(cluster, path, None).await
}

/// The same, with the programs in the folder `tools` before the machine's. What those add to their
/// errors on lines of its own, which begin with two spaces, is left out.
///
/// # Errors
/// As for `run`.
pub async fn run_with(cluster: &Cluster, path: &Path, tools: Option<&Path>) -> Result<Differences> {
    let names = Names::of(cluster).await?;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let mut script = Script::parse(&text);
    let mut differences = Vec::new();
    for step in &mut script.steps {
        let printed = step.print(cluster, &names, tools)?;
        if printed != step.expected.trim_end() {
            differences.push(step.difference(step.expected.trim_end(), &printed));
            step.expected = printed;
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, script.print())?;
        return Ok(Vec::new());
    }
    Ok(differences)
}

/// Runs the commands of a golden file with the programs in `tools`, on two clusters at once; what the file
/// says that they print does not count, only that both print the same.
///
/// # Errors
/// If the file cannot be read, or a shell cannot be started.
pub async fn compare(
    ours: &Cluster,
    theirs: &Cluster,
    path: &Path,
    tools: &Path,
) -> Result<Differences> {
    let names = [Names::of(ours).await?, Names::of(theirs).await?];
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let mut differences = Vec::new();
    for step in Script::parse(&text).steps {
        let run = |cluster, names| step.print(cluster, names, Some(tools));
        let (printed, expected) = std::thread::scope(|scope| {
            let expected = scope.spawn(|| run(theirs, &names[1]));
            (
                run(ours, &names[0]),
                expected.join().expect("a shell that ends"),
            )
        });
        let (printed, expected) = (printed?, expected?);
        if printed != expected {
            differences.push(step.difference(&expected, &printed));
        }
    }
    Ok(differences)
}

/// What golden files may use beside the commands of the machine. Nothing in it hangs on how fast the
/// machine is.
const PRELUDE: &str = r#"
# lines N COMMAND...: runs what has no end of its own until it has printed N lines, and a moment more.
lines() {
  count=$1 && shift
  said=$(mktemp)
  "$@" >"$said" 2>&1 &
  for _ in $(seq 200); do
    [ "$(wc -l <"$said")" -lt "$count" ] || break
    sleep 0.1
  done
  sleep 0.3
  kill -s "${SIGNAL:-TERM}" $! 2>/dev/null
  wait $! 2>/dev/null
  cat "$said"
  rm "$said"
}

# watched N: waits until N watches are there that have just been asked for.
watched() {
  # Those that have just ended may still be counted.
  sleep 0.5
  for _ in $(seq 200); do
    pages=$(curl --silent "$EP1/metrics" "$EP2/metrics" "$EP3/metrics")
    all=$(echo "$pages" | awk '/^etcd_debugging_mvcc_watcher_total / { n += $2 } END { print n + 0 }')
    [ "$all" -lt "$1" ] || break
    sleep 0.1
  done
}

# held NAME: waits until somebody holds this lock, or leads in this election.
held() {
  for _ in $(seq 200); do
    [ -z "$(etcdctl get "$1/" --prefix --keys-only)" ] || break
    sleep 0.1
  done
}
"#;

/// Runs a command; gives back what it printed on both streams, and its exit code unless zero.
///
/// # Errors
/// If there is no shell.
pub fn shell(cluster: &Cluster, command: &str) -> Result<String> {
    shell_with(cluster, command, None)
}

/// The same, with the programs in the folder `tools` before the machine's.
///
/// # Errors
/// As for `shell`.
pub fn shell_with(cluster: &Cluster, command: &str, tools: Option<&Path>) -> Result<String> {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("exec 2>&1\n{PRELUDE}\n{command}"))
        .stdin(Stdio::null());
    if let Some(tools) = tools {
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", tools.display()));
    }
    let urls: Vec<String> = cluster
        .members
        .iter()
        .map(|member| member.client_url())
        .collect();
    for (number, url) in (1..).zip(&urls) {
        shell.env(format!("EP{number}"), url);
    }
    let endpoints = urls.join(",");
    shell
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", &endpoints)
        .env("ENDPOINTS", endpoints);
    let output = shell.output().context("cannot start a shell")?;
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let code = output
            .status
            .code()
            .map_or("a signal".to_string(), |code| code.to_string());
        printed = format!("{}\n[exit {code}]", printed.trim_end());
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn an_id_that_is_short_by_chance_is_named_like_any_other() {
        let names = Names(vec![("abc".to_string(), "CLUSTER".to_string())]);
        let line = format!("Member NEW removed from cluster {:>16}", "abc");
        assert_eq!(
            names.normalise(&line),
            "Member NEW removed from cluster CLUSTER"
        );
    }
}
