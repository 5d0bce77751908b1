//! The rendered fields of an attempt: the record at the head of its log, which is the only place that has them.

use link::{Query, Reply, query::LogName};
use model::{AttemptId, WorkerId};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::app::App;

/// The record has at most 32 KiB of fields; escapes may double them.
const HEAD_BYTES: u32 = 96 * 1024;

#[derive(Deserialize)]
struct Record {
    rendered: Map<String, Value>,
}

/// The fields as the worker rendered and masked them; none when the attempt has not got so far, or its log is out of reach.
pub async fn fields(app: &App, attempt: AttemptId, worker: Option<WorkerId>) -> Map<String, Value> {
    let head = Query::ReadLog { log: LogName::Attempt(attempt), worker, offset: 0, bytes_max: HEAD_BYTES };
    match app.leader.ask(head).await {
        Ok(Reply::Log(chunk)) => in_head(&chunk.bytes),
        Ok(_) | Err(_) => Map::new(),
    }
}

fn in_head(bytes: &[u8]) -> Map<String, Value> {
    let mut records = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Record>(line).ok());
    records.next().map(|record| record.rendered).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_with_fields_counts() {
        let log = b"{\"text\":\"started\"}\n{\"text\":\"Rendered fields\",\"rendered\":{\"sql\":\"SELECT 1\"}}\n{\"tex";
        assert_eq!(in_head(log)["sql"], "SELECT 1");
        assert!(in_head(b"no json").is_empty());
    }
}
