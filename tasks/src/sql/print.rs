//! Prints results as they come: as a table for people, as CSV or JSON for programs.
//!
//! Memory is bounded by one batch, for tables by the rows that decide how wide the columns are.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value};

use super::cells::Cells;

/// The rows that decide how wide a table's columns are; later values that are wider stick out.
const MEASURED_ROWS: usize = 1_000;

/// What a result is printed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// One array of objects, one object a line.
    Json,
}

/// Prints the batches of one result.
pub(super) struct Printer<W: Write> {
    out: Output<W>,
    columns: Vec<String>,
    /// Whether a column is of numbers, which a table aligns to the right.
    numeric: Vec<bool>,
}

enum Output<W: Write> {
    Table { out: W, waiting: Vec<Vec<String>>, widths: Option<Vec<usize>> },
    Csv(Box<csv::Writer<W>>),
    Json { out: W, rows: usize },
}

impl<W: Write> Printer<W> {
    /// A printer for results of this schema.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(super) fn new(mut out: W, format: Format, schema: &SchemaRef) -> io::Result<Self> {
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let numeric = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        let out = match format {
            Format::Table => Output::Table { out, waiting: Vec::new(), widths: None },
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(&columns)?;
                Output::Csv(Box::new(writer))
            }
            Format::Json => {
                out.write_all(b"[")?;
                Output::Json { out, rows: 0 }
            }
        };
        Ok(Self { out, columns, numeric })
    }

    /// Prints a batch.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(super) fn print(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let cells = Cells::new(batch).map_err(io::Error::other)?;
        for row in 0..cells.rows() {
            match &mut self.out {
                Output::Csv(writer) => {
                    writer.write_record(cells.text_row(row).into_iter().map(Option::unwrap_or_default))?;
                }
                Output::Json { out, rows } => {
                    let object: Map<String, Value> = self.columns.iter().cloned().zip(cells.json_row(row)).collect();
                    out.write_all(if *rows == 0 { b"\n" } else { b",\n" })?;
                    serde_json::to_writer(&mut *out, &object)?;
                    *rows += 1;
                }
                Output::Table { waiting, .. } => {
                    waiting.push(cells.text_row(row).into_iter().map(Option::unwrap_or_default).collect());
                    if waiting.len() >= MEASURED_ROWS {
                        self.print_waiting()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Prints what is left.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.print_waiting()?;
        match self.out {
            Output::Table { mut out, .. } => out.flush(),
            Output::Csv(mut writer) => writer.flush(),
            Output::Json { mut out, rows } => {
                out.write_all(if rows == 0 { b"]\n" } else { b"\n]\n" })?;
                out.flush()
            }
        }
    }

    fn print_waiting(&mut self) -> io::Result<()> {
        let Output::Table { out, waiting, widths } = &mut self.out else { return Ok(()) };
        let is_first = widths.is_none();
        let widths = widths.get_or_insert_with(|| measure(&self.columns, waiting));
        if is_first {
            let left = vec![false; widths.len()];
            write_line(out, &self.columns, &Layout { widths, right: &left })?;
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(out, "{}", rule.join("-+-"))?;
        }
        for row in waiting.drain(..) {
            write_line(out, &row, &Layout { widths, right: &self.numeric })?;
        }
        Ok(())
    }
}

struct Layout<'a> {
    widths: &'a [usize],
    right: &'a [bool],
}

fn measure(columns: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |text: &String| text.chars().count();
    let widest = |(at, name): (usize, &String)| rows.iter().map(|row| width(&row[at])).fold(width(name), usize::max);
    columns.iter().enumerate().map(widest).collect()
}

fn write_line(out: &mut impl Write, cells: &[String], layout: &Layout<'_>) -> io::Result<()> {
    let padded = cells.iter().zip(layout.widths).zip(layout.right).map(|((cell, width), right)| match right {
        true => format!("{cell:>width$}"),
        false => format!("{cell:<width$}"),
    });
    writeln!(out, "{}", padded.collect::<Vec<_>>().join(" | ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    fn printed(format: Format) -> String {
        let batch = RecordBatch::try_from_iter([
            ("name", Arc::new(StringArray::from(vec![Some("AAPL"), Some("a, \"b\""), None])) as ArrayRef),
            ("price", Arc::new(Float64Array::from(vec![Some(127.0), Some(1.25), None]))),
        ])
        .unwrap();
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, format, &batch.schema()).unwrap();
        printer.print(&batch).unwrap();
        printer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_quotes_only_what_needs_it() {
        assert_eq!(printed(Format::Csv), "name,price\nAAPL,127.0\n\"a, \"\"b\"\"\",1.25\n,\n");
    }

    #[test]
    fn json_is_one_array() {
        let rows: Vec<Value> = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!(rows[0], serde_json::json!({"name": "AAPL", "price": 127.0}));
        assert_eq!(rows[2], serde_json::json!({"name": null, "price": null}));
    }

    #[test]
    fn a_table_aligns_numbers_to_the_right() {
        assert_eq!(
            printed(Format::Table),
            "name   | price\n-------+------\nAAPL   | 127.0\na, \"b\" |  1.25\n       |\n"
        );
    }
}
