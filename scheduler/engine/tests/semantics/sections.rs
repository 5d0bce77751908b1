//! Which function answers the cases of which section.

use serde_json::Value;

use crate::{critical_section, dagrun_scenarios, prev_dagrun, retry, timetables, trigger_rules, weights};

/// What came of a case.
pub enum Outcome {
    /// Two answers: Airflow's and ours.
    Compared { agreement: Agreement, expected: String, actual: String },
    /// A DAG file can not say this yet.
    NotYet(&'static str),
}

/// Whether our answer is right by Airflow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    Agrees,
    Differs,
}

impl Outcome {
    /// Two answers that have to be equal.
    pub fn of<T: std::fmt::Debug + PartialEq>(expected: &T, actual: &T) -> Self {
        Self::when(expected == actual, expected, actual)
    }

    /// Two answers of which the caller knows whether they agree.
    pub fn when<T: std::fmt::Debug>(agrees: bool, expected: &T, actual: &T) -> Self {
        let agreement = if agrees { Agreement::Agrees } else { Agreement::Differs };
        Self::Compared { agreement, expected: format!("{expected:?}"), actual: format!("{actual:?}") }
    }

    /// We answer something that Airflow's answer can not be compared with.
    pub fn differs(case: &Value, actual: String) -> Self {
        Self::Compared { agreement: Agreement::Differs, expected: case["expected"].to_string(), actual }
    }
}

/// Answers a case; panics when it does not fit its section.
pub fn answer(section: &str, case: &Value) -> Outcome {
    match section {
        "simple" | "unfinished" => trigger_rules::simple(case),
        "flag_off" => trigger_rules::flag_off(case),
        "teardown" => trigger_rules::teardown(case),
        "setup_constraint" => trigger_rules::setup_constraint(case),
        "mapped" => trigger_rules::mapped(case),
        "past_depends" => trigger_rules::past_depends(case),
        "series" => timetables::series(case),
        "timeline" => timetables::timeline(case),
        "next" => timetables::next(case),
        "manual" => timetables::manual(case),
        "step" => timetables::step(case),
        "dialect" => timetables::dialect(case),
        "dagrun_scenarios" => dagrun_scenarios::scenario(case),
        "critical_section" => critical_section::granted(case),
        "prev_dagrun" => prev_dagrun::met(case),
        "retry" => retry::delay(case),
        "weights" => weights::weights(case),
        _ => Outcome::NotYet("a section that this program does not know"),
    }
}

/// The typed form of a case.
pub fn read<T: serde::de::DeserializeOwned>(case: &Value) -> T {
    T::deserialize(case).unwrap_or_else(|error| panic!("the case has another form: {error}"))
}
