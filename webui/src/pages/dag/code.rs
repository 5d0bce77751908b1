//! The code tab: a version as it is stored, its definition and the files that it carries.

use serde::Serialize;
use store::read::{self, DagView};

use super::super::{
    dag_url,
    words::{self, Clock, Moment},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    http::query::Query,
};

/// Versions that can be chosen; older ones are reached from their runs.
const VERSIONS_MAX: i64 = 30;
/// Files of one page.
const FILES_MAX: usize = 50;
/// Of each file so much is shown.
const FILE_BYTES_MAX: i32 = 64 * 1024;

/// The code of a version.
#[derive(Debug, Serialize)]
pub struct Code {
    versions: Vec<Choice>,
    number: i32,
    hash: String,
    seen: Moment,
    fileloc: String,
    /// The bundle and its revision that brought the version, when that is not the DAG folder.
    bundle: Option<Bundle>,
    yaml: String,
    files: Vec<File>,
    more_files: usize,
}

#[derive(Debug, Serialize)]
struct Choice {
    number: i32,
    url: String,
    chosen: bool,
    seen: String,
}

#[derive(Debug, Serialize)]
struct Bundle {
    name: String,
    revision: String,
    url: Option<String>,
}

#[derive(Debug, Serialize)]
struct File {
    name: String,
    size: String,
    text: String,
    is_cut: bool,
}

/// The version of the address, else the current one.
///
/// # Errors
/// [`ApiError::NotFound`] when the DAG has no such version.
pub(super) async fn code(app: &App, view: &DagView, query: &Query, clock: Clock) -> ApiResult<Code> {
    let all = read::version_list(&app.pool, &view.dag_id, VERSIONS_MAX).await?;
    let id = match query.text("version") {
        None => view.current,
        Some(text) => {
            let wanted = all.iter().find(|version| text == version.number.to_string());
            let missing = || ApiError::NotFound(format!("{} has no version {text} among its newest", view.dag_id));
            wanted.ok_or_else(missing)?.id
        }
    };
    let version = app.versions.one(&app.pool, id).await?;
    let url = dag_url(&view.dag_id);
    let mut files = Vec::new();
    let shown: Vec<_> = version.dag.files.iter().take(FILES_MAX).collect();
    let hashes: Vec<String> = shown.iter().map(|(_, sha256)| (*sha256).clone()).collect();
    let heads = store::blob_heads(&app.pool, &hashes, FILE_BYTES_MAX).await?;
    for (name, sha256) in shown {
        files.push(file(name, heads.get(sha256)));
    }
    Ok(Code {
        versions: all
            .iter()
            .map(|one| Choice {
                number: one.number,
                url: format!("{url}?tab=code&version={}", one.number),
                chosen: one.id == id,
                seen: clock.short(one.created_at),
            })
            .collect(),
        number: version.number,
        hash: version.content_hash.get(..12).unwrap_or_default().to_owned(),
        seen: clock.moment(version.created_at),
        fileloc: view.fileloc.clone(),
        bundle: version.bundle_version.as_ref().map(|revision| Bundle {
            name: version.bundle_name.clone(),
            revision: revision.chars().take(12).collect(),
            url: version.bundle_url.clone(),
        }),
        yaml: read::source(&app.pool, id).await?.unwrap_or_default(),
        files,
        more_files: version.dag.files.len().saturating_sub(FILES_MAX),
    })
}

fn file(name: &str, head: Option<&(Vec<u8>, i32)>) -> File {
    let (bytes, length) = head.map_or((&[][..], 0), |(bytes, length)| (bytes.as_slice(), *length));
    let is_cut = i32::try_from(bytes.len()).is_ok_and(|shown| shown < length);
    let text = String::from_utf8_lossy(bytes);
    // A character that the cut went through is left out.
    let text = if is_cut { text.trim_end_matches('\u{fffd}') } else { &text };
    File {
        name: name.to_owned(),
        size: format!("{} bytes", words::number(i64::from(length))),
        is_cut,
        text: text.to_owned(),
    }
}
