//! The operator `kafka_sensor`: messages that a template agrees to, or a reader that has caught up.
//!
//! While it waits, nothing is committed: where it has got to is remembered from look to look, and the group's offsets are
//! committed once, when everything that it waits for has come.

use futures::{FutureExt as _, future::BoxFuture};
use minijinja::Value as Template;
use model::{
    EndKind, XComValue,
    operator::{KafkaGoal, KafkaProgress, KafkaSensor},
};
use serde_json::Value;

use super::{Found, Sight, watch};
use crate::{
    Attempt, Executor, Outcome, Stop,
    branch::is_yes,
    kafka::{self, Cluster, Judge, Unasked, Verdict, lag_request, reader_name, returned, take_request, total_lag},
};

/// What of the messages that came is returned: as many as an XCom surely holds.
const RETURNED_BYTES_MAX: usize = XComValue::BYTES_MAX - 1024;

/// Waits for what happens in topics.
pub(crate) struct KafkaSensorExecutor {
    keys: KafkaSensor,
}

impl KafkaSensorExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: KafkaSensor) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let cluster = Cluster::of(attempt, self.keys.kafka_config_id.as_deref()).await?;
        let (outcome, value) = match &self.keys.goal {
            KafkaGoal::Messages { subscription, condition, messages } => {
                let mut request = take_request(attempt, &cluster, subscription).await?;
                request["at_end"] = "leave".into();
                let counted = Counted::new(condition.clone(), *messages);
                let mut arrival = Arrival { cluster, request, counted };
                let outcome = watch(&mut arrival, &self.keys.poking, attempt, stop).await;
                (outcome, arrival.into_value())
            }
            KafkaGoal::Lag { of, lag_at_most } => {
                let request = lag_request(attempt, of).await?;
                let mut lag = Lag { cluster, request, of, at_most: *lag_at_most, measured: Value::Null };
                let outcome = watch(&mut lag, &self.keys.poking, attempt, stop).await;
                (outcome, lag.measured)
            }
        };
        Ok(match outcome.kind() {
            EndKind::Success => returned(attempt, value).because(outcome.reason()),
            EndKind::Failed
            | EndKind::FailedForGood
            | EndKind::Skipped
            | EndKind::TimedOut
            | EndKind::Killed
            | EndKind::Lost
            | EndKind::Asked
            | EndKind::Rescheduled => outcome,
        })
    }
}

impl Executor for KafkaSensorExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

/// Messages that are awaited.
struct Arrival {
    cluster: Cluster,
    request: Value,
    counted: Counted,
}

/// The messages that counted so far.
struct Counted {
    condition: Option<String>,
    wanted: u32,
    missing: u32,
    bytes: usize,
    found: Vec<Value>,
}

impl Arrival {
    async fn look_once(&mut self, attempt: &Attempt, stop: &Stop) -> Result<Found, Outcome> {
        let answer = kafka::run(attempt, stop, &self.cluster, self.request.clone(), &mut self.counted).await?;
        let read = answer.get("read").and_then(Value::as_u64).unwrap_or_default();
        let (came, wanted) = (self.counted.wanted - self.counted.missing, self.counted.wanted);
        if self.counted.missing == 0 {
            return Ok(Found::There(format!("{came} of {wanted} messages came, {read} were read")));
        }
        // The next look goes on where this one stopped.
        for name in ["positions", "begun"] {
            self.request[name] = answer.get(name).cloned().unwrap_or_default();
        }
        Ok(Found::NotYet(format!("{came} of {wanted} messages came, {read} were read in this look")))
    }

    /// One message as it is, several as a list.
    fn into_value(mut self) -> Value {
        match self.counted.wanted {
            1 => self.counted.found.pop().unwrap_or_default(),
            _ => self.counted.found.into(),
        }
    }
}

impl Sight for Arrival {
    fn look<'a>(&'a mut self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        self.look_once(attempt, stop).boxed()
    }
}

impl Counted {
    fn new(condition: Option<String>, wanted: u32) -> Self {
        Self { condition, wanted, missing: wanted, bytes: 0, found: Vec::new() }
    }

    async fn count(&mut self, attempt: &Attempt, messages: Vec<Value>) -> Result<Verdict, Outcome> {
        let (hits, messages) = match self.condition.clone() {
            None => (vec![true; messages.len()], messages),
            Some(condition) => {
                let judged = attempt.render(move |renderer| {
                    let holds = |message: &Value| {
                        let named = renderer.with("message", Template::from_serialize(message));
                        Ok(is_yes(&named.value("condition", &condition)?))
                    };
                    let hits = messages.iter().map(holds).collect::<Result<Vec<_>, crate::TemplateError>>()?;
                    Ok((hits, messages))
                });
                judged.await?
            }
        };
        for (index, message) in messages.into_iter().enumerate() {
            if hits[index] {
                self.keep(message)?;
                self.missing -= 1;
            }
            if self.missing == 0 {
                return Ok(Verdict::Enough(index + 1));
            }
        }
        Ok(Verdict::More)
    }

    /// Keeps a message to be returned. The first has to fit; of many those that fit are kept.
    fn keep(&mut self, message: Value) -> Result<(), Outcome> {
        let bytes = message.to_string().len() + 1;
        if bytes > RETURNED_BYTES_MAX && self.found.is_empty() {
            return Err(Outcome::failed(kafka::too_large(&message, bytes)));
        }
        if self.bytes + bytes <= RETURNED_BYTES_MAX {
            self.bytes += bytes;
            self.found.push(message);
        }
        Ok(())
    }
}

impl Judge for Counted {
    fn judge<'a>(&'a mut self, attempt: &'a Attempt, messages: Vec<Value>) -> BoxFuture<'a, Result<Verdict, Outcome>> {
        self.count(attempt, messages).boxed()
    }

    fn restart(&mut self) {
        *self = Self::new(self.condition.take(), self.wanted);
    }
}

/// A reader that is to catch up.
struct Lag<'k> {
    cluster: Cluster,
    request: Value,
    of: &'k KafkaProgress,
    at_most: u64,
    measured: Value,
}

impl Lag<'_> {
    async fn measure(&mut self, attempt: &Attempt, stop: &Stop) -> Result<Found, Outcome> {
        self.measured = kafka::run(attempt, stop, &self.cluster, self.request.clone(), &mut Unasked).await?;
        let behind = total_lag(&self.measured)?;
        let seen = format!("{} is {behind} messages behind", reader_name(self.of));
        Ok(if behind <= self.at_most {
            Found::There(seen)
        } else {
            Found::NotYet(format!("{seen}, lag_at_most is {}", self.at_most))
        })
    }
}

impl Sight for Lag<'_> {
    fn look<'a>(&'a mut self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        self.measure(attempt, stop).boxed()
    }
}
