//! The arrows between crates point one way, and some words stand in one place only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each crate of ours, and the crates of ours that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("windlass-model", &[]),
    ("windlass-replay", &[]),
    ("windlass-pgconnect", &[]),
    ("windlass-dag", &["windlass-model"]),
    ("windlass-engine", &["windlass-model", "windlass-dag"]),
    ("windlass-store", &["windlass-model", "windlass-dag", "windlass-engine", "windlass-pgconnect"]),
    ("windlass-secrets", &["windlass-dag", "windlass-store"]),
    ("windlass-link", &["windlass-model"]),
    ("windlass-executor", &["windlass-model", "windlass-link", "windlass-replay", "windlass-pgconnect"]),
    (
        "windlass-daemon",
        &[
            "windlass-model",
            "windlass-dag",
            "windlass-engine",
            "windlass-store",
            "windlass-secrets",
            "windlass-link",
            "windlass-executor",
            "windlass-metrics",
        ],
    ),
    ("windlass-metrics", &[]),
    ("windlass-layout", &[]),
    (
        "windlass-webui",
        &[
            "windlass-model",
            "windlass-dag",
            "windlass-engine",
            "windlass-store",
            "windlass-link",
            "windlass-metrics",
            "windlass-layout",
        ],
    ),
    ("windlass-tasks", &["windlass-replay", "windlass-metrics", "windlass-pgconnect"]),
];

/// Crates that do I/O, a clock's or a runtime's work: none of them below the pure crates.
const IMPURE: &[&str] = &["tokio", "sqlx", "reqwest", "axum", "nix", "libc", "rand", "rdkafka", "datafusion"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap();
            let built = all.iter().filter(|dependency| dependency["kind"].is_null());
            let names = built.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let dependencies = dependencies();
    for (name, allowed) in ALLOWED {
        let ours = dependencies[*name].iter().filter(|dependency| dependency.starts_with("windlass"));
        // It holds features together and has no code.
        let ours = ours.filter(|dependency| *dependency != "windlass-workspace-hack");
        for dependency in ours {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn the_pure_crates_do_no_io() {
    let dependencies = dependencies();
    for name in ["windlass-model", "windlass-dag", "windlass-engine", "windlass-layout"] {
        for impure in IMPURE {
            assert!(!dependencies[name].contains(*impure), "{name} must not depend on {impure}");
        }
    }
}

#[test]
fn the_scheduler_links_neither_kafka_nor_the_lake() {
    for (name, names) in dependencies() {
        for heavy in ["rdkafka", "datafusion", "iceberg", "deltalake"] {
            assert!(name == "windlass-tasks" || !names.contains(heavy), "{name} must not depend on {heavy}");
        }
    }
}

/// Every crate that is compiled for these packages, with its features.
fn compiled(packages: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix=none", "--format={p} [{f}]"])
        .args(packages)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    // Our own crates have no features; their lines hold the folder of the checkout.
    let lines = lines.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.filter(|line| !line.starts_with("windlass") && !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_dependency_is_compiled_once_whichever_package_is_built() {
    let whole = compiled(&["--workspace", "--edges=normal,build,dev"]);
    for package in
        ["windlass", "windlass-tasks", "windlass-store", "windlass-webui", "windlass-daemon", "windlass-bench"]
    {
        let alone = compiled(&["--package", package, "--edges=normal,build"]);
        let anew: Vec<&String> = alone.difference(&whole).collect();
        assert!(anew.is_empty(), "{package} asks for other features; run `cargo hakari generate`: {anew:?}");
    }
}

/// The folders of all our crates, from the root.
fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let list = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    list.split(',').map(|entry| entry.trim().trim_matches('"').to_owned()).filter(|entry| !entry.is_empty()).collect()
}

#[test]
fn the_image_and_the_architecture_know_every_crate() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let members = members();
    assert!(members.len() > 10, "{members:?}");
    for member in members {
        // Without its manifest the layer of the dependencies can not be built.
        assert!(
            dockerfile.contains(&format!("COPY {member}/Cargo.toml ")),
            "Dockerfile does not copy {member}/Cargo.toml"
        );
        assert!(architecture.contains(&format!("`{member}`")), "ARCHITECTURE.md does not name {member}");
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn files_with(words: &[&str], folder: &str, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    sources(&root().join(folder), &mut found);
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    found
        .iter()
        .filter(|path| !relative(path).contains("/tests/") && !allowed.iter().any(|a| relative(path).starts_with(a)))
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            words.iter().any(|word| text.contains(word))
        })
        .map(|path| relative(path))
        .collect()
}

#[test]
fn state_sql_stands_in_the_store_only() {
    let allowed = ["scheduler/store/", "scheduler/executor/src/sql", "scheduler/daemon/src/postgres"];
    let words = ["sqlx::query", "query_as!", "query_file", "query_scalar!"];
    assert_eq!(files_with(&words, "scheduler", &allowed), Vec::<String>::new());
    assert_eq!(files_with(&words, "webui", &[]), Vec::<String>::new());
}

#[test]
fn sql_of_the_lake_and_the_log_stands_in_one_module() {
    assert_eq!(files_with(&["sqlx::query"], "tasks/src", &["tasks/src/pg"]), Vec::<String>::new());
}

#[test]
fn http_status_codes_stand_in_the_web_crate_only() {
    assert_eq!(files_with(&["StatusCode"], "scheduler", &[]), Vec::<String>::new());
}

#[test]
fn every_file_stays_below_eight_hundred_lines() {
    for folder in ["scheduler", "webui", "tasks", "bench", "e2e"] {
        let mut found = Vec::new();
        sources(&root().join(folder), &mut found);
        for path in found {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 800, "{} has {lines} lines", path.display());
        }
    }
}
