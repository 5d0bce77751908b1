//! Shipping and reading on a directory, which the store treats as it treats a bucket.

use std::fs;

use link::LogArchive as _;
use model::{AttemptId, DagId, RunId, TaskId};
use uuid::Uuid;

use super::*;

fn place() -> LogPlace {
    LogPlace {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("manual__2026-01-30T00:00:00+00:00").unwrap(),
        task_id: TaskId::new("group.t").unwrap(),
        map_index: MapIndex::UNMAPPED,
        try_number: 2,
        attempt: AttemptId(Uuid::from_u128(7)),
    }
}

struct Place {
    dir: tempfile::TempDir,
    remote: RemoteLogs,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location = format!("file://{}/remote", dir.path().display());
        Self { remote: RemoteLogs::open(&location, &S3Access::default()).unwrap(), dir }
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("log.jsonl")
    }

    async fn ship(&self, text: &str, shipped: Option<u64>, shipment: Shipment) -> u64 {
        fs::write(self.file(), text).unwrap();
        self.remote.ship(&place(), &self.file(), shipped, shipment).await.unwrap()
    }

    /// The log, read in pieces, and whether it has ended.
    async fn read(&self, bytes_max: u32) -> (String, bool) {
        let mut text = String::new();
        loop {
            let read = self.remote.read(&place(), text.len() as u64, bytes_max).await.unwrap();
            let Some(chunk) = read else { return (text, false) };
            text.push_str(&String::from_utf8(chunk.bytes.clone()).unwrap());
            if chunk.ended || text.len() as u64 >= chunk.length {
                return (text, chunk.ended);
            }
            assert!(!chunk.bytes.is_empty(), "reading stands still at {} of {}", text.len(), chunk.length);
        }
    }

    fn parts(&self) -> Vec<String> {
        let folder = "remote/dag_id=d/run_id=manual__2026-01-30T00:00:00+00:00/task_id=group.t/attempt=2";
        let folder = self.dir.path().join(folder).join(place().attempt.to_string());
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{{\"text\":\"line {number}\"}}\n")).collect()
}

#[tokio::test]
async fn a_growing_log_is_shipped_in_parts_and_read_as_it_was_written() {
    let place = Place::new();
    assert_eq!(place.remote.read(&super::tests::place(), 0, 10).await, Ok(None));
    let text = lines(150_000);
    assert!(text.len() as u64 > 3 * PART_BYTES);
    let mut shipped = 0;
    for end in [10, 1_000_000, 1_500_000, text.len() - 5] {
        shipped = place.ship(&text[..end], Some(shipped), Shipment::SoFar).await;
        let whole_lines = text[..end].rfind('\n').map_or(0, |last| last + 1);
        assert_eq!(shipped, whole_lines as u64, "only whole lines before the end");
    }
    assert_eq!(place.read(100_000).await, (text[..usize::try_from(shipped).unwrap()].to_owned(), false));
    place.ship(&text, Some(shipped), Shipment::Whole).await;
    assert_eq!(place.parts(), ["00000.jsonl", "00001.jsonl", "00002.jsonl", "00003.last.jsonl"]);
    assert_eq!(place.read(1_000_003).await, (text, true));
}

#[tokio::test]
async fn whoever_does_not_know_how_far_a_log_was_shipped_finds_out() {
    let place = Place::new();
    let text = lines(60_000);
    place.ship(&text[..PART_BYTES as usize + 100], None, Shipment::SoFar).await;
    let first = place.dir.path().join("remote");
    let modified = || {
        let folder = place.remote.folder(&super::tests::place());
        fs::metadata(std::path::Path::new("/").join(folder.as_ref()).join("00000.jsonl")).unwrap().modified().unwrap()
    };
    assert!(first.exists());
    let before = modified();
    place.ship(&text, None, Shipment::Whole).await;
    assert_eq!(modified(), before, "a full part is not shipped again");
    assert_eq!(place.read(CHUNK).await, (text, true));
}

const CHUNK: u32 = 256 * 1024;

#[tokio::test]
async fn a_log_that_ends_at_the_edge_of_a_part_or_is_empty_ends_all_the_same() {
    let text = "x".repeat(PART_BYTES as usize - 1) + "\n";
    for text in [text.as_str(), "", "half a line"] {
        let place = Place::new();
        let shipped = place.ship(text, Some(0), Shipment::SoFar).await;
        place.ship(text, Some(shipped), Shipment::Whole).await;
        assert_eq!(place.parts(), ["00000.last.jsonl"]);
        assert_eq!(place.read(CHUNK).await, (text.to_owned(), true));
    }
}

#[tokio::test]
async fn a_log_without_a_file_has_nothing_to_ship() {
    let place = Place::new();
    let shipped = place.remote.ship(&super::tests::place(), &place.file(), None, Shipment::Whole).await;
    assert_eq!(shipped.unwrap(), 0);
    assert_eq!(place.remote.read(&super::tests::place(), 0, CHUNK).await, Ok(None));
}

#[test]
fn a_gap_in_the_parts_ends_what_can_be_read() {
    let object = |number, part_place, size| object_store::ObjectMeta {
        location: Part { number, place: part_place }.path(&Path::from("x")),
        last_modified: chrono::Utc::now(),
        size,
        e_tag: None,
        version: None,
    };
    let shipped = |objects: &[_]| {
        let shipped = read::Shipped::of(objects);
        (shipped.length(), shipped.is_whole())
    };
    let open = |number, size| object(number, PartPlace::Open, size);
    let last = |number, size| object(number, PartPlace::Last, size);
    assert_eq!(shipped(&[open(1, 5)]), (0, false));
    assert_eq!(shipped(&[open(0, PART_BYTES), open(2, 5)]), (PART_BYTES, false));
    assert_eq!(shipped(&[open(0, 5), last(0, 9)]), (9, true));
    assert_eq!(shipped(&[open(0, PART_BYTES), last(1, 0)]), (PART_BYTES, true));
}

#[test]
fn no_name_leads_out_of_the_prefix() {
    let remote = RemoteLogs::open("s3://logs/a/b/", &S3Access::default()).unwrap();
    assert_eq!(
        remote.address(&LogPlace { map_index: MapIndex(3), ..place() }),
        "s3://logs/a/b/dag_id=d/run_id=manual__2026-01-30T00:00:00+00:00/task_id=group.t/map_index=3/attempt=2/\
         00000000-0000-0000-0000-000000000007"
    );
    let hostile = LogPlace { run_id: RunId::new("../..\\..").unwrap_or_else(|_| place().run_id), ..place() };
    assert_eq!(remote.folder(&hostile).parts().count(), 7);
}

#[test]
fn a_location_is_told_from_what_is_none() {
    let open = |location| RemoteLogs::open(location, &S3Access::default()).map(drop);
    assert!(open("s3://logs").is_ok() && open("s3://logs/a b/c").is_ok() && open("file:///var/logs").is_ok());
    for location in ["logs", "s3:///prefix", "file:///", "file://host/x", "http://x/y", ""] {
        let error = open(location).unwrap_err().to_string();
        assert!(error.contains("s3://bucket/prefix"), "{location}: {error}");
    }
    let half = S3Access { access_key_id: Some("key".to_owned()), ..S3Access::default() };
    let error = RemoteLogs::open("s3://logs", &half).unwrap_err().to_string();
    assert!(error.contains("AWS_SECRET_ACCESS_KEY is not"), "{error}");
}
