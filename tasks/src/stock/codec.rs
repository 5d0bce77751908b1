//! Trades as Confluent Avro: a zero byte, the schema's id in four bytes, the Avro data.
//!
//! What our own schema wrote is read and written by hand, since that is every message of a normal day; anything else goes
//! through the schema that it was written with, field by field. Whatever a message is, it gives a trade or a
//! [`MessageFault`] that says exactly what is wrong; only a registry that does not answer is an error.

use super::foreign;
use crate::registry::{RegistryClient, RegistryError};
use apache_avro::Schema;
use bytes::{BufMut, BytesMut};
use replay::{Trade, ValueFault};
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The schema of the topic's values.
pub const TRADE_SCHEMA: &str = r#"{"type":"record","name":"StockTrade","namespace":"windlass.stock","fields":[{"name":"symbol","type":"string"},{"name":"price","type":"double"},{"name":"size","type":"long"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"trade_id","type":"string"},{"name":"source","type":"string"}]}"#;

/// The fields in the order of [`TRADE_SCHEMA`].
const FIELDS: [&str; 6] = ["symbol", "price", "size", "ts", "trade_id", "source"];
/// The first byte of every message.
const MAGIC: u8 = 0;
/// Schemas that are remembered; a topic has a handful, and garbage could name any number.
const SCHEMAS_MAX: usize = 1_000;
/// How long "unknown" is believed before the registry is asked again.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// The longest varint.
const VARINT_BYTES_MAX: usize = 10;

/// The subject of a topic's values.
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Why a message is not a trade.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MessageFault {
    /// There is no value.
    #[error("the message has no value")]
    Empty,
    /// The first byte is not the magic one.
    #[error("not Confluent Avro: the first byte is {0:#04x}, expected 0x00")]
    NotAvro(u8),
    /// Not even a header.
    #[error("not Confluent Avro: {0} bytes are shorter than the header of 5")]
    TooShort(usize),
    /// The registry does not have the schema.
    #[error("unknown schema id {0}: the schema registry does not have it")]
    UnknownSchema(u32),
    /// The schema is not one of a record with our fields.
    #[error("schema {id} is not a schema of trades: {reason}")]
    WrongSchema {
        /// The schema's id.
        id: u32,
        /// Why not.
        reason: String,
    },
    /// The schema lacks a field.
    #[error("missing field `{field}`: schema {id} does not have it")]
    MissingField {
        /// The schema's id.
        id: u32,
        /// The field.
        field: &'static str,
    },
    /// A field has a value of another type.
    #[error("field `{field}` is {found}, expected {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The data are cut, or go on where they should end.
    #[error("the data do not fit schema {id}: {reason}")]
    Malformed {
        /// The schema's id.
        id: u32,
        /// What does not fit.
        reason: String,
    },
    /// All was read, but no trade has such a value.
    #[error("{0}")]
    Value(#[from] ValueFault),
}

/// A trade out of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct TradeMessage<'a> {
    /// The symbol.
    pub symbol: Cow<'a, str>,
    /// Price of one share.
    pub price: f64,
    /// Number of shares.
    pub size: i64,
    /// Microseconds since 1970 UTC.
    pub ts_micros: i64,
    /// The trade's id.
    pub trade_id: Cow<'a, str>,
    /// Where it came from.
    pub source: Cow<'a, str>,
}

impl TradeMessage<'_> {
    fn check(&self) -> Result<(), ValueFault> {
        let Self { symbol, price, size, ts_micros, trade_id, source: _ } = self;
        Trade { symbol, price: *price, size: *size, ts_micros: *ts_micros, trade_id }.check()
    }
}

/// Writes a message at the end of `out`.
pub fn encode(out: &mut BytesMut, schema_id: u32, trade: &Trade<'_>, source: &str) {
    out.put_u8(MAGIC);
    out.put_u32(schema_id);
    put_text(out, trade.symbol);
    out.put_f64_le(trade.price);
    put_long(out, trade.size);
    put_long(out, trade.ts_micros);
    put_text(out, trade.trade_id);
    put_text(out, source);
}

fn put_long(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_long(out, i64::try_from(text.len()).unwrap_or(i64::MAX));
    out.put_slice(text.as_bytes());
}

/// How the messages of one schema are read.
enum Plan {
    /// The schema is ours, field for field.
    Ours,
    /// By the schema they were written with.
    By(Box<Schema>),
    /// Not at all.
    Never(MessageFault),
    /// The registry did not know it at this time.
    Unknown(Instant),
}

impl Plan {
    fn of(id: u32, text: &str) -> Self {
        let wrong = |reason: String| Self::Never(MessageFault::WrongSchema { id, reason });
        let schema = match Schema::parse_str(text) {
            Ok(schema) => schema,
            Err(error) => return wrong(error.to_string()),
        };
        let Schema::Record(record) = &schema else { return wrong("it is not a record".to_owned()) };
        if let Some(field) = FIELDS.into_iter().find(|field| !record.lookup.contains_key(*field)) {
            return Self::Never(MessageFault::MissingField { id, field });
        }
        let ours = record.fields.len() == FIELDS.len()
            && record.fields.iter().zip(FIELDS).all(|(field, name)| field.name == name)
            && matches!(
                record.fields.iter().map(|field| &field.schema).collect::<Vec<_>>()[..],
                [Schema::String, Schema::Double, Schema::Long, Schema::TimestampMicros, Schema::String, Schema::String]
            );
        if ours { Self::Ours } else { Self::By(Box::new(schema)) }
    }
}

/// Reads messages, remembering their schemas.
pub struct TradeDecoder {
    registry: RegistryClient,
    plans: HashMap<u32, Plan>,
}

impl TradeDecoder {
    /// A decoder that asks this registry.
    pub fn new(registry: RegistryClient) -> Self {
        Self { registry, plans: HashMap::new() }
    }

    /// Reads a message's value.
    ///
    /// # Errors
    /// When the registry has to be asked and does not answer; the message may be read later. What is wrong with the
    /// message itself is the inner error.
    pub async fn decode<'a>(
        &mut self,
        value: Option<&'a [u8]>,
    ) -> Result<Result<TradeMessage<'a>, MessageFault>, RegistryError> {
        let (id, data) = match open(value) {
            Ok(parts) => parts,
            Err(fault) => return Ok(Err(fault)),
        };
        let plan = match self.plans.get(&id) {
            Some(Plan::Unknown(since)) if since.elapsed() > UNKNOWN_FOR => None,
            known => known,
        };
        if plan.is_none() {
            self.learn(id).await?;
        }
        let plan = self.plans.get(&id).expect("the plan was there or has just been learnt");
        Ok(read(plan, id, data).and_then(|trade| {
            trade.check()?;
            Ok(trade)
        }))
    }

    async fn learn(&mut self, id: u32) -> Result<(), RegistryError> {
        let plan = match self.registry.schema(id).await? {
            Some(text) => Plan::of(id, &text),
            None => Plan::Unknown(Instant::now()),
        };
        if self.plans.len() >= SCHEMAS_MAX {
            self.plans.clear();
        }
        self.plans.insert(id, plan);
        Ok(())
    }
}

/// Takes the header off.
fn open(value: Option<&[u8]>) -> Result<(u32, &[u8]), MessageFault> {
    let value = value.filter(|value| !value.is_empty()).ok_or(MessageFault::Empty)?;
    if value[0] != MAGIC {
        return Err(MessageFault::NotAvro(value[0]));
    }
    let (id, data) = value[1..].split_first_chunk::<4>().ok_or(MessageFault::TooShort(value.len()))?;
    Ok((u32::from_be_bytes(*id), data))
}

fn read<'a>(plan: &Plan, id: u32, data: &'a [u8]) -> Result<TradeMessage<'a>, MessageFault> {
    match plan {
        Plan::Ours => read_ours(data).map_err(|reason| MessageFault::Malformed { id, reason: reason.to_owned() }),
        Plan::By(schema) => foreign::read(schema, id, data),
        Plan::Never(fault) => Err(fault.clone()),
        Plan::Unknown(_) => Err(MessageFault::UnknownSchema(id)),
    }
}

fn read_ours(mut data: &[u8]) -> Result<TradeMessage<'_>, &'static str> {
    let symbol = take_text(&mut data)?.into();
    let (price, rest) = data.split_first_chunk::<8>().ok_or("they end too early")?;
    data = rest;
    let trade = TradeMessage {
        symbol,
        price: f64::from_le_bytes(*price),
        size: take_long(&mut data)?,
        ts_micros: take_long(&mut data)?,
        trade_id: take_text(&mut data)?.into(),
        source: take_text(&mut data)?.into(),
    };
    if data.is_empty() { Ok(trade) } else { Err("bytes follow after their end") }
}

fn take_long(data: &mut &[u8]) -> Result<i64, &'static str> {
    let mut value = 0_u64;
    for place in 0..VARINT_BYTES_MAX {
        let (byte, rest) = data.split_first().ok_or("they end too early")?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err("a number is too long")
}

fn take_text<'a>(data: &mut &'a [u8]) -> Result<&'a str, &'static str> {
    let length = usize::try_from(take_long(data)?).map_err(|_| "a text has a negative length")?;
    let (text, rest) = data.split_at_checked(length).ok_or("a text is longer than the message")?;
    *data = rest;
    std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADE: Trade<'static> = Trade {
        symbol: "AAPL",
        price: 118.56,
        size: 2_404_025,
        ts_micros: 951_921_000_000_000,
        trade_id: "AAPL-20000301-0",
    };

    fn message(id: u32, trade: &Trade<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(&mut out, id, trade, "replay");
        out.to_vec()
    }

    /// A decoder that knows some schemas and can ask nobody.
    fn decoder(schemas: &[(u32, &str)]) -> TradeDecoder {
        let registry = RegistryClient::new("http://127.0.0.1:1".parse().unwrap());
        let plans = schemas.iter().map(|(id, text)| (*id, Plan::of(*id, text)));
        let mut decoder = TradeDecoder { registry, plans: plans.collect() };
        decoder.plans.insert(99, Plan::Unknown(Instant::now()));
        decoder
    }

    async fn fault(decoder: &mut TradeDecoder, value: Option<&[u8]>) -> String {
        decoder.decode(value).await.unwrap().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn our_messages_are_read_as_written() {
        for size in [0, 1, 63, 64, 8191, 8192, i64::MAX] {
            let trade = Trade { size, ..TRADE };
            let bytes = message(1, &trade);
            let mut decoder = decoder(&[(1, TRADE_SCHEMA)]);
            let read = decoder.decode(Some(&bytes)).await.unwrap().unwrap();
            assert_eq!((read.size, read.price, read.ts_micros), (size, TRADE.price, TRADE.ts_micros));
            assert_eq!((&*read.symbol, &*read.trade_id, &*read.source), ("AAPL", "AAPL-20000301-0", "replay"));
        }
    }

    #[tokio::test]
    async fn the_hand_written_form_is_avros() {
        let schema = Schema::parse_str(TRADE_SCHEMA).unwrap();
        let read = foreign::read(&schema, 1, &message(1, &TRADE)[5..]).unwrap();
        assert_eq!(read, read_ours(&message(1, &TRADE)[5..]).unwrap());
        assert!(matches!(Plan::of(1, TRADE_SCHEMA), Plan::Ours));
    }

    #[tokio::test]
    async fn each_malformed_message_has_its_own_reason() {
        let lacks_price = TRADE_SCHEMA.replace(r#"{"name":"price","type":"double"},"#, "");
        let mut decoder = decoder(&[(1, TRADE_SCHEMA), (2, &lacks_price), (3, "\"string\"")]);
        let good = message(1, &TRADE);
        let nan = message(1, &Trade { price: f64::NAN, ..TRADE });
        let negative = message(1, &Trade { price: -1.0, ..TRADE });
        let size = message(1, &Trade { size: -7, ..TRADE });
        let late = message(1, &Trade { ts_micros: i64::MAX, ..TRADE });
        let longer = [&good[..], b"x"].concat();
        let cases: [(Option<&[u8]>, &str); 12] = [
            (None, "the message has no value"),
            (Some(b""), "the message has no value"),
            (Some(b"{\"symbol\":1}"), "not Confluent Avro: the first byte is 0x7b, expected 0x00"),
            (Some(b"\0\0\0"), "not Confluent Avro: 3 bytes are shorter than the header of 5"),
            (Some(b"\0\0\0\0\x63xxx"), "unknown schema id 99: the schema registry does not have it"),
            (Some(b"\0\0\0\0\x02xxx"), "missing field `price`: schema 2 does not have it"),
            (Some(b"\0\0\0\0\x03xxx"), "schema 3 is not a schema of trades: it is not a record"),
            (Some(&longer), "the data do not fit schema 1: bytes follow after their end"),
            (Some(&nan), "price is NaN, not a finite number"),
            (Some(&negative), "price is negative: -1"),
            (Some(&size), "size is negative: -7"),
            (Some(&late), "ts is 9223372036854775807 microseconds from 1970, which is not in the years 1 to 9999"),
        ];
        for (value, reason) in cases {
            assert_eq!(fault(&mut decoder, value).await, reason);
        }
        for length in 5..good.len() {
            let reason = fault(&mut decoder, Some(&good[..length])).await;
            assert!(reason.starts_with("the data do not fit schema 1"), "cut at {length}: {reason}");
        }
    }

    #[tokio::test]
    async fn a_schema_with_other_types_and_order_is_read_by_name() {
        let other = r#"{"type":"record","name":"T","fields":[{"name":"source","type":"string"},{"name":"trade_id","type":"string"},
            {"name":"ts","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"size","type":"int"},
            {"name":"price","type":["null","float"]},{"name":"symbol","type":"string"},{"name":"venue","type":"string"}]}"#;
        let mut data = BytesMut::from(&b"\0\0\0\0\x07"[..]);
        for text in ["feed", "t1"] {
            put_text(&mut data, text);
        }
        put_long(&mut data, 1_700_000_000_123);
        put_long(&mut data, 5);
        let with_price = [&data[..], b"\x02", &1.5_f32.to_le_bytes(), b"\x02A\x02V"].concat();
        let mut decoder = decoder(&[(7, other)]);
        let read = decoder.decode(Some(&with_price)).await.unwrap().unwrap();
        assert_eq!((read.price, read.size, read.ts_micros), (1.5, 5, 1_700_000_000_123_000));
        let without = [&data[..], b"\0\x02A\x02V"].concat();
        assert_eq!(fault(&mut decoder, Some(&without)).await, "field `price` is null, expected a number");
    }

    #[tokio::test]
    async fn a_registry_that_is_away_is_no_dead_letter() {
        let mut decoder = decoder(&[]);
        let bytes = message(5, &TRADE);
        let asked = tokio::time::timeout(Duration::from_millis(300), decoder.decode(Some(&bytes))).await;
        assert!(!matches!(asked, Ok(Ok(_))), "{asked:?}");
    }
}
