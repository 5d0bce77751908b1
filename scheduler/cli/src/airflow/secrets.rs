//! What an Airflow shows of secrets: masks. None of them is taken for a value.

use model::masking::MASK;
use serde_json::Value;

/// Settings without the parts that are masked, and the names of those.
#[must_use]
pub fn without_masks(extra: &str) -> (Option<String>, Vec<String>) {
    let Ok(mut value) = serde_json::from_str::<Value>(extra) else {
        let is_masked = extra == MASK;
        let lost = if is_masked { vec!["extra".to_owned()] } else { Vec::new() };
        return (Some(extra.to_owned()).filter(|_| !is_masked), lost);
    };
    let mut lost = Vec::new();
    if !strip(&mut value, "extra", &mut lost) {
        return (None, lost);
    }
    // What has lost nothing stays as it was written, numbers and spaces too.
    let text = if lost.is_empty() { extra.to_owned() } else { value.to_string() };
    (Some(text), lost)
}

/// Takes masks out; whether anything is left of the value.
fn strip(value: &mut Value, place: &str, lost: &mut Vec<String>) -> bool {
    match value {
        Value::String(text) if text == MASK => {
            lost.push(place.to_owned());
            false
        }
        Value::Object(members) => {
            members.retain(|name, member| strip(member, &format!("{place}.{name}"), lost));
            true
        }
        Value::Array(items) => {
            items.retain_mut(|item| strip(item, &format!("{place}[]"), lost));
            true
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_left_out_and_named_and_the_rest_stays_as_it_was() {
        let masked = r#"{"region": "eu", "token": "***", "deep": {"password": "***", "n": 1.50}}"#;
        let (left, lost) = without_masks(masked);
        assert_eq!(left.unwrap(), r#"{"region":"eu","deep":{"n":1.50}}"#.replace("1.50", "1.5"));
        assert_eq!(lost, ["extra.token", "extra.deep.password"]);
        let open = r#"{"n": 1.50}"#;
        assert_eq!(without_masks(open), (Some(open.to_owned()), Vec::new()));
        assert_eq!(without_masks(MASK), (None, vec!["extra".to_owned()]));
        assert_eq!(without_masks("no JSON"), (Some("no JSON".to_owned()), Vec::new()));
    }
}
