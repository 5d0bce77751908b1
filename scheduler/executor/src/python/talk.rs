//! The worker's side of the module `windlass`: JSON lines, a request and an answer at a time.

use std::sync::Arc;

use link::{Assignment, TaskContext, WhichAssets};
use model::{AssetNews, XComValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use crate::{
    Host, assets,
    xcom::{self, Indexes, ParseError, Pull, Tasks},
};

/// The longest request: an XCom of the largest size with all its characters escaped.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;
/// So many values an attempt may push; more is a table.
const PUSHES_MAX: usize = 1000;

/// What the code has said in the end.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Values for others.
    pub(super) pushed: Vec<XComValue>,
    /// What it says of its outlets.
    pub(super) assets: Vec<AssetNews>,
    /// What it returns.
    pub(super) result: Option<Value>,
    /// How it wants to end.
    pub(super) ending: Option<Ending>,
}

/// How code can ask to end.
#[derive(Debug)]
pub(super) enum Ending {
    /// As skipped.
    Skipped(String),
    /// As failed for good.
    Failed(String),
    /// By an exception that nobody has caught.
    Raised(String),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Context,
    XcomPush {
        key: String,
        value: Value,
    },
    XcomPull {
        task_ids: Option<Tasks>,
        key: String,
        map_indexes: Option<Indexes>,
    },
    OutletEvent {
        #[serde(flatten)]
        news: AssetNews,
    },
    InletEvents,
    TriggeringAssetEvents,
    Result {
        value: Value,
    },
    Skip {
        reason: String,
    },
    Fail {
        reason: String,
    },
    Raised {
        reason: String,
    },
}

/// Answers until the process closes its end.
pub(super) async fn serve(stream: UnixStream, assignment: Assignment, host: Arc<dyn Host>) -> Said {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut said = Said::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        // A connection that fails has no more to say than one that has ended.
        let read = (&mut reader).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await.unwrap_or(0);
        if read == 0 {
            return said;
        }
        let answer = match said.take(&line, &assignment, &*host).await {
            Ok(value) => json!({"value": value}),
            Err(error) => json!({"error": error}),
        };
        let written = writer.write_all(format!("{answer}\n").as_bytes()).await;
        if written.is_err() || !line.ends_with(b"\n") {
            return said;
        }
    }
}

impl Said {
    async fn take(&mut self, line: &[u8], assignment: &Assignment, host: &dyn Host) -> Result<Value, String> {
        if !line.ends_with(b"\n") {
            return Err(format!("a request has more than {REQUEST_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(line).map_err(|error| format!("the request is no UTF-8: {error}"))?;
        let request = xcom::parse(text).map_err(|error| match error {
            ParseError::NotExact(number) => format!("{number} has more than 64 bits: pass it as text"),
            ParseError::NotJson(detail) => format!("the request is no JSON that can be read: {detail}"),
        })?;
        let request = serde_json::from_value(request).map_err(|error| format!("the request is none: {error}"))?;
        match request {
            Request::Context => return Ok(context(&assignment.context)),
            Request::XcomPull { task_ids, key, map_indexes } => {
                let pull = Pull { tasks: task_ids, key, map_indexes };
                let pulled = xcom::pull(host, &assignment.context, assignment.ti, &pull).await;
                return pulled.map_err(|error| error.to_string());
            }
            Request::XcomPush { key, value } => self.push(key, value)?,
            Request::OutletEvent { news } => {
                assets::check(&news, &assignment.context)?;
                assets::add(&mut self.assets, news)?;
            }
            Request::InletEvents => return events(host, assets::of_inlets(&assignment.context)).await,
            Request::TriggeringAssetEvents => return events(host, WhichAssets::Triggering).await,
            Request::Result { value } => self.result = Some(value),
            Request::Skip { reason } => self.ending = Some(Ending::Skipped(reason)),
            Request::Fail { reason } => self.ending = Some(Ending::Failed(reason)),
            // What the code has said itself counts.
            Request::Raised { reason } => drop(self.ending.get_or_insert(Ending::Raised(reason))),
        }
        Ok(Value::Null)
    }

    fn push(&mut self, key: String, value: Value) -> Result<(), String> {
        xcom::check_key(&key)?;
        let bytes = value.to_string().len();
        if bytes > XComValue::BYTES_MAX {
            return Err(format!("XCom {key:?} has {bytes} bytes of JSON, over the limit of {}", XComValue::BYTES_MAX));
        }
        self.pushed.retain(|earlier| earlier.key != key);
        if self.pushed.len() >= PUSHES_MAX {
            return Err(format!("more than {PUSHES_MAX} XComs of one attempt"));
        }
        self.pushed.push(XComValue { key, value });
        Ok(())
    }
}

/// Events of assets, by the uri of each.
async fn events(host: &dyn Host, which: WhichAssets) -> Result<Value, String> {
    serde_json::to_value(assets::events(host, which).await?).map_err(|error| error.to_string())
}

/// The facts of the task instance, with the names that templates have, as JSON.
fn context(context: &TaskContext) -> Value {
    let date = context.logical_date;
    let (start, end) = context.data_interval.unzip();
    let mut names = json!({
        "dag_id": context.dag_id,
        "run_id": context.run_id,
        "run_type": context.run_type,
        "task_id": context.task_id,
        "map_index": context.map_index,
        "try_number": context.try_number,
        "max_tries": context.max_tries,
        "logical_date": date,
        "data_interval_start": start,
        "data_interval_end": end,
        "run_after": context.run_after,
        "params": context.params,
        "conf": context.conf,
        "outlets": context.outlets.iter().map(assets::as_json).collect::<Vec<_>>(),
        "inlets": context.inlets.iter().map(assets::as_json).collect::<Vec<_>>(),
    });
    if let (Some(date), Some(names)) = (date, names.as_object_mut()) {
        names.insert("ds".to_owned(), date.format("%Y-%m-%d").to_string().into());
        names.insert("ds_nodash".to_owned(), date.format("%Y%m%d").to_string().into());
        names.insert("ts".to_owned(), date.to_rfc3339().into());
    }
    names
}
