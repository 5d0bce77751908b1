//! Mistakes are explained before anything starts, and lose nothing.

use std::path::Path;

use windlass_e2e::{StandaloneBuilder, project};

use crate::trades::run_dag;

/// What `windlass standalone` says against a source, which must keep it from starting.
fn refused(source: &str) -> String {
    let builder = StandaloneBuilder::new().env("STOCK_SOURCE", source);
    let output = builder.windlass(&["standalone"]);
    assert!(!output.status.success(), "{source} was accepted");
    assert!(!builder.home().join("run").exists(), "something was started for {source}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file_with(folder: &Path, text: &str) -> String {
    let path = folder.join("trades.csv");
    std::fs::write(&path, text).unwrap();
    format!("replay:{}", path.display())
}

#[test]
fn a_wrong_source_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused("carrier-pigeon").contains("carrier-pigeon"));
    assert!(refused("replay:/nowhere/trades.csv").contains("/nowhere/trades.csv"));
    let wrong = refused(&file_with(folder.path(), "ts,symbol,cost,size,trade_id\n"));
    assert!(wrong.contains("price") && wrong.contains("line 1"), "{wrong}");
}

#[test]
fn a_bad_row_becomes_a_dead_letter_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let source = file_with(
        folder.path(),
        "ts,symbol,price,size,trade_id\n\
         2024-01-02T10:00:00Z,AAPL,10.5,3,a-1\n\
         2024-01-02T10:00:01Z,AAPL,cheap,3,a-2\n\
         2024-01-02T10:00:02Z,AAPL,11.5,3,a-3\n",
    );
    let mut standalone = StandaloneBuilder::new().env("STOCK_SOURCE", source).env("STOCK_REPLAY_SPEED", "0").start();
    run_dag(&standalone);
    assert_eq!(standalone.value("SELECT count(*) FROM gold.stock_daily"), "1");
    assert_eq!(standalone.value("SELECT source_line FROM bronze.stock_trades_dlq"), "3");

    let refused = standalone.try_windlass(&["lake", "query", "DROP TABLE gold.stock_daily"]);
    assert!(!refused.status.success());
    let wrong = standalone.try_windlass(&["lake", "query", "SELECT symbol FROM gold.stock_dialy"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("stock_daily"), "{said}");
    let conf = standalone.try_windlass(&["dags", "trigger", "stock_data_pipeline", "--conf", r#"{"full_refresh": 3}"#]);
    let said = String::from_utf8_lossy(&conf.stderr).into_owned();
    assert!(!conf.status.success() && said.contains("full_refresh"), "{said}");
    standalone.stop();
}

#[test]
fn a_second_standalone_on_the_same_home_or_port_is_refused_with_a_reason() {
    let mut first = StandaloneBuilder::new().start();
    let same_home = first.try_windlass(&["standalone"]);
    assert!(String::from_utf8_lossy(&same_home.stderr).contains("another windlass standalone"));
    let port = first.url().rsplit(':').next().unwrap().to_owned();
    let other = StandaloneBuilder::new().env("WINDLASS_PORT", port);
    let same_port = other.windlass(&["standalone"]);
    assert!(String::from_utf8_lossy(&same_port.stderr).contains("WINDLASS_PORT"));
    first.stop();
}

#[test]
fn a_bad_dag_file_is_explained_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "dag_id: bad\nschedul: null\ntasks: []\n").unwrap();
    std::fs::copy(project().join("dags/hello.yaml"), folder.path().join("hello.yaml")).unwrap();
    let builder = StandaloneBuilder::new();
    let output = builder.windlass(&["dags", "check", &folder.path().display().to_string()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("bad.yaml:2") && said.contains("schedule"), "{said}");
    assert!(said.contains("hello.yaml: hello"), "{said}");
}
