//! `setup` and `teardown`: what a task does for others.

use super::{
    fields::{Fields, Item},
    group::Dependency,
};
use crate::{
    keys::{self, Here},
    problem::Problems,
    scopes::Phase,
    yaml::Value,
};

/// What was read: the phase, and the setups that a teardown names.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) phase: Phase,
    pub(super) setups: Vec<Dependency>,
}

/// Reads both of a task's own keys.
pub(super) fn read(alone: &Fields<'_>, problems: &mut Problems) -> Read {
    let setup = alone.either(["setup", "is_setup"], problems);
    let is_setup = setup.as_ref().and_then(|item| item.truth(problems)).unwrap_or(false);
    let fails_run = alone.own("on_failure_fail_dagrun");
    let teardown = alone.either(["teardown", "is_teardown"], problems).and_then(|item| teardown(&item, problems));
    match (setup.filter(|_| is_setup), teardown) {
        (Some(setup), Some(_)) => {
            setup.fail::<()>("a task is a setup or a teardown, not both", problems);
            Read::default()
        }
        (None, Some(mut read)) => {
            if let Some(on_failure_fail_dagrun) = fails_run.and_then(|item| item.truth(problems)) {
                read.phase = Phase::Teardown { on_failure_fail_dagrun };
            }
            read
        }
        (setup, None) => {
            if let Some(item) = fails_run.filter(|item| item.node.value != Value::Bool(false)) {
                item.fail::<()>("on_failure_fail_dagrun is for a teardown; write teardown: true, too", problems);
            }
            Read { phase: if setup.is_some() { Phase::Setup } else { Phase::Work }, setups: Vec::new() }
        }
    }
}

/// What a task tears down; none when it does not.
fn teardown(item: &Item<'_>, problems: &mut Problems) -> Option<Read> {
    const FORMS: &str = "true, or what is torn down, such as {setups: [create_cluster]}";
    let none = Phase::Teardown { on_failure_fail_dagrun: false };
    match &item.node.value {
        Value::Bool(is_teardown) => is_teardown.then(|| Read { phase: none, setups: Vec::new() }),
        Value::Map(_) => {
            let fields = item.fields(FORMS, problems)?;
            fields.check_keys(&[keys::TEARDOWN], &[], Here::Part, problems);
            let names = fields.either(["setups", "of"], problems).and_then(|item| item.text_items(problems));
            let setups = names.unwrap_or_default().into_iter();
            let fails_run = fields.take("on_failure_fail_dagrun").and_then(|item| item.truth(problems));
            Some(Read {
                phase: Phase::Teardown { on_failure_fail_dagrun: fails_run.unwrap_or(false) },
                setups: setups.map(|(name, item)| Dependency { name, place: item.place }).collect(),
            })
        }
        _ => item.expected(FORMS, problems),
    }
}
