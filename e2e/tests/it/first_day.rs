//! The first day of somebody who knows Airflow: a new DAG file with a branch, a sensor, a pool and a retry; its mistakes
//! explained; its run watched in the browser; why its last task waits; a task cleared and its log read.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use windlass_e2e::{Browser, Standalone, StandaloneBuilder, eventually, program};

const SOON: Duration = Duration::from_secs(60);

/// The file; `POOL_KEY` and `FOLDER` are replaced.
const DAG: &str = r#"dag_id: first_day
schedule: null
start_date: 2026-01-01
is_paused_upon_creation: false
tasks:
  - task_id: wait_for_file
    operator: file_sensor
    filepath: FOLDER/input.csv
    poke_interval: 1s
    timeout: 2m
  - task_id: flaky
    operator: bash
    bash_command: "test -e FOLDER/tried || { touch FOLDER/tried; echo not yet; exit 1; }"
    retries: 2
    retry_delay: 1s
    dependencies: [wait_for_file]
  - task_id: choose
    operator: branch
    follow: "{{ 'load' if ti.try_number == 1 else 'nothing' }}"
    dependencies: [flaky]
  - task_id: load
    operator: bash
    bash_command: "echo loaded {{ dag.dag_id }}"
    dependencies: [choose]
  - task_id: nothing
    operator: empty
    dependencies: [choose]
  - task_id: hold
    operator: bash
    bash_command: "until test -e FOLDER/go; do sleep 0.1; done"
    pool: narrow
    dependencies: [wait_for_file]
  - task_id: report
    operator: bash
    bash_command: "echo the report"
    POOL_KEY: narrow
    trigger_rule: none_failed_min_one_success
    dependencies: [load, nothing]
"#;

struct FirstDay {
    folder: tempfile::TempDir,
    dags: tempfile::TempDir,
}

impl FirstDay {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), dags: tempfile::tempdir().unwrap() }
    }

    fn write(&self, pool_key: &str) {
        let folder = self.folder.path().display().to_string();
        let text = DAG.replace("POOL_KEY", pool_key).replace("FOLDER", &folder);
        fs::write(self.dags.path().join("first_day.yaml"), text).unwrap();
    }

    fn touch(&self, name: &str) {
        fs::write(self.folder.path().join(name), "").unwrap();
    }

    fn start(&self) -> Standalone {
        StandaloneBuilder::new().env("WINDLASS_DAGS_FOLDER", self.dags.path().display().to_string()).start()
    }
}

/// Where pictures of the pages are kept, for people.
fn pictures() -> PathBuf {
    let folder = program("e2e-pictures");
    fs::create_dir_all(&folder).unwrap();
    folder
}

async fn log_in(browser: &Browser, url: &str) {
    browser.open(&format!("{url}/dags")).await.unwrap();
    browser.write("[name=username]", "airflow").await.unwrap();
    browser.write("[name=password]", "airflow").await.unwrap();
    browser.click("form button").await.unwrap();
    browser.until_text("DAGs", SOON).await.unwrap();
}

fn picture(name: &str) -> PathBuf {
    Path::new(&pictures()).join(name)
}

/// The id of the DAG's only run.
fn run_id(standalone: &Standalone) -> String {
    let listed: serde_json::Value =
        serde_json::from_str(&standalone.windlass(&["runs", "list", "first_day", "-o", "json"])).unwrap();
    listed[0]["run_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_dag_with_a_branch_a_sensor_a_pool_and_a_retry() {
    let day = FirstDay::new();
    day.write("pol");
    let mut standalone = day.start();
    let url = standalone.url();
    let browser = Browser::start().await.unwrap();
    log_in(&browser, &url).await;

    // The mistake is explained where it is, in the browser and on the command line.
    browser.open(&format!("{url}/import-errors")).await.unwrap();
    browser.until_text("first_day.yaml", SOON).await.unwrap();
    browser.until_text("pool", SOON).await.unwrap();
    browser.picture(&picture("import-errors.png")).await.unwrap();
    let file = day.dags.path().join("first_day.yaml").display().to_string();
    let checked = standalone.try_windlass(&["dags", "check", &file]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        !checked.status.success() && said.contains("first_day.yaml:36") && said.contains("did you mean \"pool\""),
        "{said}"
    );

    let _line = standalone.windlass(&["pools", "set", "narrow", "1", "one at a time"]);
    day.write("pool");
    eventually("the DAG is there", SOON, || standalone.windlass(&["dags", "list"]).contains("first_day").then_some(()));
    let _line = standalone.windlass(&["dags", "trigger", "first_day"]);
    let run = run_id(&standalone);
    let run_page = format!("{url}/dags/first_day/runs/{run}");

    // The sensor waits for its file and says so; then the pool is held, and the last task says by whom.
    browser.open(&run_page).await.unwrap();
    browser.until_text("running", SOON).await.unwrap();
    day.touch("input.csv");
    let why = eventually("report waits for the pool", SOON, || {
        let sentence = standalone.windlass(&["tasks", "why", "first_day", &run, "report"]);
        sentence.contains("pool narrow is full: 1 of 1 slots").then_some(sentence)
    });
    browser.until_text(why.trim(), SOON).await.unwrap();
    browser.picture(&picture("why.png")).await.unwrap();

    // Un-blocked, the run ends well by the event stream alone.
    day.touch("go");
    let succeeded = |what: &str| {
        eventually(what, SOON, || {
            let listed = standalone.windlass(&["runs", "list", "first_day", "-o", "json"]);
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            (listed[0]["state"] == "success").then_some(())
        });
    };
    succeeded("the run succeeds");
    let states = standalone.windlass(&["tasks", "states-for-dag-run", "first_day", &run]);
    let state_of = |task: &str| states.lines().find(|line| line.contains(task)).unwrap().to_owned();
    assert!(state_of("nothing").contains("skipped") && state_of("report").contains("success"), "{states}");

    // Both tries of the flaky task have their log.
    let log = |number: &str| standalone.windlass(&["tasks", "logs", "first_day", &run, "flaky", "--try", number]);
    assert!(log("1").contains("not yet") && !log("2").contains("not yet"));
    browser.open(&format!("{run_page}/tasks/flaky")).await.unwrap();
    browser.until_text("success", SOON).await.unwrap();
    browser.picture(&picture("task.png")).await.unwrap();

    // A task is cleared with what follows it, and runs again.
    let _line = standalone.windlass(&["tasks", "clear", "first_day", &run, "load", "--downstream"]);
    succeeded("the cleared run succeeds");
    eventually("the second log of load", SOON, || {
        let output = standalone.try_windlass(&["tasks", "logs", "first_day", &run, "load", "--try", "2"]);
        String::from_utf8_lossy(&output.stdout).contains("loaded first_day").then_some(())
    });
    standalone.stop();
}
