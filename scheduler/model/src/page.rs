//! Where pages stand: the paths of the web UI, for whoever names one in a message or on another page.

use crate::{DagId, MapIndex, RunId, TaskId};

/// One segment of a path: everything but letters, digits and `-_.*` is encoded (RFC 3986, section 2.1).
#[must_use]
pub fn segment(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// A DAG's page.
#[must_use]
pub fn of_dag(dag: &DagId) -> String {
    format!("/dags/{}", segment(dag.as_str()))
}

/// A run's page.
#[must_use]
pub fn of_run(dag: &DagId, run: &RunId) -> String {
    format!("{}/runs/{}", of_dag(dag), segment(run.as_str()))
}

/// A task's page in a run; of an expanded one the page of an instance.
#[must_use]
pub fn of_task((dag, run): (&DagId, &RunId), task: &TaskId, map: MapIndex) -> String {
    let path = format!("{}/tasks/{}", of_run(dag, run), segment(task.as_str()));
    match map {
        MapIndex::UNMAPPED => path,
        map => format!("{path}?map_index={map}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_encoded_and_an_instance_is_named() {
        let (dag, run) = (DagId::new("d.e").unwrap(), RunId::new("scheduled__2026-11-21T00:00:00+00:00").unwrap());
        let task = TaskId::new("g.t").unwrap();
        let page = "/dags/d.e/runs/scheduled__2026-11-21T00%3A00%3A00%2B00%3A00/tasks/g.t";
        assert_eq!(of_task((&dag, &run), &task, MapIndex::UNMAPPED), page);
        assert_eq!(of_task((&dag, &run), &task, MapIndex(2)), format!("{page}?map_index=2"));
        assert_eq!(segment("ü/ b"), "%C3%BC%2F%20b");
    }
}
