//! Engines that nobody here wrote read the tables: pyiceberg and the deltalake package, installed from PyPI.

use std::{path::PathBuf, process::Command};

use windlass_e2e::{StandaloneBuilder, program, project, python};

use crate::trades::{make_up, run_dag};

const PACKAGES: &[&str] = &[
    "pyiceberg[sql-postgres,pyarrow]==0.11.1",
    "deltalake==1.6.6",
    "psycopg2-binary",
    "confluent-kafka[avro,schemaregistry]",
];

/// A Python that has the readers.
pub fn python() -> PathBuf {
    python::with_packages("python-readers", PACKAGES)
}

#[test]
fn pyiceberg_deltalake_and_confluent_avro_read_what_the_sink_wrote() {
    const ROWS: usize = 30_000;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trades.csv");
    make_up(&file, ROWS);
    let mut standalone = StandaloneBuilder::new()
        .env("STOCK_SOURCE", format!("replay:{}", file.display()))
        .env("STOCK_REPLAY_SPEED", "0")
        .start();
    run_dag(&standalone);
    // What maintenance leaves is read, too.
    for task in ["compact", "expire", "sweep", "vacuum"] {
        let _table = standalone.windlass(&["lake", task]);
    }
    let registry = standalone.registry_url();
    let read = standalone.settings().command(&program("windlass")).args(["lake", "environment"]).output().unwrap();
    let environment = String::from_utf8(read.stdout).unwrap();
    let output = Command::new(python())
        .arg(project().join("e2e/python/read_bronze.py"))
        .envs(environment.lines().filter_map(|line| line.split_once('=')))
        .env("REGISTRY", registry)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), format!("iceberg {ROWS}\ndelta {ROWS}"));
    standalone.stop();
}
