//! Reads messages of other producers, whose schema has our fields in another order, or of other types, or more of them.
//!
//! A value is taken where Avro's own rules promote it to our type, and a union for what it holds; everything else is a
//! fault of the message that names the field.

use super::codec::{MessageFault, TradeMessage};
use apache_avro::Schema;
use apache_avro::types::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads a message's data by the schema it was written with.
pub(super) fn read(schema: &Schema, id: u32, mut data: &[u8]) -> Result<TradeMessage<'static>, MessageFault> {
    let malformed = |reason: String| MessageFault::Malformed { id, reason };
    let value = apache_avro::from_avro_datum(schema, &mut data, None).map_err(|error| malformed(error.to_string()))?;
    if !data.is_empty() {
        return Err(malformed("bytes follow after their end".to_owned()));
    }
    let Value::Record(values) = value else { return Err(malformed("they are not a record".to_owned())) };
    let mut values: HashMap<String, Value> = values.into_iter().collect();
    let mut take = |field: &'static str| {
        let value = values.remove(field).ok_or(MessageFault::MissingField { id, field })?;
        Ok::<_, MessageFault>(match value {
            Value::Union(_, inner) => *inner,
            other => other,
        })
    };
    Ok(TradeMessage {
        symbol: text("symbol", take("symbol")?)?,
        price: double(take("price")?)?,
        size: long(take("size")?)?,
        ts_micros: micros(take("ts")?)?,
        trade_id: text("trade_id", take("trade_id")?)?,
        source: text("source", take("source")?)?,
    })
}

fn wrong(field: &'static str, found: &Value, expected: &'static str) -> MessageFault {
    let found = if *found == Value::Null { "null".to_owned() } else { format!("{found:?}") };
    MessageFault::WrongType { field, found, expected }
}

fn text(field: &'static str, value: Value) -> Result<Cow<'static, str>, MessageFault> {
    match value {
        Value::String(text) | Value::Enum(_, text) => Ok(text.into()),
        other => Err(wrong(field, &other, "a string")),
    }
}

fn double(value: Value) -> Result<f64, MessageFault> {
    match value {
        Value::Double(number) => Ok(number),
        Value::Float(number) => Ok(number.into()),
        Value::Int(number) => Ok(number.into()),
        Value::Long(number) => Ok(number as f64),
        other => Err(wrong("price", &other, "a number")),
    }
}

fn long(value: Value) -> Result<i64, MessageFault> {
    match value {
        Value::Long(number) => Ok(number),
        Value::Int(number) => Ok(number.into()),
        other => Err(wrong("size", &other, "a whole number")),
    }
}

fn micros(value: Value) -> Result<i64, MessageFault> {
    match value {
        Value::TimestampMicros(micros) | Value::Long(micros) => Ok(micros),
        Value::TimestampMillis(millis) => Ok(millis.saturating_mul(1_000)),
        Value::TimestampNanos(nanos) => Ok(nanos.div_euclid(1_000)),
        other => Err(wrong("ts", &other, "a timestamp")),
    }
}
