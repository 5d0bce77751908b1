//! The UI in a real Chromium: log in, un-pause, press Play, watch the run live to its end, read its log.

use std::time::Duration;

use windlass_e2e::{Browser, StandaloneBuilder, program, project};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_unpauses_plays_and_watches_the_pipeline_in_the_browser() {
    let file = project().join("dags/data/stocks/trades.csv.gz");
    let mut standalone = StandaloneBuilder::new()
        .env("STOCK_SOURCE", format!("replay:{}", file.display()))
        .env("STOCK_REPLAY_SPEED", "0")
        .start();
    let browser = Browser::start().await.unwrap();
    let pictures = program("e2e-pictures");
    std::fs::create_dir_all(&pictures).unwrap();

    browser.open(&format!("{}/dags", standalone.url())).await.unwrap();
    browser.write("[name=username]", "airflow").await.unwrap();
    browser.write("[name=password]", "airflow").await.unwrap();
    browser.click("form button").await.unwrap();
    browser.until_text("stock_data_pipeline", Duration::from_secs(30)).await.unwrap();

    let row = "form[action='/dags/stock_data_pipeline";
    browser.click(&format!("{row}/pause'] button")).await.unwrap();
    browser.until_text("every day at 00:00", Duration::from_secs(30)).await.unwrap();
    browser.click("[aria-label='Trigger stock_data_pipeline']").await.unwrap();
    browser.picture(&pictures.join("dags.png")).await.unwrap();

    browser.open(&format!("{}/dags/stock_data_pipeline", standalone.url())).await.unwrap();
    browser.click("a[href*='/runs/manual__']").await.unwrap();
    // The page is never loaded again: the run's end arrives by the event stream.
    browser.script("window.seenFromTheStart = true").await.unwrap();
    browser.until_text("10 done", Duration::from_secs(120)).await.unwrap();
    assert_eq!(browser.script("return window.seenFromTheStart === true").await.unwrap(), true);
    browser.click("a.name[href*='task=publish_quality_report']").await.unwrap();
    browser.until_text("13 checks", Duration::from_secs(30)).await.unwrap();
    browser.picture(&pictures.join("run.png")).await.unwrap();

    browser.open(&format!("{}/services", standalone.url())).await.unwrap();
    browser.until_text("bronze-sink", Duration::from_secs(30)).await.unwrap();
    browser.picture(&pictures.join("services.png")).await.unwrap();
    standalone.stop();
}
