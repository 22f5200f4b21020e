//! How far a long step is: a bar on a terminal, elsewhere a line each second, and a line at its end.
//! Never slows the step down: what is drawn or printed has its pace.
//!
//! # Source
//! indicatif, which draws the bar.

use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressStyle};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Versions of keys.
    Versions,
}

impl Unit {
    /// So much, of so much if that is known.
    fn text(self, done: u64, total: Option<u64>) -> String {
        let number = |number| match self {
            Self::Bytes => BinaryBytes(number).to_string(),
            Self::Versions => HumanCount(number).to_string(),
        };
        let of = total.map_or_else(String::new, |total| format!(" of {}", number(total)));
        let what = match self {
            Self::Bytes => "",
            Self::Versions => " versions of keys",
        };
        format!("{}{of}{what}", number(done))
    }

    /// What of the bar's style counts.
    fn style(self, has_total: bool) -> &'static str {
        match (self, has_total) {
            (Self::Bytes, true) => {
                "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
            }
            (Self::Bytes, false) => "{msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}",
            (Self::Versions, _) => {
                "{msg} [{bar:30}] {human_pos} of {human_len} versions of keys, {eta} left"
            }
        }
    }
}

/// A step that goes on.
pub struct Progress {
    what: String,
    unit: Unit,
    bar: ProgressBar,
    /// Whether there is a terminal for it.
    is_drawn: bool,
    begun: Instant,
    said: Instant,
    done: u64,
    total: Option<u64>,
}

impl Progress {
    /// A step begins.
    pub fn begin(what: impl Into<String>, unit: Unit) -> Self {
        let (what, now) = (what.into(), Instant::now());
        let bar = ProgressBar::new_spinner().with_message(what.clone());
        let progress = Self {
            what,
            unit,
            is_drawn: !bar.is_hidden(),
            bar,
            begun: now,
            said: now,
            done: 0,
            total: None,
        };
        progress.dress();
        progress
    }

    /// A style for what is known.
    fn dress(&self) {
        // A word that indicatif does not know would be an error of ours; the bar is then its own.
        if let Ok(style) = ProgressStyle::with_template(self.unit.style(self.total.is_some())) {
            self.bar.set_style(style);
        }
    }

    /// It is so far, of so much if that is known.
    pub fn at(&mut self, done: u64, total: Option<u64>) {
        self.done = done;
        if self.total != total {
            let is_first = self.total.is_none();
            self.total = total;
            self.bar.set_length(total.unwrap_or(done));
            if is_first {
                self.dress();
            }
        }
        self.bar.set_position(done);
        if !self.is_drawn && self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            eprintln!("{}: {}", self.what, self.unit.text(done, total));
        }
    }

    /// So much more is done.
    pub fn add(&mut self, more: u64) {
        self.at(self.done + more, self.total);
    }

    /// The step is at its end.
    pub fn end(self) {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        let (what, done) = (&self.what, self.unit.text(self.done, None));
        eprintln!("{what}: {done} in {seconds:.1} s");
    }
}
