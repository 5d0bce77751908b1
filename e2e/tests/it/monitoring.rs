//! What processes show Prometheus, and every query of the dashboards on a real Prometheus.
//!
//! The second part runs where `KAFKA_BOOTSTRAP_SERVERS_TEST` names a Kafka, and `prometheus` and `promtool` are there.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use windlass_e2e::{
    Prometheus, Standalone, StandaloneBuilder, copy_dags,
    fleet::{Fleet, Size},
    program, project,
    prometheus::{assert_passes, in_older_format, promtool},
    standalone::free_port,
    within,
};

use crate::trades::run_dag;

/// How long something may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Names of kafka_exporter that promtool would not have chosen: `_sum` is meant for histograms.
const NOT_OURS: [&str; 2] = ["kafka_consumergroup_current_offset_sum", "kafka_consumergroup_lag_sum"];

async fn page(url: &str) -> String {
    let answer = reqwest::get(url).await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{url}: {kind}");
    answer.error_for_status().unwrap().text().await.unwrap()
}

/// A value by its name with its labels.
fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_of_a_fleet_shows_its_part_and_only_the_leader_the_whole() {
    let mut fleet = Fleet::start(Size { schedulers: 2, workers: 1, apis: 1 }, &[("hello.yaml", HELLO)]).await;
    let leader = fleet.leader().await.unwrap();
    let (led, stands_by) = (&fleet.schedulers[leader], &fleet.schedulers[1 - leader]);
    let leading = led.metrics_url().unwrap();
    let shown = within("the leader shows its worker", PATIENCE, async || {
        let shown = page(&leading).await;
        (value(&shown, "windlass_cluster_workers{state=\"connected\"}") == Some(1.0)).then_some(shown)
    })
    .await;
    assert_eq!(value(&shown, "windlass_scheduler_leads"), Some(1.0));
    assert_eq!(value(&shown, "windlass_dags{state=\"paused\"}"), Some(1.0), "{shown}");
    let other = page(&stands_by.metrics_url().unwrap()).await;
    assert_eq!(value(&other, "windlass_scheduler_leads"), Some(0.0));
    assert!(!other.contains("windlass_cluster_workers"), "a standby knows nothing of workers:\n{other}");

    let worker = page(&fleet.workers[0].metrics_url().unwrap()).await;
    assert_eq!(value(&worker, "windlass_worker_connections_total"), Some(1.0));
    let api = format!("{}/metrics", fleet.apis[0].url);
    let _unknown = reqwest::get(format!("{}/no/such/page-1", fleet.apis[0].url)).await.unwrap();
    let of_api = page(&api).await;
    assert!(of_api.contains("route=\"/api/v2/monitor/health\""), "{of_api}");
    assert!(of_api.contains("route=\"unknown\",status=\"4xx\"") && !of_api.contains("page-1"), "{of_api}");

    fleet.schedulers[leader].kill();
    let next = fleet.schedulers[1 - leader].metrics_url().unwrap();
    within("the standby leads and says so", PATIENCE, async || {
        let shown = page(&next).await;
        let worker = value(&shown, "windlass_cluster_workers{state=\"connected\"}");
        (value(&shown, "windlass_scheduler_takeovers_total") == Some(1.0) && worker == Some(1.0)).then_some(())
    })
    .await;
}

const HELLO: &str = "
dag_id: hello_again
schedule: null
tasks:
  - task_id: hello
    operator: bash
    bash_command: echo hello
";

/// The exporter beside a standalone.
struct Exporter {
    child: Child,
    address: String,
}

impl Exporter {
    fn start(standalone: &Standalone, kafka: &str) -> Self {
        let lake = standalone.windlass(&["lake", "environment"]);
        let lake = lake.lines().find_map(|line| line.strip_prefix("WINDLASS_LAKE_DATABASE_URL=")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new(program("windlass-tasks"))
            .args(["kafka-exporter", "--listen", &address])
            .env("KAFKA_BOOTSTRAP_SERVERS", kafka)
            .env("WINDLASS_LAKE_DATABASE_URL", lake)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Our own configuration, with what runs here in place of the stack's names.
fn configuration(standalone: &Standalone, exporter: &str) -> String {
    let shipped = std::fs::read_to_string(project().join("configs/prometheus/prometheus.yml")).unwrap();
    let here = |url: &str| url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let mut text = shipped;
    // In a standalone the web server shows the leader's metrics, so there is no scheduler of its own.
    let by_name = [("scheduler", 8085, String::new()), ("worker", 8086, here(&standalone.worker_metrics_url()))];
    for (name, port, address) in by_name {
        let wanted = format!("dns_sd_configs:\n      - names: [{name}]\n        type: A\n        port: {port}\n");
        assert!(text.contains(&wanted), "{wanted}");
        let targets = if address.is_empty() { String::new() } else { format!("\"{address}\"") };
        text = text.replace(&wanted, &format!("static_configs:\n      - targets: [{targets}]\n"));
    }
    let rules = project().join("configs/prometheus/rules");
    let replaced = [
        ("15s", "1s".to_owned()),
        ("/etc/prometheus/rules", rules.display().to_string()),
        ("windlass:8083", here(&standalone.url())),
        ("kafka-exporter:9308", exporter.to_owned()),
        ("\"minio:9000\"", String::new()),
        ("\"trino:8080\"", String::new()),
        ("schema-registry:8081", here(&standalone.registry_url())),
        ("\"127.0.0.1:9090\"", String::new()),
    ];
    for (from, to) in replaced {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    text
}

/// Every query of a dashboard with the title of its panel, and every question for the values of a variable.
struct Dashboard {
    queries: Vec<(String, String)>,
    variables: Vec<(String, String)>,
}

fn dashboards() -> Vec<Dashboard> {
    let folder = project().join("configs/grafana/dashboards");
    let datasource = std::fs::read_to_string(project().join("configs/grafana/provisioning/datasources/prometheus.yml"));
    assert!(datasource.unwrap().contains("uid: prometheus\n"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| read(&serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())).collect()
}

fn read(board: &Value) -> Dashboard {
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        let title = format!("{} / {}", board["title"].as_str().unwrap(), panel["title"].as_str().unwrap());
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "prometheus", "{title}");
            queries.push((title.clone(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    let variables = board["templating"]["list"].as_array().unwrap().iter().map(|variable| {
        let question = variable["definition"].as_str().unwrap();
        let inner = question.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (metric, label) = inner.split_once(", ").unwrap();
        (metric.to_owned(), label.to_owned())
    });
    Dashboard { queries, variables: variables.collect() }
}

/// A query as Grafana would send it, with all of each variable chosen.
fn filled_in(query: &str, dashboard: &Dashboard) -> String {
    let query = query.replace("$__rate_interval", "2m");
    dashboard.variables.iter().fold(query, |query, (_, label)| query.replace(&format!("\"${label}\""), "\".*\""))
}

async fn check_names(pages: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    for url in pages {
        let shown = page(url).await;
        let ours = shown.lines().filter(|line| !NOT_OURS.iter().any(|name| line.contains(name)));
        let file = folder.path().join("page");
        std::fs::write(&file, in_older_format(&ours.collect::<Vec<_>>().join("\n"))).unwrap();
        assert_passes(&promtool(&["check", "metrics"], Some(&file)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_every_query_of_every_dashboard_has_data_on_a_real_prometheus() {
    let Some(kafka) = std::env::var("KAFKA_BOOTSTRAP_SERVERS_TEST").ok().filter(|servers| !servers.is_empty()) else {
        println!("skipped: KAFKA_BOOTSTRAP_SERVERS_TEST names no Kafka");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dags = copy_dags(folder.path());
    let standalone = StandaloneBuilder::new()
        .env("WINDLASS_DAGS_FOLDER", dags.display().to_string())
        .env("KAFKA_BOOTSTRAP_SERVERS", &kafka)
        .env("STOCK_TOPIC", format!("watched_{}", std::process::id()))
        .env("STOCK_SINK_MAX_SECONDS", "1")
        .start();
    let exporter = Exporter::start(&standalone, &kafka);
    let prometheus = Prometheus::start(&configuration(&standalone, &exporter.address)).await;
    within("Prometheus sees every process", PATIENCE, async || {
        let up = prometheus.values("up").await;
        (up.len() == 4 && up.iter().all(|up| *up > 0.0)).then_some(())
    })
    .await;
    // A file that changes is compiled while Prometheus looks.
    std::fs::write(dags.join("hello_again.yaml"), HELLO).unwrap();
    tokio::task::block_in_place(|| drop(run_dag(&standalone)));

    let pages = [
        format!("{}/metrics", standalone.url()),
        format!("{}/metrics", standalone.registry_url()),
        standalone.worker_metrics_url(),
        format!("http://{}/metrics", exporter.address),
    ];
    check_names(&pages).await;
    check_queries(&prometheus).await;
}

/// Asks until every query of every dashboard has data.
async fn check_queries(prometheus: &Prometheus) {
    let mut open = Vec::new();
    for dashboard in dashboards() {
        for (metric, label) in &dashboard.variables {
            assert!(!prometheus.label_values(metric, label).await.is_empty(), "{metric} {label}");
        }
        open.extend(dashboard.queries.iter().map(|(title, query)| (title.clone(), filled_in(query, &dashboard))));
    }
    let all = open.len();
    assert!(all > 70, "{all} queries");
    let start = Instant::now();
    while !open.is_empty() {
        assert!(start.elapsed() < PATIENCE, "no data within {PATIENCE:?} for {open:#?}");
        let mut without = Vec::new();
        for (title, query) in open {
            let values = prometheus.values(&query).await;
            if !values.iter().any(|value| value.is_finite()) {
                without.push((title, query));
            }
        }
        open = without;
    }
    println!("{all} queries have data");
}
