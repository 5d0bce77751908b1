//! The two faces, REST API and pages, know nothing of each other, and what both stand on knows neither.

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// A folder of the sources, and the modules that nothing in it may name.
const NEVER: &[(&str, &[&str])] = &[
    ("api", &["pages"]),
    ("pages", &["api"]),
    ("reads", &["api", "pages", "changes"]),
    ("changes", &["api", "pages"]),
    ("declare", &["api", "pages"]),
    ("http", &["api", "pages"]),
    ("live", &["api", "pages"]),
    ("auth", &["api", "pages"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The code alone: a text or a comment may have any word.
fn without_prose(code: &str) -> String {
    let prose = Regex::new(r#"(?m)//.*$|"(?:[^"\\]|\\(?s:.))*""#).unwrap();
    prose.replace_all(code, "").into_owned()
}

/// The modules that a file names, as a path (`api::x`) or in a list of imports (`{api, app}`, `as` included).
fn named(code: &str, modules: &[&str]) -> Vec<String> {
    let code = without_prose(code);
    let words = Regex::new(&format!(r"\b(?:{})\b", modules.join("|"))).unwrap();
    words.find_iter(&code).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn the_api_and_the_pages_never_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, modules) in NEVER {
        let mut found = Vec::new();
        sources(&root.join(folder), &mut found);
        assert!(!found.is_empty(), "{folder} has no sources");
        for path in found {
            let named = named(&fs::read_to_string(&path).unwrap(), modules);
            assert!(
                named.is_empty(),
                "{} names {named:?}: what both need belongs into reads, changes or http",
                path.display()
            );
        }
    }
}

#[test]
fn an_import_is_found_in_every_form_and_prose_is_none() {
    for import in [
        "use crate::api::query::Query;",
        "use crate::{\n    app::App,\n    api,\n};",
        "use crate::{api::{lookup_dag, query::Query}};",
        "use super::super::api as other;",
        "fn f() { crate::api::dags::list(); }",
    ] {
        assert_eq!(named(import, &["api"]), ["api"], "{import}");
    }
    for other in ["//! The api.", "let url = \"https://api.example.org\";", "fn rapid() {}", "use crate::apis;"] {
        assert_eq!(named(other, &["api"]), Vec::<String>::new(), "{other}");
    }
}
