//! The server's log: how much, in what form, and where to.
//! Never a reason to stop: what cannot be written is lost, and the server goes on.
//!
//! # Source
//! etcd's flags for its log.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Flags of the log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The log")]
pub struct LogArgs {
    /// How much to say: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Lines to read (console) or lines of JSON (json)
    #[arg(
        long,
        value_name = "FORM",
        value_enum,
        hide_possible_values = true,
        default_value = "console"
    )]
    pub log_format: LogFormat,

    /// Where to, comma-separated: stderr (or default), stdout, files to whose end it is written
    #[arg(long, value_name = "OUTPUTS", default_value = "stderr")]
    pub log_outputs: String,
}

/// The form of a log's lines.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Words.
    Console,
    /// JSON.
    Json,
}

/// Where lines go, and whether somebody sees them there as they come.
struct Output {
    writer: BoxMakeWriter,
    is_terminal: bool,
}

/// Starts the log of this process.
///
/// # Errors
/// A level or an output that there is not; the text names the flag.
pub fn start(args: &LogArgs) -> Result<()> {
    // etcd's words for what tracing calls error.
    let level = match args.log_level.as_str() {
        "panic" | "fatal" | "dpanic" => "error",
        level => level,
    };
    let Ok(level) = level.parse::<LevelFilter>() else {
        bail!("--log-level \"{level}\" is none of error, warn, info, debug, trace");
    };
    let mut layers = Vec::new();
    for name in args.log_outputs.split(',').map(str::trim) {
        layers.push(layer(output(name)?, args.log_format, level));
    }
    tracing_subscriber::registry().with(layers).init();
    Ok(())
}

fn layer(
    output: Output,
    format: LogFormat,
    level: LevelFilter,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    // Below warnings only our own crates speak: what HTTP libraries do is seldom of interest.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("headwater", level);
    let lines = fmt::layer()
        .with_writer(output.writer)
        .with_ansi(output.is_terminal)
        .with_target(false);
    match format {
        LogFormat::Console => lines.with_filter(targets).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_filter(targets)
            .boxed(),
    }
}

fn output(name: &str) -> Result<Output> {
    Ok(match name {
        "stderr" | "default" => Output {
            writer: BoxMakeWriter::new(io::stderr),
            is_terminal: io::stderr().is_terminal(),
        },
        "stdout" => Output {
            writer: BoxMakeWriter::new(io::stdout),
            is_terminal: io::stdout().is_terminal(),
        },
        "" => bail!("--log-outputs names nothing: say stderr, stdout or a file"),
        "systemd/journal" => bail!(
            "--log-outputs: the journal takes in what comes on the standard error: say stderr"
        ),
        path => {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o600).open(path);
            let file = file.with_context(|| format!("--log-outputs {path}"))?;
            Output {
                writer: BoxMakeWriter::new(Mutex::new(file)),
                is_terminal: false,
            }
        }
    })
}
