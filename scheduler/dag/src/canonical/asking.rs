//! The canonical form of the operators that ask people.

use model::operator::{Approval, Asking, Choice, HitlUser, OnReject, SkipReach};
use serde_json::{Map, Value, json};

use super::{Fields, operator::seconds_text, param_value};
use crate::params::asked_param;

pub(super) fn approval(task: &Approval, fields: &mut Fields) {
    asking(&task.asking, fields);
    match task.on_reject {
        OnReject::Skip(SkipReach::DirectDownstream) => {}
        OnReject::Skip(SkipReach::AllDownstream) => fields.put("ignore_downstream_trigger_rules", true),
        OnReject::Fail => fields.put("fail_on_reject", true),
    }
}

pub(super) fn choice(task: &Choice, fields: &mut Fields) {
    asking(&task.asking, fields);
    if let Some(mapping) = &task.options_mapping {
        let mapping = mapping.iter().map(|(option, to)| (option.clone(), Value::from(to.clone())));
        fields.put("options_mapping", mapping.collect::<Map<_, _>>());
    }
}

fn asking(asking: &Asking, fields: &mut Fields) {
    fields.put("subject", asking.subject.clone());
    fields.some("body", asking.body.clone());
    fields.list("options", &asking.options);
    fields.list("defaults", &asking.defaults);
    fields.unless("multiple", asking.multiple, &false);
    if !asking.params.is_empty() {
        let params = asking.params.iter().map(|(name, param)| (name.clone(), param_value(&asked_param(param))));
        fields.put("params", params.collect::<Map<_, _>>());
    }
    let users: Vec<Value> = asking.assigned_users.iter().map(user).collect();
    fields.list("assigned_users", &users);
    fields.some("response_timeout", asking.response_timeout_secs.map(seconds_text));
}

fn user(user: &HitlUser) -> Value {
    if user.id == user.name { json!(user.id) } else { json!({ "id": user.id, "name": user.name }) }
}
