//! The operators that ask people.

use std::collections::BTreeMap;

use model::operator::{Approval, Asking, Choice, HitlUser, OnReject, SkipReach};

use super::{
    fields::{Fields, Item},
    operator::{text, text_option, truth_or},
    params,
    task::positive,
};
use crate::{
    keys::asking::{APPROVE_OR_REJECT, BRANCH_CLASS, OK},
    problem::Problems,
    yaml::Value,
};

/// Reads `approval`.
pub(super) fn approval(fields: &Fields<'_>, problems: &mut Problems) -> Option<Approval> {
    let options = match fields.take("options") {
        Some(item) => match options(&item, problems)? {
            two if two.len() == 2 => two,
            _ => {
                return item.fail("expected two options: the one that approves and the one that rejects", problems);
            }
        },
        None => APPROVE_OR_REJECT.map(str::to_owned).to_vec(),
    };
    let fails = truth_or(fields, "fail_on_reject", false, problems)?;
    let on_reject = match fields.take("ignore_downstream_trigger_rules") {
        Some(item) if fails && item.truth(problems)? => {
            return item.fail("fail_on_reject: true skips nothing; keep one of the two", problems);
        }
        _ if fails => OnReject::Fail,
        Some(item) if item.truth(problems)? => OnReject::Skip(SkipReach::AllDownstream),
        Some(_) | None => OnReject::Skip(SkipReach::DirectDownstream),
    };
    Some(Approval { asking: asking(fields, options, Vec::new(), problems)?, on_reject })
}

/// Reads `choice`.
pub(super) fn choice(fields: &Fields<'_>, problems: &mut Problems) -> Option<Choice> {
    let class = fields.take("operator").and_then(|item| item.plain_text(problems)).unwrap_or_default();
    let is_branch = class.rsplit('.').next() == Some(BRANCH_CLASS);
    let (options, defaults) = match fields.take("options") {
        Some(item) => (options(&item, problems)?, Vec::new()),
        // The one button of a form.
        None if !is_branch => (vec![OK.to_owned()], vec![OK.to_owned()]),
        None => {
            problems.add(&fields.place, "options is missing: what can be chosen");
            return None;
        }
    };
    let options_mapping = match fields.take("options_mapping") {
        Some(item) => Some(mapping(&item, &options, problems)?),
        None if is_branch => Some(BTreeMap::new()),
        None => None,
    };
    // Of a branch each option leads somewhere: what is not mapped to a task is one.
    let options_mapping = options_mapping.map(|mut mapping| {
        for option in &options {
            mapping.entry(option.clone()).or_insert_with(|| option.clone());
        }
        mapping
    });
    Some(Choice { asking: asking(fields, options, defaults, problems)?, options_mapping })
}

fn asking(fields: &Fields<'_>, options: Vec<String>, defaults: Vec<String>, problems: &mut Problems) -> Option<Asking> {
    let asking = Asking {
        subject: text(fields, "subject", problems)?,
        body: text_option(fields, "body", problems)?,
        options,
        defaults: Vec::new(),
        multiple: truth_or(fields, "multiple", false, problems)?,
        params: match fields.take("params") {
            Some(item) => params::asked(&item, problems)?,
            None => serde_json::Map::new(),
        },
        assigned_users: match fields.take("assigned_users") {
            Some(item) => users(&item, problems)?,
            None => Vec::new(),
        },
        response_timeout_secs: match fields.either(["response_timeout", "timeout"], problems) {
            Some(item) => Some(positive(&item, problems)?.as_secs_f64()),
            None => None,
        },
    };
    let defaults = match fields.take("defaults") {
        Some(item) => {
            let defaults = item.texts(problems)?;
            match asking.check_chosen(&defaults) {
                Err(why) if !defaults.is_empty() => return item.fail(why, problems),
                Err(_) | Ok(()) => defaults,
            }
        }
        None => defaults,
    };
    Some(Asking { defaults, ..asking })
}

fn options(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let options = item.text_list(problems)?;
    if options.is_empty() {
        return item.fail("expected at least one option", problems);
    }
    if options.len() > Asking::OPTIONS_MAX {
        return item.fail(format!("at most {} options are allowed", Asking::OPTIONS_MAX), problems);
    }
    for (index, option) in options.iter().enumerate() {
        if option.trim().is_empty() || option.chars().count() > Asking::OPTION_CHARS_MAX {
            let most = Asking::OPTION_CHARS_MAX;
            return item.fail(format!("an option has from 1 to {most} characters"), problems);
        }
        if options[..index].contains(option) {
            return item.fail(format!("the option {option:?} stands twice"), problems);
        }
    }
    Some(options)
}

fn mapping(item: &Item<'_>, options: &[String], problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let mut mapping = BTreeMap::new();
    for (key, to) in item.layer("a mapping of options to tasks or groups", problems)?.items() {
        if !options.iter().any(|option| **option == *key.name) {
            return to.fail(format!("{:?} is not among the options: {}", key.name, options.join(", ")), problems);
        }
        mapping.insert(key.name.to_string(), to.text(problems)?);
    }
    Some(mapping)
}

/// One user or a list of them, each a name or a mapping with id and name.
fn users(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<HitlUser>> {
    match item.node.value {
        Value::List(_) => {
            let items = item.list("a list of users", problems)?;
            items.iter().map(|item| user(item, problems)).collect()
        }
        _ => Some(vec![user(item, problems)?]),
    }
}

fn user(item: &Item<'_>, problems: &mut Problems) -> Option<HitlUser> {
    let Value::Map(_) = &item.node.value else {
        return item.text(problems).map(HitlUser::named);
    };
    let fields = item.fields("a user name, or a mapping with id and name", problems)?;
    let id = fields.required("id", problems)?.text(problems)?;
    let name = text_option(&fields, "name", problems)?.unwrap_or_else(|| id.clone());
    Some(HitlUser { id, name })
}
