//! The DAGs of every server that a test starts.

/// The sample DAG; its texts are hostile where users may write any.
pub const STOCK: &str = r##"
dag_id: stock_data_pipeline
description: Live trades to bronze; silver and gold by SQL
doc_md: "# Stock <script>alert('doc')</script>"
schedule: "@daily"
start_date: 2026-01-01
is_paused_upon_creation: false
max_active_runs: 1
tags: [stock, medallion]
default_args: {owner: data, retries: 2, retry_delay: 30s}
params:
  full_refresh: {type: boolean, default: false, description: Rebuild silver and gold from all of bronze}
  rows: {type: integer, default: 10, minimum: 1}
tasks:
  - {task_id: submit_stream_job, operator: bash, bash_command: "true"}
  - {task_id: bronze, operator: bash, bash_command: "true", dependencies: [submit_stream_job]}
  - {task_id: bronze_checks, operator: bash, bash_command: "true", dependencies: [bronze]}
  - {task_id: silver, operator: bash, bash_command: "true", dependencies: [bronze_checks]}
  - {task_id: gold, operator: bash, bash_command: "true", dependencies: [silver]}
  - {task_id: publish_quality_report, operator: bash, bash_command: "true", trigger_rule: all_done, dependencies: [gold, bronze]}
"##;

/// A second one, paused, without a schedule.
pub const OTHER: &str = "
dag_id: weather_pipeline
description: hourly weather
schedule: null
is_paused_upon_creation: true
tags: [weather]
tasks:
  - {task_id: fetch, operator: bash, bash_command: 'true'}
";
