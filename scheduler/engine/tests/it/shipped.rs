//! The main pipeline's graph: whichever of its tasks fails, the run does.

use std::{fs, path::PathBuf};

use dag::{Dag, FileProblem, ReadFile};
use model::{AttemptEnd, DagRunState, EndKind, Operator, TaskState};

use crate::{dags::bash, world::World};

struct Folder(PathBuf);

impl ReadFile for Folder {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        fs::read(self.0.join(name)).map_err(|why| FileProblem::Unreadable(why.to_string()))
    }
}

/// The shipped pipeline; what its tasks do is nothing to the engine, but for those that it ends by itself.
fn stock() -> Dag {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dags");
    let text = fs::read_to_string(folder.join("stock_data_pipeline.yaml")).unwrap();
    let mut loaded = dag::load("stock_data_pipeline.yaml", &text, &Folder(folder));
    let mut dag = loaded.dags.remove(0).dag;
    dag.is_paused_upon_creation = false;
    for task in &mut dag.tasks {
        if !matches!(task.operator, Operator::Empty) {
            task.operator = bash();
        }
    }
    dag
}

/// Runs it with these tasks failing for good; answers how the run and the report ended.
fn run(failing: &[&str]) -> (DagRunState, TaskState) {
    let dag = stock();
    let dag_id = dag.dag_id.as_str().to_owned();
    let mut world = World::new(vec![dag]);
    let run = world.trigger(&dag_id, "r");
    while let Some(task) = world.at_work().first().cloned() {
        let kind = if failing.contains(&task.as_str()) { EndKind::FailedForGood } else { EndKind::Success };
        world.end_with(&task, AttemptEnd::new(kind, ""));
    }
    (world.run_state(run), world.state(run, "publish_quality_report"))
}

#[test]
fn a_run_of_the_main_pipeline_is_green_only_when_everything_in_it_succeeded() {
    assert_eq!(run(&[]), (DagRunState::Success, TaskState::Success));
    let ids: Vec<String> = stock().tasks.iter().map(|task| task.task_id.as_str().to_owned()).collect();
    let working: Vec<&str> = ids.iter().map(String::as_str).filter(|id| *id != "all_layers_are_good").collect();
    assert!(working.len() >= 9, "{working:?}");
    for task in &working {
        let (state, report) = run(&[task]);
        assert_eq!(state, DagRunState::Failed, "{task} failed and the run did not");
        // The report is made whatever happened before it.
        assert_eq!(report == TaskState::Success, *task != "publish_quality_report", "{task}");
    }
}
