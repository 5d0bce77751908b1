//! What a command prints: the same rows as a table for people, as JSON, as YAML, or as plain lines for other programs.
//!
//! Text of users goes to a terminal, so control characters never leave here but as escapes.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use crate::text;

/// `-o`, to be flattened into a command's arguments.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// The form of what is printed.
    #[arg(long = "output", short = 'o', value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Airflow's words for the forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns that line up, for people.
    Table,
    /// A list of objects.
    Json,
    /// The same as YAML.
    Yaml,
    /// A heading and a line a row, fields separated by tabs.
    Plain,
}

/// Rows of one kind, each with a value a column.
#[derive(Debug, Clone)]
pub struct Listing {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Listing {
    /// An empty one.
    #[must_use]
    pub const fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, in the order of the columns; null where there is nothing to say.
    pub fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        let row: Vec<Value> = row.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a row has a value for each column");
        self.rows.push(row);
    }

    /// Prints it to standard output.
    pub fn print(&self, output: Output) {
        out!("{}", self.render(output.format));
    }

    /// The text in a form, ending with a line break.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let text = serde_json::to_string_pretty(&self.objects()).expect("JSON values can be written as JSON");
                format!("{text}\n")
            }
            Format::Yaml => dag::yaml_of(&Value::Array(self.objects().into_iter().map(Value::Object).collect())),
            Format::Table if self.rows.is_empty() => "No data found\n".to_owned(),
            Format::Table => text::table(self.columns, &self.cells()),
            Format::Plain => self.plain(),
        }
    }

    /// Each row with a line a column, for rows that are too wide for a table.
    #[must_use]
    pub fn properties(&self) -> String {
        let width = self.columns.iter().map(|name| name.len()).max().unwrap_or_default();
        let line = |(name, text): (&&str, String)| format!("{name:width$}  {text}").trim_end().to_owned() + "\n";
        let row = |cells: Vec<String>| self.columns.iter().zip(cells).map(line).collect::<String>();
        self.cells().into_iter().map(row).collect::<Vec<_>>().join("\n")
    }

    fn objects(&self) -> Vec<Map<String, Value>> {
        let object = |row: &Vec<Value>| -> Map<String, Value> {
            self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect()
        };
        self.rows.iter().map(object).collect()
    }

    fn plain(&self) -> String {
        let heading = std::iter::once(self.columns.join("\t"));
        let lines = heading.chain(self.cells().into_iter().map(|row| row.join("\t")));
        lines.map(|line| line + "\n").collect()
    }

    fn cells(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }
}

/// A value as people read it, on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
}

/// Text that can not move the cursor, colour the terminal or begin a new row.
#[must_use]
pub fn visible(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pools() -> Listing {
        let mut listing = Listing::new(&["pool", "slots", "description"]);
        listing.push([json!("etl"), json!(3), json!("two\nlines \u{1b}[31m")]);
        listing.push([json!("big"), json!(-1), Value::Null]);
        listing
    }

    #[test]
    fn people_get_columns_and_no_control_characters() {
        let expected = "pool  slots  description\netl   3      two\\nlines \\u{1b}[31m\nbig   -1\n";
        assert_eq!(pools().render(Format::Table), expected);
    }

    #[test]
    fn programs_get_json_yaml_or_tabs() {
        let parsed: Value = serde_json::from_str(&pools().render(Format::Json)).unwrap();
        assert_eq!(parsed[1], json!({"pool": "big", "slots": -1, "description": null}));
        let yaml = concat!(
            "- pool: etl\n  slots: 3\n  description: \"two\\nlines \\u001b[31m\"\n",
            "- pool: big\n  slots: -1\n  description: null\n"
        );
        assert_eq!(pools().render(Format::Yaml), yaml);
        assert!(pools().render(Format::Plain).starts_with("pool\tslots\tdescription\netl\t3\t"));
    }

    #[test]
    fn no_rows_are_said_to_people_and_are_an_empty_list_to_programs() {
        let empty = Listing::new(&["pool"]);
        assert_eq!(empty.render(Format::Table), "No data found\n");
        assert_eq!(empty.render(Format::Json), "[]\n");
        assert_eq!(empty.render(Format::Yaml), "[]\n");
    }
}
