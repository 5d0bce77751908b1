//! The worker's side of the module `windlass`: JSON lines, a request and an answer at a time.

use std::sync::Arc;

use link::{Assignment, FetchItem, FetchKey, TaskContext, WhichAssets, WhichRun};
use model::{AssetNews, XComValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use crate::{
    Host, Masker, assets,
    attempt::mask_connection,
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
    /// Whether what is after the task runs, when its function says that.
    pub(super) proceed: Option<bool>,
}

/// Whose code it is, and what answers it.
pub(super) struct Served {
    /// The attempt.
    pub(super) assignment: Assignment,
    /// What an instance of an expanded task gets.
    pub(super) elements: Map<String, Value>,
    /// Its way to the leader.
    pub(super) host: Arc<dyn Host>,
    /// What must not show.
    pub(super) masker: Masker,
    /// Which function to call, with what.
    pub(super) call: Value,
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
    Call,
    Variable {
        key: String,
    },
    Connection {
        conn_id: String,
    },
    PreviousSuccess,
    Proceed {
        proceed: bool,
    },
}

/// Answers until the process closes its end.
pub(super) async fn serve(stream: UnixStream, served: Served) -> Said {
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
        let answer = match said.take(&line, &served).await {
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
    async fn take(&mut self, line: &[u8], served: &Served) -> Result<Value, String> {
        let Served { assignment, elements, host, .. } = served;
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
            Request::Context => return Ok(context(&assignment.context, elements)),
            Request::XcomPull { task_ids, key, map_indexes } => {
                let pull = Pull { tasks: task_ids, key, map_indexes };
                let pulled = xcom::pull(&**host, &assignment.context, assignment.ti, &pull).await;
                return pulled.map_err(|error| error.to_string());
            }
            Request::Call => return Ok(served.call.clone()),
            Request::Variable { key } => return served.variable(key).await,
            Request::Connection { conn_id } => return served.connection(conn_id).await,
            Request::PreviousSuccess => return served.previous_success().await,
            Request::Proceed { proceed } => self.proceed = Some(proceed),
            Request::XcomPush { key, value } => self.push(key, value)?,
            Request::OutletEvent { news } => {
                assets::check(&news, &assignment.context)?;
                assets::add(&mut self.assets, news)?;
            }
            Request::InletEvents => return events(&**host, assets::of_inlets(&assignment.context)).await,
            Request::TriggeringAssetEvents => return events(&**host, WhichAssets::Triggering).await,
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

impl Served {
    /// A variable's text, or where it was looked for in vain.
    async fn variable(&self, key: String) -> Result<Value, String> {
        match self.host.fetch(FetchKey::Variable(key.clone())).await {
            FetchItem::Variable(text) => {
                self.masker.add_named(&key, &text);
                Ok(json!({"value": text}))
            }
            FetchItem::Missing(looked) => Ok(json!({"missing": looked})),
            other => Err(format!("variable {key:?}: {}", other.misfit())),
        }
    }

    /// A connection's fields, or where it was looked for in vain.
    async fn connection(&self, conn_id: String) -> Result<Value, String> {
        match self.host.fetch(FetchKey::Connection(conn_id.clone())).await {
            FetchItem::Connection(fields) => {
                mask_connection(&self.masker, &fields);
                Ok(json!({"value": {
                    "conn_id": fields.conn_id, "conn_type": fields.conn_type, "host": fields.host, "port": fields.port,
                    "login": fields.login, "password": fields.password, "schema": fields.schema, "extra": fields.extra,
                }}))
            }
            FetchItem::Missing(looked) => Ok(json!({"missing": looked})),
            other => Err(format!("connection {conn_id:?}: {}", other.misfit())),
        }
    }

    /// The names that say something of the last successful run before this one's date.
    async fn previous_success(&self) -> Result<Value, String> {
        let context = &self.assignment.context;
        let previous = match context.logical_date {
            None => None,
            Some(date) => {
                let which = WhichRun::SuccessBefore(date);
                let key = FetchKey::Run { dag_id: context.dag_id.clone(), which, tasks: Vec::new() };
                match self.host.fetch(key).await {
                    FetchItem::Run(run) => Some(run),
                    FetchItem::Missing(_) => None,
                    other => return Err(format!("the last successful run before this one: {}", other.misfit())),
                }
            }
        };
        let interval = previous.as_ref().and_then(|run| run.data_interval);
        Ok(json!({
            "prev_data_interval_start_success": interval.map(|(start, _)| start),
            "prev_data_interval_end_success": interval.map(|(_, end)| end),
            "prev_start_date_success": previous.as_ref().and_then(|run| run.started_at),
            "prev_end_date_success": previous.as_ref().and_then(|run| run.ended_at),
        }))
    }
}

/// The facts of the task instance, with the names that templates have, as JSON; and the elements of an expanded one.
fn context(context: &TaskContext, elements: &Map<String, Value>) -> Value {
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
        "run_started_at": context.run_started_at,
        "dag": context.dag_fields,
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
    if let Some(names) = names.as_object_mut() {
        for (name, value) in elements {
            names.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    names
}
