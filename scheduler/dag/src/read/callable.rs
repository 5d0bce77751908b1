//! `python_callable`: which function of which file is called, and with what.
//!
//! The file belongs to the DAG's version with every module of the DAG folder that it imports, and that those import: a run calls
//! what stood there when its version was made.

use std::collections::BTreeSet;

use model::operator::{PythonCallable, Returns, SkipReach};

use super::{
    fields::{Fields, Item},
    operator::{optional, text_option},
};
use crate::{
    files::FileSet,
    keys::python::{BRANCH_CLASS, RETURNS, SHORT_CIRCUIT_CLASS},
    problem::{Place, Problems},
    python_imports::{Import, imports, is_dotted},
    yaml::Value,
};

/// So many files may come along by imports.
const MODULES_MAX: usize = 500;

/// A path of more parts than this is looked for by its last ones only.
const PARTS_MAX: usize = 32;

/// Reads an operator's own keys.
pub(super) fn read(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<PythonCallable> {
    let function = function(fields, files, problems);
    let returns = returns(fields, problems);
    let op_args = optional(fields, "op_args", |item| {
        item.list("a list of values", problems)?.iter().map(|item| item.json(problems)).collect()
    });
    let op_kwargs = fields.take("op_kwargs").map_or(Some(None), |item| mapping(&item, problems).map(Some));
    let templates_dict = fields.take("templates_dict").map_or(Some(None), |item| mapping(&item, problems).map(Some));
    if let Some(item) = fields.take("provide_context") {
        item.truth(problems)?;
    }
    let (file, function) = function?;
    Some(PythonCallable {
        file,
        function,
        op_args: op_args?,
        op_kwargs: op_kwargs?.unwrap_or_default(),
        templates_dict: templates_dict?,
        returns: returns?,
        env: optional(fields, "env", |item| item.environment(problems))?,
        pass_env: optional(fields, "pass_env", |item| item.patterns(problems))?,
        python_bin: text_option(fields, "python_bin", problems)?,
    })
}

pub(super) fn mapping(item: &Item<'_>, problems: &mut Problems) -> Option<serde_json::Map<String, serde_json::Value>> {
    match item.node.value {
        Value::Map(_) => match item.json(problems)? {
            serde_json::Value::Object(fields) => Some(fields),
            _ => None,
        },
        _ => item.expected("a mapping of names to values", problems),
    }
}

/// What the value decides: as the class says, or the key `returns`.
fn returns(fields: &Fields<'_>, problems: &mut Problems) -> Option<Returns> {
    let class = fields.take("operator").and_then(|item| item.plain_text(problems)).unwrap_or_default();
    let by_class = match class.rsplit('.').next() {
        Some(BRANCH_CLASS) => "follow",
        Some(SHORT_CIRCUIT_CLASS) => "proceed",
        Some(_) | None => "value",
    };
    let word = match fields.take("returns") {
        Some(item) => item.word::<String>(RETURNS, problems)?,
        None => by_class.to_owned(),
    };
    let direct = match fields.take("ignore_downstream_trigger_rules") {
        Some(item) if word != "proceed" => {
            return item.fail("only a function that says whether to proceed has this key: returns: proceed", problems);
        }
        Some(item) => !item.truth(problems)?,
        None => false,
    };
    Some(match word.as_str() {
        "follow" => Returns::Follow,
        "proceed" if direct => Returns::Proceed(SkipReach::DirectDownstream),
        "proceed" => Returns::Proceed(SkipReach::AllDownstream),
        _ => Returns::Value,
    })
}

/// The file and the function in it. The file is added with what it imports.
fn function(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<(String, String)> {
    let (file, function, place) = match (fields.take("python_callable"), fields.take("python_callable_file")) {
        (Some(_), Some(second)) => {
            return second.fail("python_callable and python_callable_file are both given; keep one", problems);
        }
        (Some(item), None) => by_module(&item, files, problems)?,
        (None, Some(item)) => {
            let name = fields.required("python_callable_name", problems)?;
            return by_file(&item, &name, files, problems);
        }
        (None, None) => {
            let message =
                "python_callable is missing: module.function, or python_callable_file and python_callable_name";
            problems.add(&fields.place, message);
            return None;
        }
    };
    checked((file, function), &place, files, problems)
}

/// The file and the function of `module.function`.
pub(super) fn by_name(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<(String, String)> {
    let (file, function, place) = by_module(item, files, problems)?;
    checked((file, function), &place, files, problems)
}

/// The file and the function that two keys name.
pub(super) fn by_file(
    file: &Item<'_>,
    name: &Item<'_>,
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<(String, String)> {
    let file = by_path(file, files, problems)?;
    let function = name.text(problems)?;
    if !is_dotted(&function) {
        return name.expected("the name of a function", problems);
    }
    checked((file, function), &name.place, files, problems)
}

/// The file is added with what it imports, unless it has no such function.
fn checked(
    (file, function): (String, String),
    place: &Place,
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<(String, String)> {
    if files.is_taken() {
        return Some((file, function));
    }
    let first = function.split('.').next().unwrap_or_default();
    if !files.text(&file).is_some_and(|text| has_word(text, first)) {
        problems.add(place, format!("file {file:?} has no function {first:?}"));
        return None;
    }
    if files.follow(&file) {
        add_imports(&file, place, files, problems)?;
    }
    Some((file, function))
}

/// `package.module.function`, or a method of a class of that module.
fn by_module(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<(String, String, Place)> {
    let text = item.text(problems)?;
    let written = text.trim();
    if !is_dotted(written) || !written.contains('.') {
        return item.expected("module.function, with a module below the DAG folder", problems);
    }
    let parts: Vec<&str> = written.split('.').collect();
    for split in (1..parts.len()).rev() {
        let (module, function) = parts.split_at(split);
        match find_module(&module.join("/"), files) {
            // A package of that name may be there for another module.
            Ok(Some(file))
                if function.len() == 1 || files.text(&file).is_some_and(|text| has_word(text, function[0])) =>
            {
                return Some((file, function.join("."), item.place.clone()));
            }
            Ok(Some(_) | None) => {}
            Err(message) => return item.fail(message, problems),
        }
    }
    let module = parts[..parts.len() - 1].join("/");
    item.fail(format!("there is neither {module}.py nor {module}/__init__.py below the DAG folder"), problems)
}

/// The file of a module, from the top of the DAG folder or from the folder of the DAG file.
pub(super) fn find_module(path: &str, files: &mut FileSet<'_>) -> Result<Option<String>, String> {
    let beside = files.beside().to_owned();
    for start in ["", beside.as_str()] {
        for name in [format!("{start}{path}.py"), format!("{start}{path}/__init__.py")] {
            if let Some(found) = files.find(&name)? {
                return Ok(Some(found));
            }
        }
        if beside.is_empty() {
            break;
        }
    }
    Ok(None)
}

/// A path as people write it: below the DAG folder, beside the DAG file, or where it lies on the machine of an Airflow.
pub(super) fn by_path(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<String> {
    let text = item.text(problems)?;
    let written = text.trim();
    let beside = files.beside().to_owned();
    let of_a_machine = written.starts_with(['/', '~', '$']) || written.contains("${");
    let whole: Vec<&str> = written.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    // What a variable stands for is not known here.
    let known = whole.iter().rposition(|part| part.contains('$') || *part == "~").map_or(0, |at| at + 1);
    let parts = &whole[known.max(whole.len().saturating_sub(PARTS_MAX))..];
    let starts = if of_a_machine { parts.len().max(1) } else { 1 };
    for start in 0..starts {
        let rest = parts[start.min(parts.len())..].join("/");
        for name in [rest.clone(), format!("{beside}{rest}")] {
            match files.find(&name) {
                Ok(Some(found)) => {
                    if start > 0 {
                        let remark =
                            format!("this path of another machine is taken for {found:?} below the DAG folder");
                        problems.warn(&item.place, remark);
                    }
                    return Some(found);
                }
                Ok(None) => {}
                Err(message) => return item.fail(message, problems),
            }
        }
    }
    let advice = match parts.last() {
        Some(last) if of_a_machine => format!("put it there, and write its name from there, such as {last}"),
        Some(_) | None => "write its name from there".to_owned(),
    };
    item.fail(format!("file {written:?}: there is no such file below the DAG folder; {advice}"), problems)
}

/// Whether a text has a word.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, found)| !text[..at].ends_with(is_part) && !text[at + found.len()..].starts_with(is_part))
}

/// Adds every module of the DAG folder that a file imports, and what those import.
fn add_imports(file: &str, place: &Place, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<()> {
    let mut seen = BTreeSet::from([file.to_owned()]);
    let mut waiting = vec![file.to_owned()];
    while let Some(file) = waiting.pop() {
        let found = files.text(&file).map(imports).unwrap_or_default();
        let mut names: Vec<String> = packages(&file);
        names.extend(found.iter().flat_map(|import| candidates(&file, import)));
        for name in names {
            match files.find(&name) {
                Ok(None) => {}
                Ok(Some(found)) if !seen.insert(found.clone()) => {}
                Ok(Some(found)) => waiting.push(found),
                Err(message) => {
                    problems.add(place, format!("{file} imports it: {message}"));
                    return None;
                }
            }
        }
        if seen.len() > MODULES_MAX {
            problems.add(
                place,
                format!("the function's file brings more than {MODULES_MAX} modules of the DAG folder along"),
            );
            return None;
        }
    }
    Some(())
}

/// What makes a package of the folders that a file is in.
fn packages(file: &str) -> Vec<String> {
    file.match_indices('/').map(|(at, _)| format!("{}/__init__.py", &file[..at])).collect()
}

/// Where a module may lie: seen from the top of the DAG folder, and from the folder of the file that imports it.
fn candidates(file: &str, import: &Import) -> Vec<String> {
    let folder: Vec<&str> = file.split('/').collect();
    let folder = &folder[..folder.len() - 1];
    let bases: Vec<Vec<&str>> = match import.dots {
        0 if folder.is_empty() => vec![Vec::new()],
        0 => vec![Vec::new(), folder.to_vec()],
        dots if dots - 1 <= folder.len() => vec![folder[..folder.len() - (dots - 1)].to_vec()],
        _ => Vec::new(),
    };
    let module: Vec<&str> = import.module.split('.').filter(|part| !part.is_empty()).collect();
    let mut names = Vec::new();
    for base in bases {
        // Every package on the way is imported, too.
        for length in 1..=module.len() {
            let path = [&base, &module[..length]].concat().join("/");
            names.extend([format!("{path}.py"), format!("{path}/__init__.py")]);
        }
        for name in &import.names {
            let path = [&base, module.as_slice(), &[name.as_str()]].concat().join("/");
            names.extend([format!("{path}.py"), format!("{path}/__init__.py")]);
        }
    }
    names
}
