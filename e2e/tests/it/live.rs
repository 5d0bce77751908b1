//! Live pages in a real Chromium: two tabs hold one stream, a log grows in both, and what is selected stays.

use std::{path::Path, time::Duration};

use windlass_e2e::{Browser, Standalone, StandaloneBuilder};

const SOON: Duration = Duration::from_secs(60);
const DAG: &str = "
dag_id: talks
schedule: null
is_paused_upon_creation: false
tasks:
  - task_id: talk
    operator: bash
    bash_command: 'n=0; while [ ! -e $GO_ON ]; do n=$((n+1)); echo said $n; sleep 0.3; done; echo the last word'
";

async fn streams(standalone: &Standalone) -> usize {
    let page = reqwest::get(format!("{}/metrics", standalone.url())).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("windlass_live_streams "));
    line.unwrap_or_else(|| panic!("no count of streams: {page}")).parse().unwrap()
}

async fn until_streams(standalone: &Standalone, wanted: usize) {
    let start = std::time::Instant::now();
    loop {
        let now = streams(standalone).await;
        if now == wanted {
            return;
        }
        assert!(start.elapsed() < SOON, "{now} streams are open, not {wanted}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn started(dags: &Path, go_on: &Path) -> Standalone {
    std::fs::write(dags.join("talks.yaml"), DAG.replace("$GO_ON", &go_on.display().to_string())).unwrap();
    StandaloneBuilder::new().env("WINDLASS_DAGS_FOLDER", dags.display().to_string()).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_hold_one_stream_and_a_log_grows_in_a_page_that_keeps_what_is_selected() {
    let folder = tempfile::tempdir().unwrap();
    let go_on = folder.path().join("go-on");
    let dags = folder.path().join("dags");
    std::fs::create_dir(&dags).unwrap();
    let mut standalone = started(&dags, &go_on);
    let browser = Browser::start().await.unwrap();
    browser.open(&format!("{}/dags", standalone.url())).await.unwrap();
    browser.write("[name=username]", "airflow").await.unwrap();
    browser.write("[name=password]", "airflow").await.unwrap();
    browser.click("form button").await.unwrap();
    browser.click("[aria-label='Trigger talks']").await.unwrap();
    browser.open(&format!("{}/dags/talks", standalone.url())).await.unwrap();
    browser.click("a[href*='/runs/manual__']").await.unwrap();
    browser.until_text("said 5", SOON).await.unwrap();
    until_streams(&standalone, 1).await;

    // The log comes by the stream: nothing asks for pieces of it.
    let asked = "return performance.getEntriesByType('resource').filter(({ name }) => /\\/log\\?/.test(name)).length";
    assert_eq!(browser.script(asked).await.unwrap(), 0);
    let select = "const id = document.querySelector('#live p.id'); getSelection().selectAllChildren(id); \
                  window.seenFromTheStart = true; return getSelection().toString()";
    let selected = browser.script(select).await.unwrap();
    assert!(selected.as_str().unwrap().starts_with("manual__"), "{selected}");
    // Times of a run that goes on are worked in meanwhile.
    browser.until_text("said 25", SOON).await.unwrap();
    assert_eq!(browser.script("return getSelection().toString()").await.unwrap(), selected);

    // A second tab: the first is hidden and shows nothing; both together still hold one.
    let first = browser.tab().await.unwrap();
    let second = browser.new_tab().await.unwrap();
    browser.open(&format!("{}/runs", standalone.url())).await.unwrap();
    browser.until_text("talks", SOON).await.unwrap();
    until_streams(&standalone, 1).await;
    std::fs::write(&go_on, "").unwrap();
    browser.switch(&first).await.unwrap();
    // It catches up with its log and its state without being loaded again.
    browser.until_text("the last word", SOON).await.unwrap();
    browser.until_text("1 done", SOON).await.unwrap();
    assert_eq!(browser.script("return window.seenFromTheStart === true").await.unwrap(), true);
    browser.switch(&second).await.unwrap();
    browser.open("about:blank").await.unwrap();
    browser.switch(&first).await.unwrap();
    browser.open("about:blank").await.unwrap();
    until_streams(&standalone, 0).await;
    standalone.stop();
}
