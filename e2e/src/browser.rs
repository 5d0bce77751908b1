//! A real Chromium, driven through chromedriver by the W3C WebDriver protocol.
//!
//! Every wait is for a condition. The profile is a new one each time, and nothing but the given pages is opened.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// A page of a loaded machine may take its time.
const WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What keeps Chromium from talking to anyone but the page.
const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
];

/// One browser with one window.
pub struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// When chromedriver or Chromium is not there.
    pub async fn start() -> anyhow::Result<Self> {
        let port = crate::standalone::free_port();
        let profile = tempfile::tempdir()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver can not be started; install chromium-driver")?;
        let client = reqwest::Client::new();
        let server = format!("http://127.0.0.1:{port}");
        let start = Instant::now();
        while client.get(format!("{server}/status")).send().await.is_err() {
            ensure!(start.elapsed() < WAIT, "chromedriver does not answer");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments, "binary": "/usr/bin/chromium"}}}});
        let answer: Value = client.post(format!("{server}/session")).json(&wanted).send().await?.json().await?;
        let id = answer["value"]["sessionId"].as_str().with_context(|| format!("no session: {answer}"))?;
        let session = format!("{server}/session/{id}");
        Ok(Self { driver, client, session, _profile: profile })
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Errors
    /// When the browser can not.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.post("url", json!({ "url": url })).await.map(drop)
    }

    /// Clicks the element of a CSS selector, as soon as there is one.
    ///
    /// # Errors
    /// When there is none.
    pub async fn click(&self, css: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let element = self.element(css).await?;
            match self.post(&format!("element/{element}/click"), json!({})).await {
                // The page is live: what was found may have been replaced by its newer self.
                Err(error) if error.to_string().contains("stale element") && start.elapsed() < WAIT => {}
                clicked => return clicked.map(drop),
            }
        }
    }

    /// Types into the element of a CSS selector.
    ///
    /// # Errors
    /// When there is none.
    pub async fn write(&self, css: &str, text: &str) -> anyhow::Result<()> {
        let element = self.element(css).await?;
        self.post(&format!("element/{element}/value"), json!({ "text": text })).await.map(drop)
    }

    /// What a script returns.
    ///
    /// # Errors
    /// When it fails.
    pub async fn script(&self, code: &str) -> anyhow::Result<Value> {
        self.post("execute/sync", json!({ "script": code, "args": [] })).await
    }

    /// The name of the tab that is looked at.
    ///
    /// # Errors
    /// When the browser can not say it.
    pub async fn tab(&self) -> anyhow::Result<String> {
        let answer: Value = self.client.get(format!("{}/window", self.session)).send().await?.json().await?;
        Ok(answer["value"].as_str().context("the window has no name")?.to_owned())
    }

    /// Opens a new tab, looks at it, and says its name.
    ///
    /// # Errors
    /// When the browser can not.
    pub async fn new_tab(&self) -> anyhow::Result<String> {
        let answer = self.post("window/new", json!({ "type": "tab" })).await?;
        let name = answer["handle"].as_str().context("the new tab has no name")?.to_owned();
        self.switch(&name).await?;
        Ok(name)
    }

    /// Looks at another tab.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn switch(&self, tab: &str) -> anyhow::Result<()> {
        self.post("window", json!({ "handle": tab })).await.map(drop)
    }

    /// Waits until the visible text of the page has a piece, within `limit`.
    ///
    /// # Errors
    /// When it does not come, with the text that is there.
    pub async fn until_text(&self, piece: &str, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let text = self.script("return document.body.innerText").await?;
            if text.as_str().is_some_and(|text| text.contains(piece)) {
                return Ok(());
            }
            ensure!(start.elapsed() < limit, "{piece:?} does not come; the page says {text}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps a picture of the page, for people.
    ///
    /// # Errors
    /// When it can not be taken or written.
    pub async fn picture(&self, file: &Path) -> anyhow::Result<()> {
        let encoded: Value = self.client.get(format!("{}/screenshot", self.session)).send().await?.json().await?;
        let encoded = encoded["value"].as_str().context("no picture")?;
        std::fs::write(file, base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded)?)?;
        Ok(())
    }

    async fn element(&self, css: &str) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            let found = self.post("element", json!({"using": "css selector", "value": css})).await;
            let id = found.ok().and_then(|found| found.as_object()?.values().next()?.as_str().map(ToOwned::to_owned));
            match id {
                Some(id) => return Ok(id),
                None if start.elapsed() >= WAIT => bail!("no element {css}"),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn post(&self, what: &str, body: Value) -> anyhow::Result<Value> {
        let answer: Value =
            self.client.post(format!("{}/{what}", self.session)).json(&body).send().await?.json().await?;
        ensure!(answer["value"]["error"].is_null(), "{what}: {}", answer["value"]["message"]);
        Ok(answer["value"].clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.driver.id().cast_signed());
        // chromedriver ends its browser when it is asked to end.
        let _gone_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _reaped = self.driver.wait();
    }
}
