//! Mistakes in DAG files: each with its line, a mark below what is wrong, and what may have been meant. Below them what the
//! leader holds in quarantine.

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use model::BundleName;
use serde::Serialize;
use store::{
    quarantine::{self, Entry},
    read::{self, FileFilter},
};

use super::{
    Frame, Place,
    error::PageResult,
    show as print,
    words::{Clock, Moment, count},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::quarantine::release_one,
};

/// So many entries of the quarantine are shown; the command line and REST have all.
const HELD_SHOWN_MAX: i64 = 50;

/// Mistakes of one page: whoever has more mends some first, and is told that there are more.
const MISTAKES_MAX: usize = 500;

#[derive(Serialize)]
struct View {
    frame: Frame,
    files: Vec<File>,
    /// What is not shown, in words.
    more: Option<String>,
    held: Vec<Held>,
    held_more: i64,
}

/// Something in quarantine.
#[derive(Serialize)]
struct Held {
    id: String,
    kind: String,
    key: String,
    reason: String,
    failures: String,
    since: Moment,
}

/// A file with its mistakes.
#[derive(Serialize)]
struct File {
    /// The bundle that it is of, when that is not the DAG folder.
    bundle: Option<String>,
    name: String,
    since: Moment,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    place: String,
    field: Option<String>,
    message: String,
    suggestion: Option<String>,
    excerpt: Option<Excerpt>,
}

/// A line of the file, cut where the mistake begins.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Excerpt {
    line: i32,
    before: String,
    wrong: String,
    after: String,
}

/// `GET /import-errors`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let mut found = read::import_errors(&app.pool, &[], MISTAKES_MAX as i64 + 1).await?;
    let is_cut = found.len() > MISTAKES_MAX;
    found.truncate(MISTAKES_MAX);
    let mut files: Vec<File> = Vec::new();
    for error in found {
        let bundle = (error.bundle_name != BundleName::FOLDER).then(|| error.bundle_name.clone());
        if files.last().is_none_or(|file| file.name != error.file || file.bundle != bundle) {
            files.push(File {
                bundle,
                name: error.file.clone(),
                since: clock.moment(error.found_at),
                rows: Vec::new(),
            });
        }
        if let Some(file) = files.last_mut() {
            file.rows.push(row(error));
        }
    }
    let more = if is_cut {
        let all = read::broken_file_count(&app.pool, &FileFilter::default()).await?;
        let all = count(usize::try_from(all).unwrap_or(0), "file");
        Some(format!(
            "These are the first {MISTAKES_MAX} mistakes. In all, {all} cannot be read: mend some, and the next ones show."
        ))
    } else {
        None
    };
    let (held, total) = quarantine::list(&app.pool, None, (HELD_SHOWN_MAX, 0)).await?;
    let held_more = (total - HELD_SHOWN_MAX).max(0);
    let held = held.into_iter().map(|entry| of_entry(entry, &clock)).collect();
    let frame = Frame::new(&app, &who, Place::ImportErrors, "Import errors").await?;
    Ok(print(&headers, "import_errors", &View { frame, files, more, held, held_more })?)
}

/// `POST /quarantine/release`.
pub async fn release(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    release_one(&app, &who, form.text("entry_id")).await?;
    Ok(Redirect::to("/import-errors").into_response())
}

fn of_entry(entry: Entry, clock: &Clock) -> Held {
    Held {
        id: entry.id,
        kind: entry.kind,
        key: entry.key,
        reason: entry.reason,
        failures: count(usize::try_from(entry.failures).unwrap_or(0), "failure"),
        since: clock.moment(entry.last_at),
    }
}

fn row(error: read::ImportError) -> Row {
    let place = match (error.line, error.col) {
        (Some(line), Some(col)) => format!("line {line}, column {col}"),
        (Some(line), None) => format!("line {line}"),
        (None, _) => "the file".to_owned(),
    };
    let excerpt = error.line.zip(error.excerpt).map(|(line, text)| excerpt(line, &text, error.col));
    Row { place, field: error.field, message: error.message, suggestion: error.suggestion, excerpt }
}

/// Marks the word at the column; the whole line when there is none.
fn excerpt(line: i32, text: &str, col: Option<i32>) -> Excerpt {
    let chars: Vec<char> = text.trim_end().chars().collect();
    let at = col.and_then(|col| usize::try_from(col - 1).ok()).unwrap_or(0).min(chars.len());
    let is_word = |c: &char| !c.is_whitespace() && !matches!(c, ':' | ',' | '[' | ']' | '{' | '}');
    let length = chars[at..].iter().take_while(|c| is_word(c)).count().max(usize::from(at < chars.len()));
    Excerpt {
        line,
        before: chars[..at].iter().collect(),
        wrong: chars[at..at + length].iter().collect(),
        after: chars[at + length..].iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_the_column_is_marked() {
        let cut = |text: &str, col| {
            let Excerpt { before, wrong, after, .. } = excerpt(3, text, col);
            format!("{before}|{wrong}|{after}")
        };
        assert_eq!(cut("  bash_comand: echo", Some(3)), "  |bash_comand|: echo");
        assert_eq!(cut("a: {b: ü}  ", Some(4)), "a: |{|b: ü}");
        assert_eq!(cut("short", Some(99)), "short||");
        assert_eq!(cut("", None), "||");
    }
}
