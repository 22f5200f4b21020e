//! Tables drawn with lines.
//! Never decides what stands in them.
//!
//! # Source
//! etcdctl's `--write-out=table`.

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns, each text at the right of its cell.
    pub fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(|name| name.to_uppercase()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.heading.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The rows alone, their cells between commas.
    pub fn lines(&self) -> String {
        let lines = self.rows.iter().map(|row| format!("{}\n", row.join(", ")));
        lines.collect()
    }

    /// The drawing.
    pub fn draw(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| &row[column]);
            let cells = cells.chain([&self.heading[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        let border = format!("+{}+\n", dashes.join("+"));
        let heading = line(&self.heading, &widths, |cell, width| {
            format!("{cell:^width$}")
        });
        let mut drawing = format!("{border}{heading}{border}");
        for row in &self.rows {
            drawing += &line(row, &widths, |cell, width| format!("{cell:>width$}"));
        }
        if !self.rows.is_empty() {
            drawing += &border;
        }
        drawing
    }
}

fn line(cells: &[String], widths: &[usize], place: impl Fn(&str, usize) -> String) -> String {
    let cells = cells.iter().zip(widths);
    let placed: Vec<String> = cells.map(|(cell, width)| place(cell, *width)).collect();
    format!("| {} |\n", placed.join(" | "))
}
