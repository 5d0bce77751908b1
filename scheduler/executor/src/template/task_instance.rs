//! `ti`: the task instance, and the way to the XComs of its run.

use std::{fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Object, ObjectRepr, ValueKind, from_args},
};
use model::{MapIndex, TiKey, XComValue, page};

use super::{Access, datetime::invalid, fetching::GIVEN_UP};
use crate::xcom::{self, Pull};

/// The object `ti`, also called `task_instance`.
#[derive(Debug)]
pub(super) struct TaskInstance {
    pub(super) access: Access,
    pub(super) ti: TiKey,
}

impl TaskInstance {
    fn xcom_pull(&self, args: &[Value]) -> Result<Value, Error> {
        let (positional, kwargs): (Option<Value>, Kwargs) = from_args(args)?;
        let tasks = positional.or(kwargs.get("task_ids")?).filter(|value| !value.is_none());
        let key: Option<String> = kwargs.get("key")?;
        let map_indexes: Option<Value> = kwargs.get("map_indexes")?;
        let default: Option<Value> = kwargs.get("default")?;
        kwargs.assert_all_used()?;
        let pull = Pull {
            tasks: tasks.as_ref().map(texts).transpose()?,
            key: key.unwrap_or_else(|| XComValue::RETURN_VALUE.to_owned()),
            map_indexes: map_indexes.filter(|value| !value.is_none()).as_ref().map(indexes).transpose()?,
        };
        let pulled = xcom::pull(&*self.access.host, &self.access.context, self.ti, &pull);
        let pulled = self.access.wait_for(pulled).ok_or_else(|| invalid(GIVEN_UP.to_owned()))?;
        let found = pulled.map_err(|error| invalid(error.to_string()))?;
        match (found, default) {
            (serde_json::Value::Null, Some(default)) => Ok(default),
            (found, _) => Ok(Value::from_serialize(found)),
        }
    }
}

impl TaskInstance {
    /// The state: that which a callback tells of, and else of an attempt that renders its fields.
    fn state(&self) -> Value {
        match self.notified("task_state") {
            Some(state) => Value::from_serialize(state),
            None => "running".into(),
        }
    }

    /// Its page: a whole address when it is known where people reach the pages (`WINDLASS_BASE_URL`), or what a callback says.
    fn log_url(&self) -> String {
        if let Some(serde_json::Value::String(url)) = self.notified("url") {
            return url.clone();
        }
        let context = &self.access.context;
        let base = std::env::var("WINDLASS_BASE_URL").unwrap_or_default();
        let path = page::of_task((&context.dag_id, &context.run_id), &context.task_id, context.map_index);
        format!("{}{path}", base.trim_end_matches('/'))
    }

    /// What a callback is told under a name.
    fn notified(&self, name: &str) -> Option<&serde_json::Value> {
        self.access.context.macros.get("notification")?.get(name)
    }
}

/// The machine that this worker is on.
fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

impl Object for TaskInstance {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let context = &self.access.context;
        Some(match key.as_str()? {
            "dag_id" => context.dag_id.as_str().into(),
            "task_id" => context.task_id.as_str().into(),
            "run_id" => context.run_id.as_str().into(),
            "map_index" => context.map_index.get().into(),
            "try_number" => context.try_number.get().into(),
            "max_tries" => context.max_tries.into(),
            "id" => self.ti.uuid().to_string().into(),
            "state" => self.state(),
            "log_url" => self.log_url().into(),
            "hostname" => hostname().into(),
            name @ ("operator" | "queue" | "pool" | "pool_slots" | "priority_weight") => {
                Value::from_serialize(context.task_fields.get(name)?)
            }
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "xcom_pull" => self.xcom_pull(args),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = &self.access.context;
        write!(f, "{}.{} {}", context.dag_id, context.task_id, context.run_id)
    }
}

fn texts(value: &Value) -> Result<xcom::Tasks, Error> {
    match value.kind() {
        ValueKind::String => Ok(xcom::Tasks::One(value.to_string())),
        ValueKind::Seq | ValueKind::Iterable => {
            Ok(xcom::Tasks::Many(value.try_iter()?.map(|item| item.to_string()).collect()))
        }
        _ => Err(invalid("task_ids is a task id or a list of them".to_owned())),
    }
}

fn indexes(value: &Value) -> Result<xcom::Indexes, Error> {
    let index = |value: &Value| {
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok()).map(MapIndex);
        number.ok_or_else(|| invalid("map_indexes is a number or a list of them".to_owned()))
    };
    match value.kind() {
        ValueKind::Number => index(value).map(xcom::Indexes::One),
        _ => value.try_iter()?.map(|item| index(&item)).collect::<Result<_, _>>().map(xcom::Indexes::Many),
    }
}
