//! The DAGs that Windlass ships, and the JSON Schema beside them.

use std::{fs, path::PathBuf};

use dag::{CompiledDag, FileProblem, ReadFile, Schedule};
use model::TriggerRule;

use crate::support::messages;

struct Folder(PathBuf);

impl ReadFile for Folder {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        fs::read(self.0.join(name)).map_err(|why| match why.kind() {
            std::io::ErrorKind::NotFound => FileProblem::Missing,
            _ => FileProblem::Unreadable(why.to_string()),
        })
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dags")
}

fn shipped(name: &str) -> CompiledDag {
    let text = fs::read_to_string(folder().join(name)).expect("the DAG is shipped");
    let mut loaded = dag::load(name, &text, &Folder(folder()));
    assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
    assert_eq!(loaded.warnings, [], "{name}");
    loaded.dags.remove(0)
}

#[test]
fn the_stock_pipeline_checks_each_layer_before_the_next_and_ends_in_one_leaf() {
    let dag = shipped("stock_data_pipeline.yaml").dag;
    let ids: Vec<&str> = dag.tasks.iter().map(|task| task.task_id.as_str()).collect();
    let layers = ["submit_stream_job", "bronze", "bronze_checks", "silver", "silver_checks", "gold", "gold_checks"];
    assert_eq!(ids[..7], layers);
    assert_eq!(ids[7..], ["count_rows", "publish_quality_report", "all_layers_are_good"]);
    assert!(dag.tasks[..9].windows(2).all(|pair| pair[1].upstream.len() == 1 && !pair[0].downstream.is_empty()));
    assert_eq!(dag.tasks[8].trigger_rule, TriggerRule::AllDone);
    let leaves: Vec<&str> =
        dag.tasks.iter().filter(|task| task.downstream.is_empty()).map(|task| task.task_id.as_str()).collect();
    assert_eq!(leaves, ["all_layers_are_good"]);
    assert!(dag.is_paused_upon_creation && matches!(dag.schedule, Schedule::Cron { .. }));
    assert!(dag.files.contains_key("sql/stock/silver.sql") && dag.files.contains_key("scripts/quality_report.py"));
}

#[test]
fn every_shipped_dag_comes_back_from_its_canonical_form() {
    for name in ["hello.yaml", "lake_maintenance.yaml", "stock_data_pipeline.yaml", "tour.yaml"] {
        let dag = shipped(name);
        let again = dag::load(name, &dag.canonical_yaml, &Folder(folder()));
        assert_eq!(again.errors, [], "{name}");
        assert_eq!(CompiledDag { source: dag.source.clone(), ..again.dags[0].clone() }, dag, "{name}");
    }
}

/// Set `UPDATE_EXPECT=1` to write the file anew.
#[test]
fn the_shipped_json_schema_is_the_one_that_the_code_has() {
    let text = format!("{}\n", serde_json::to_string_pretty(&dag::json_schema()).expect("a schema is JSON"));
    expect_test::expect_file![folder().join("dag.schema.json")].assert_eq(&text);
}

#[test]
fn shipped_dags_keep_to_the_json_schema_and_a_typing_error_does_not() {
    let validator = jsonschema::validator_for(&dag::json_schema()).expect("it is a JSON Schema");
    let task = |extra: &str| {
        let text = format!(
            r#"{{"dag_id": "x", "tasks": [{{"task_id": "a", "operator": "bash", "bash_command": "x"{extra}}}]}}"#
        );
        serde_json::from_str::<serde_json::Value>(&text).expect("the text is JSON")
    };
    assert!(validator.is_valid(&task(r#", "retries": 2, "retry_delay": "5m", "env": {"A": 1}"#)));
    for extra in [r#", "retires": 2"#, r#", "retries": "two""#, r#", "script": "x.py""#, r#", "trigger_rule": "never""#]
    {
        assert!(!validator.is_valid(&task(extra)), "{extra}");
    }
    let many = serde_json::json!({"default": {"catchup": false}, "a": {"tasks": {"t": {"operator": "empty"}}}});
    assert!(validator.is_valid(&many));
}
