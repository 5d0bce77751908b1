//! A real Prometheus with a configuration of a test's own, and its promtool.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{standalone::free_port, within};

/// How long a start may take on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Prometheus; dropped, it is killed with its data.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(configuration: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("windlass-prometheus-").tempdir().expect("a temporary folder");
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("a configuration file");
        assert_passes(&promtool(&["check", "config", &file.display().to_string()], None));
        let log = File::create(folder.path().join("prometheus.log")).expect("a log file");
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("prometheus starts; Debian's package has it");
        let started = Self { child, url: format!("http://{address}"), _folder: folder };
        within("Prometheus is ready", START_LIMIT, async || {
            let ready = reqwest::get(format!("{}/-/ready", started.url)).await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        started
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let client = reqwest::Client::new();
        let answer = client.get(format!("{}{path}", self.url)).query(parameters).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// The values of an expression now, one a series.
    ///
    /// # Panics
    /// When Prometheus refuses the expression.
    pub async fn values(&self, expression: &str) -> Vec<f64> {
        let data = self.ask("/api/v1/query", &[("query", expression)]).await;
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        match data["resultType"].as_str() {
            Some("scalar") => number(&data["result"][1]).into_iter().collect(),
            _ => {
                let series = data["result"].as_array().expect("a list of series");
                series.iter().filter_map(|series| number(&series["value"][1])).collect()
            }
        }
    }

    /// The values of a label on the series of a metric.
    ///
    /// # Panics
    /// When Prometheus refuses the question.
    pub async fn label_values(&self, metric: &str, label: &str) -> Vec<String> {
        let data = self.ask(&format!("/api/v1/label/{label}/values"), &[("match[]", metric)]).await;
        let values = data.as_array().expect("a list of values");
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs promtool, on a file when there is one.
///
/// # Panics
/// When it can not be run.
#[must_use]
pub fn promtool(arguments: &[&str], input: Option<&Path>) -> Output {
    let stdin = input.map_or_else(Stdio::null, |file| File::open(file).expect("the file is there").into());
    Command::new("promtool").args(arguments).stdin(stdin).output().expect("promtool runs; Debian's prometheus has it")
}

/// Shows what promtool said when it has found something.
///
/// # Panics
/// When it has.
pub fn assert_passes(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "promtool: {}{}", text(&output.stdout), text(&output.stderr));
}

/// A page in the older format, the only one that promtool 2.42 checks: there a counter has `_total` in its description,
/// too, and neither units nor an end are marked.
#[must_use]
pub fn in_older_format(page: &str) -> String {
    let counters: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let one = |line: &str| {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest)) if counters.contains(&name) => {
                format!("# {kind} {name}_total {rest}\n")
            }
            (Some("#"), Some("EOF" | "UNIT"), _, _) => String::new(),
            _ => format!("{line}\n"),
        }
    };
    page.lines().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counters_are_named_otherwise_in_the_older_format() {
        let page = "# HELP a_b Help.\n# TYPE a_b counter\na_b_total 1\n# TYPE c gauge\nc 2\n# EOF\n";
        let older = "# HELP a_b_total Help.\n# TYPE a_b_total counter\na_b_total 1\n# TYPE c gauge\nc 2\n";
        assert_eq!(in_older_format(page), older);
    }
}
