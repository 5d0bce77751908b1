//! Templates that can not be rendered, whatever they are given.

use std::collections::BTreeSet;

use dag::{CompiledDag, Task};
use executor::check::{Names, check_template, params_named};
use serde_json::Value;

use super::Remarks;

/// Keys of operators whose texts are no templates: code, and names of files.
const NO_TEMPLATES: &[&str] = &["operator", "inline", "script", "file", "python_callable", "pass_env", "python_bin"];
/// Files of a version that are rendered as templates.
const RENDERED: &[&str] = &[".sql", ".sh"];

/// Looks at the texts of every task, and at the files that they are read from.
pub(super) fn remark(compiled: &CompiledDag, remarks: &mut Remarks<'_>) {
    let dag = &compiled.dag;
    let macros: BTreeSet<String> = dag.user_defined_macros.keys().cloned().collect();
    for task in &dag.tasks {
        // What an instance of an expanded task is given has names of its own.
        let names = if task.expand.is_some() { Names::Any } else { Names::These(macros.clone()) };
        let Ok(operator) = serde_json::to_value(&task.operator) else { continue };
        let mut texts = Vec::new();
        gather(&operator, String::new(), &mut texts);
        for (field, text) in texts {
            one(task, (&field, &text), &names, compiled, remarks);
        }
    }
    for file in compiled.files.iter().filter(|file| RENDERED.iter().any(|end| file.name.ends_with(end))) {
        let text = String::from_utf8_lossy(&file.bytes);
        if let Err(why) = check_template(&text, &Names::Any) {
            remarks.of_dag("tasks", format!("the file {} can not be rendered as a template: {why}", file.name));
        }
    }
}

fn one(task: &Task, (field, text): (&str, &str), names: &Names, compiled: &CompiledDag, remarks: &mut Remarks<'_>) {
    let part = text.lines().find(|line| line.contains("{{") || line.contains("{%")).unwrap_or(text).trim();
    if let Err(why) = check_template(text, names) {
        let message = format!("the template can not be rendered: {why}");
        remarks.of_task(task.task_id.as_str(), field, part, message);
        return;
    }
    let lacking: Vec<String> =
        params_named(text).into_iter().filter(|name| compiled.dag.params.get(name).is_none()).collect();
    if !lacking.is_empty() && matches!(names, Names::These(_)) {
        let message = format!(
            "the DAG has no param {}: the template can be rendered only in runs whose conf gives it; add it to params",
            lacking.join(", ")
        );
        remarks.of_task(task.task_id.as_str(), field, part, message);
    }
}

/// Every text below a value that may be a template, with its field.
fn gather(value: &Value, field: String, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => texts.push((field, text.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                gather(item, format!("{field}[{index}]"), texts);
            }
        }
        Value::Object(entries) => {
            for (name, value) in entries.iter().filter(|(name, _)| !NO_TEMPLATES.contains(&name.as_str())) {
                let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                gather(value, field, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
