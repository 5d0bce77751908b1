//! The rule engine for one task with given upstream states.
//!
//! Cases of setups, teardowns and expanded tasks ask it directly, too: what it counts is compared with whole runs elsewhere.

use engine::rules::{Becomes, Case, Mode, Past, Upstream, Verdict, verdict, verdict_waiting_for_past};
use model::{MapIndex, TaskState, TriggerRule};
use serde::Deserialize;
use serde_json::Value;

use crate::sections::{Outcome, read};

#[derive(Deserialize)]
struct RuleCase {
    rule: TriggerRule,
    upstream: States,
    #[serde(default = "yes")]
    past_depends_met: bool,
    #[serde(default)]
    setup: Option<Symbol>,
    #[serde(default)]
    shape: String,
    expected: Value,
}

/// Symbols in one text, or whole names.
#[derive(Deserialize)]
#[serde(untagged)]
enum States {
    Symbols(String),
    Names(Vec<Option<TaskState>>),
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Symbol(String);

#[derive(Deserialize)]
struct TeardownCase {
    #[serde(default)]
    setups: String,
    #[serde(default)]
    works: String,
    states: Option<ScopeStates>,
    expected: Value,
}

/// The states of `s0 >> [w0, w2] >> w1 >> t, s0 >> t`.
#[derive(Deserialize)]
struct ScopeStates {
    s0: Symbol,
    w0: Symbol,
    w1: Symbol,
    w2: Symbol,
}

fn yes() -> bool {
    true
}

pub fn simple(case: &Value) -> Outcome {
    let case: RuleCase = read(case);
    compare(&case.expected, verdict(&plain(&case), Mode::Decide))
}

pub fn flag_off(case: &Value) -> Outcome {
    let case: RuleCase = read(case);
    compare(&case.expected, verdict(&plain(&case), Mode::Query))
}

pub fn past_depends(case: &Value) -> Outcome {
    let case: RuleCase = read(case);
    let past = if case.past_depends_met { Past::Met } else { Past::NotMet };
    compare(&case.expected, verdict_waiting_for_past(&plain(&case), past))
}

pub fn setup_constraint(case: &Value) -> Outcome {
    let case: RuleCase = read(case);
    let setup = case.setup.as_ref().map(|setup| symbols(&setup.0)).unwrap_or_default();
    let indirect_setups = Upstream::of(setup);
    compare(&case.expected, verdict(&Case { indirect_setups, ..plain(&case) }, Mode::Decide))
}

/// A task sees all instances of what is expanded before it; in an expanded group each sees its own counterpart.
pub fn mapped(case: &Value) -> Outcome {
    let case: RuleCase = read(case);
    match case.shape.as_str() {
        shape if shape.starts_with("a.expand") => {
            return compare(&case.expected, verdict(&plain(&case), Mode::Decide));
        }
        shape if shape.starts_with("group") => {}
        _ => return Outcome::NotYet("another shape of expansion"),
    }
    let instances = case.upstream.list().into_iter().zip(0..);
    let words: Vec<String> = instances
        .map(|(state, index)| {
            let map_index = MapIndex(index);
            let seen = Case { map_index, ..Case::plain(case.rule, Upstream::of([state])) };
            word(verdict(&seen, Mode::Decide)).to_owned()
        })
        .collect();
    Outcome::of(&read::<Vec<String>>(&case.expected), &words)
}

pub fn teardown(case: &Value) -> Outcome {
    let case: TeardownCase = read(case);
    let state = |symbol: &Symbol| symbols(&symbol.0)[0];
    let (setups, direct, scope) = match &case.states {
        Some(states) => (vec![state(&states.s0)], vec![state(&states.w1)], vec![state(&states.w0), state(&states.w2)]),
        None => (symbols(&case.setups), symbols(&case.works), Vec::new()),
    };
    let seen = Case {
        setups: Upstream::of(setups.clone()),
        scope_unfinished: Upstream::of(scope).unfinished(),
        ..Case::plain(TriggerRule::AllDoneSetupSuccess, Upstream::of(setups.into_iter().chain(direct)))
    };
    compare(&case.expected, verdict(&seen, Mode::Decide))
}

fn plain(case: &RuleCase) -> Case {
    Case::plain(case.rule, Upstream::of(case.upstream.list()))
}

impl States {
    fn list(&self) -> Vec<TaskState> {
        match self {
            Self::Symbols(text) => symbols(text),
            Self::Names(names) => names.iter().map(|name| name.unwrap_or(TaskState::NoStatus)).collect(),
        }
    }
}

fn symbols(text: &str) -> Vec<TaskState> {
    text.chars()
        .map(|symbol| match symbol {
            'S' => TaskState::Success,
            'F' => TaskState::Failed,
            'K' => TaskState::Skipped,
            'U' => TaskState::UpstreamFailed,
            'R' => TaskState::Removed,
            'N' => TaskState::Running,
            other => panic!("the symbol {other} is not known"),
        })
        .collect()
}

fn compare(expected: &Value, verdict: Verdict) -> Outcome {
    Outcome::of(&read::<String>(expected), &word(verdict).to_owned())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Run => "run",
        Verdict::Wait => "wait",
        Verdict::Becomes(Becomes::Skipped) => "set:skipped",
        Verdict::Becomes(Becomes::UpstreamFailed) => "set:upstream_failed",
        Verdict::Becomes(Becomes::Removed) => "set:removed",
    }
}
