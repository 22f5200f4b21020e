//! Figures of all rounds, and the tables that are made of them.
//! Never an average: medians with the least and the most, and quotients within one round.

use serde_json::{Value, json};

use crate::contender::Contender;

/// One figure of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What was measured.
    pub measurement: &'static str,
    /// Commands in flight, where that varies; else zero.
    pub width: usize,
    /// Whose.
    pub contender: Contender,
    /// In which round.
    pub round: usize,
    /// Which figure.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The figure.
    pub name: &'static str,
    /// Digits behind the point.
    pub decimals: usize,
}

/// A table of one measurement: rows are widths and contenders.
#[derive(Debug)]
pub struct Table {
    /// The measurement.
    pub measurement: &'static str,
    /// Its head.
    pub title: &'static str,
    /// What is shown.
    pub columns: &'static [Column],
    /// The figure by which ours are compared with the rivals'; less is better.
    pub compared: &'static str,
}

/// The figures of all rounds.
#[derive(Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds one.
    pub fn push(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// Prints a table, as Markdown; nothing if nothing of it was measured.
    pub fn print(&self, table: &Table) {
        let mut rows: Vec<(usize, Contender)> = Vec::new();
        for figure in self.of(table.measurement) {
            let row = (figure.width, figure.contender);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        // Rounds begin with different contenders; tables do not.
        let place = |contender| Contender::ALL.iter().position(|&other| other == contender);
        rows.sort_by_key(|&(width, contender)| (width, place(contender)));
        let Some(&(first_width, _)) = rows.first() else {
            return;
        };
        let has_widths = first_width > 0;
        println!("\n{}\n", table.title);
        self.print_head(table, has_widths);
        for (width, contender) in rows {
            let mut cells = Vec::new();
            if has_widths {
                cells.push(width.to_string());
            }
            cells.push(contender.name().to_string());
            for column in table.columns {
                let values = self.values(table.measurement, width, contender, column.name);
                cells.push(span(
                    values.into_iter().map(|(_, value)| value),
                    column.decimals,
                ));
            }
            for rival in Contender::RIVALS {
                cells.push(self.quotient(table, width, contender, rival));
            }
            println!("| {} |", cells.join(" | "));
        }
    }

    fn print_head(&self, table: &Table, has_widths: bool) {
        let mut head = Vec::new();
        if has_widths {
            head.push("in flight".to_string());
        }
        head.push(String::new());
        head.extend(table.columns.iter().map(|column| column.name.to_string()));
        let rivals = Contender::RIVALS.iter();
        head.extend(rivals.map(|rival| format!("{}: times this", rival.name())));
        println!("| {} |", head.join(" | "));
        println!("|{}", "---|".repeat(head.len()));
    }

    /// How many times the rival's figure is this contender's, round by round.
    fn quotient(&self, table: &Table, width: usize, ours: Contender, rival: Contender) -> String {
        if Contender::RIVALS.contains(&ours) {
            return String::new();
        }
        let of = |contender| self.values(table.measurement, width, contender, table.compared);
        let rivals = of(rival);
        let quotients = of(ours).into_iter().filter_map(|(round, value)| {
            let (_, other) = rivals.iter().find(|(other, _)| *other == round)?;
            Some(other / value)
        });
        span(quotients, 1)
    }

    fn of(&self, measurement: &'static str) -> impl Iterator<Item = &Figure> {
        let same = move |figure: &&Figure| figure.measurement == measurement;
        self.0.iter().filter(same)
    }

    /// A figure with the rounds it was taken in.
    fn values(
        &self,
        measurement: &'static str,
        width: usize,
        contender: Contender,
        name: &str,
    ) -> Vec<(usize, f64)> {
        let here = |figure: &&Figure| {
            (figure.width, figure.contender, figure.name) == (width, contender, name)
        };
        let figures = self.of(measurement).filter(here);
        figures.map(|figure| (figure.round, figure.value)).collect()
    }

    /// Everything, as JSON.
    pub fn json(&self) -> Value {
        let figures = self.0.iter().map(|figure| {
            json!({
                "measurement": figure.measurement,
                "in_flight": figure.width,
                "contender": figure.contender.name(),
                "round": figure.round,
                "figure": figure.name,
                "value": figure.value,
            })
        });
        Value::Array(figures.collect())
    }
}

/// The median, with the least and the most.
fn span(figures: impl Iterator<Item = f64>, decimals: usize) -> String {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let (Some(least), Some(most)) = (figures.first(), figures.last()) else {
        return "-".to_string();
    };
    let median = if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    };
    if figures.len() == 1 {
        return format!("{median:.decimals$}");
    }
    format!("{median:.decimals$} ({least:.decimals$}..{most:.decimals$})")
}
