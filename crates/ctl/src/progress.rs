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
    /// Anything else, by this name.
    Of(&'static str),
}

impl Unit {
    /// So much, of so much if that is known.
    fn text(self, done: u64, total: Option<u64>) -> String {
        let number = |number| match self {
            Self::Bytes => BinaryBytes(number).to_string(),
            Self::Of(_) => HumanCount(number).to_string(),
        };
        let of = total.map_or_else(String::new, |total| format!(" of {}", number(total)));
        let name = match self {
            Self::Bytes => String::new(),
            Self::Of(name) => format!(" {name}"),
        };
        format!("{}{of}{name}", number(done))
    }

    /// What of the bar's style counts.
    fn style(self, has_total: bool) -> String {
        match (self, has_total) {
            (Self::Bytes, true) => {
                "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
                    .to_owned()
            }
            (Self::Bytes, false) => {
                "{msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}".to_owned()
            }
            (Self::Of(name), _) => {
                format!("{{msg}} [{{bar:30}}] {{human_pos}} of {{human_len}} {name}, {{eta}} left")
            }
        }
    }
}

/// A step that goes on.
pub struct Progress {
    what: String,
    unit: Unit,
    bar: ProgressBar,
    /// Whether lines are printed, for want of a terminal.
    speaks: bool,
    /// Whether its end is told.
    tells_end: bool,
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
            speaks: bar.is_hidden(),
            tells_end: true,
            bar,
            begun: now,
            said: now,
            done: 0,
            total: None,
        };
        progress.dress();
        progress
    }

    /// A step of this size that shows on a terminal alone, and tells nothing when it ends.
    pub fn on_terminal(what: impl Into<String>, unit: Unit, total: u64) -> Self {
        let mut progress = Self {
            speaks: false,
            tells_end: false,
            ..Self::begin(what, unit)
        };
        progress.at(0, Some(total));
        progress
    }

    /// A style for what is known.
    fn dress(&self) {
        // A word that indicatif does not know would be an error of ours; the bar is then its own.
        if let Ok(style) = ProgressStyle::with_template(&self.unit.style(self.total.is_some())) {
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
        if self.speaks && self.said.elapsed() >= LINE_EVERY {
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
        if !self.tells_end {
            return;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let (what, done) = (&self.what, self.unit.text(self.done, None));
        eprintln!("{what}: {done} in {seconds:.1} s");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_named() {
        assert_eq!(
            Unit::Of("keys").text(1234, Some(10_000)),
            "1,234 of 10,000 keys"
        );
        assert_eq!(Unit::Bytes.text(2048, None), "2.00 KiB");
        for (unit, has_total) in [
            (Unit::Bytes, true),
            (Unit::Bytes, false),
            (Unit::Of("s"), true),
        ] {
            let style = unit.style(has_total);
            assert!(ProgressStyle::with_template(&style).is_ok(), "{style}");
        }
    }
}
