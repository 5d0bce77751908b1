//! Counts, mismatches, and what is answered where Airflow's answer is a defect.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use serde_json::Value;

use crate::sections::{Agreement, Outcome, answer};

/// How many mismatches are shown.
const SHOWN_MAX: usize = 10;

/// What came of all cases.
#[derive(Default)]
pub struct Report {
    total: Counts,
    mismatches: Vec<String>,
    anomalies: Vec<String>,
    not_yet: BTreeMap<String, usize>,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// Runs the cases of a section and prints its line.
    pub fn section(&mut self, label: &str, section: &str, cases: &[Value]) {
        let mut counts = Counts::default();
        for case in cases {
            self.case(label, section, case, &mut counts);
        }
        let skipped = if counts.skipped > 0 { format!(", {} skipped", counts.skipped) } else { String::new() };
        println!("{label} {} passed, {} failed{skipped}", counts.passed, counts.failed);
        self.total.passed += counts.passed;
        self.total.failed += counts.failed;
        self.total.skipped += counts.skipped;
    }

    fn case(&mut self, label: &str, section: &str, case: &Value, counts: &mut Counts) {
        let id = case["id"].as_str().unwrap_or("a case without id");
        let outcome = catch_unwind(AssertUnwindSafe(|| answer(section, case)));
        let outcome =
            outcome.unwrap_or_else(|panic| Outcome::differs(case, format!("a panic: {}", text_of(panic.as_ref()))));
        let anomaly = case.get("anomaly").filter(|anomaly| !anomaly.is_null());
        match (outcome, anomaly) {
            (Outcome::NotYet(why), _) => {
                counts.skipped += 1;
                *self.not_yet.entry(format!("{label}: {why}")).or_default() += 1;
            }
            (Outcome::Compared { expected, actual, .. }, Some(anomaly)) => {
                counts.skipped += 1;
                self.anomalies.push(format!("{id}: {anomaly}\n    Airflow  {expected}\n    Windlass {actual}"));
            }
            (Outcome::Compared { agreement: Agreement::Agrees, .. }, None) => counts.passed += 1,
            (Outcome::Compared { agreement: Agreement::Differs, expected, actual }, None) => {
                counts.failed += 1;
                self.mismatches.push(format!("{label} {id}\n    expected {expected}\n    actual   {actual}"));
            }
        }
    }

    /// Prints the rest of the report; the last line is the total.
    pub fn finish(self) -> ExitCode {
        if !self.anomalies.is_empty() {
            println!("\nwhere Airflow's answer is a defect:");
            self.anomalies.iter().for_each(|anomaly| println!("  {anomaly}"));
        }
        if !self.not_yet.is_empty() {
            println!("\nskipped, because no DAG file can say it yet:");
            self.not_yet.iter().for_each(|(why, count)| println!("  {count} of {why}"));
        }
        if !self.mismatches.is_empty() {
            println!("\nmismatches, the first {SHOWN_MAX}:");
            self.mismatches.iter().take(SHOWN_MAX).for_each(|mismatch| println!("  {mismatch}"));
        }
        let Counts { passed, failed, skipped } = self.total;
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
