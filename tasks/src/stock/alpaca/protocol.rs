//! What stands in Alpaca's frames: arrays of messages, told apart by their `T`.
//!
//! Reading never fails as a whole: whatever a message is, it becomes a [`Message`], if need be one that says what is wrong
//! with it, beside its own text.

use super::fault::Refusal;
use chrono::DateTime;
use replay::{Trade, ValueFault};
use serde_json::{Value, json};

/// A trade as Alpaca tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LiveTrade {
    pub(super) symbol: String,
    pub(super) price: f64,
    pub(super) size: i64,
    pub(super) ts_micros: i64,
    pub(super) trade_id: String,
    pub(super) exchange: String,
    pub(super) conditions: String,
    pub(super) tape: String,
}

impl LiveTrade {
    /// The trade as the topic has it.
    pub(super) fn as_trade(&self) -> Trade<'_> {
        Trade {
            symbol: &self.symbol,
            price: self.price,
            size: self.size,
            ts_micros: self.ts_micros,
            trade_id: &self.trade_id,
        }
    }
}

/// One message of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    /// The connection stands.
    Connected,
    /// The keys were taken.
    Authenticated,
    /// What is subscribed to now.
    Subscribed(Vec<String>),
    /// Something was refused.
    Error(Refusal),
    /// A trade.
    Trade(LiveTrade),
    /// Anything else, with its text and why it is none of the above.
    Aside {
        /// The text.
        text: String,
        /// The reason.
        reason: String,
    },
}

/// Why a message with `T` of a trade is none.
#[derive(Debug, PartialEq, thiserror::Error)]
enum TradeFault {
    #[error("the trade has no `{0}`")]
    Missing(&'static str),
    #[error("the trade's `{field}` is {found}, expected {expected}")]
    Wrong { field: &'static str, found: String, expected: &'static str },
    #[error("the trade's {0}")]
    Value(#[from] ValueFault),
}

/// The message that authenticates.
pub(super) fn auth(key: &str, secret: &str) -> String {
    json!({"action": "auth", "key": key, "secret": secret}).to_string()
}

/// The message that subscribes to trades; corrections and cancels come with them by themselves.
pub(super) fn subscribe(symbols: &[String]) -> String {
    json!({"action": "subscribe", "trades": symbols}).to_string()
}

/// The messages of a text frame.
pub(super) fn messages(frame: &str) -> Vec<Message> {
    match serde_json::from_str(frame) {
        Ok(Value::Array(messages)) => messages.into_iter().map(message).collect(),
        Ok(single @ Value::Object(_)) => vec![message(single)],
        Ok(other) => vec![aside(other.to_string(), "the frame is not an array of messages")],
        Err(error) => vec![aside(frame, format!("the frame is not JSON: {error}"))],
    }
}

fn aside(text: impl Into<String>, reason: impl Into<String>) -> Message {
    Message::Aside { text: text.into(), reason: reason.into() }
}

fn message(value: Value) -> Message {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match text("T") {
        Some("t") => match trade(&value) {
            Ok(trade) => Message::Trade(trade),
            Err(fault) => aside(value.to_string(), fault.to_string()),
        },
        Some("success") => match text("msg") {
            Some("connected") => Message::Connected,
            Some("authenticated") => Message::Authenticated,
            _ => aside(value.to_string(), "the success is of no known kind"),
        },
        Some("subscription") => Message::Subscribed(names(value.get("trades"))),
        Some("error") => Message::Error(Refusal {
            code: value.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok()).unwrap_or(0),
            message: text("msg").unwrap_or("no reason given").to_owned(),
        }),
        Some("x") => aside(value.to_string(), "a cancel: the trade it names stays as it was received"),
        Some("c") => aside(value.to_string(), "a correction: the trade it names stays as it was received"),
        Some(other) => {
            let reason = format!("a message of the unknown kind `{}`", other.chars().take(40).collect::<String>());
            aside(value.to_string(), reason)
        }
        None => aside(value.to_string(), "the message has no `T`"),
    }
}

fn names(value: Option<&Value>) -> Vec<String> {
    let names = value.and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn trade(value: &Value) -> Result<LiveTrade, TradeFault> {
    let symbol = string(value, "S")?.to_owned();
    let exchange = string(value, "x")?.to_owned();
    let number = whole(value, "i")?;
    let time = string(value, "t")?;
    let at = DateTime::parse_from_rfc3339(time).map_err(|_| wrong("t", value, "an RFC 3339 time"))?;
    let price = field(value, "p")?.as_f64().ok_or_else(|| wrong("p", value, "a number"))?;
    let trade = LiveTrade {
        // Ids of trades repeat between symbols, exchanges and days; with all of these the id names one trade, always the same.
        trade_id: format!("{symbol}-{exchange}-{number}-{}", nanos(&at)),
        price,
        size: whole(value, "s")?,
        ts_micros: at.timestamp_micros(),
        conditions: names(value.get("c")).join(","),
        tape: value.get("z").and_then(Value::as_str).unwrap_or_default().to_owned(),
        symbol,
        exchange,
    };
    trade.as_trade().check()?;
    Ok(trade)
}

/// Nanoseconds since 1970, also of times that 64 bits of them do not reach.
fn nanos<Z: chrono::TimeZone>(at: &DateTime<Z>) -> i128 {
    i128::from(at.timestamp()) * 1_000_000_000 + i128::from(at.timestamp_subsec_nanos())
}

fn field<'a>(value: &'a Value, name: &'static str) -> Result<&'a Value, TradeFault> {
    match value.get(name) {
        None | Some(Value::Null) => Err(TradeFault::Missing(name)),
        Some(found) => Ok(found),
    }
}

fn string<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, TradeFault> {
    field(value, name)?.as_str().ok_or_else(|| wrong(name, value, "a text"))
}

fn whole(value: &Value, name: &'static str) -> Result<i64, TradeFault> {
    field(value, name)?.as_i64().ok_or_else(|| wrong(name, value, "a whole number"))
}

fn wrong(field: &'static str, value: &Value, expected: &'static str) -> TradeFault {
    let found = value.get(field).map(Value::to_string).unwrap_or_default();
    TradeFault::Wrong { field, found: found.chars().take(80).collect(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADE: &str = r#"{"T":"t","i":96921,"S":"AAPL","x":"D","p":126.55,"s":1,"t":"2021-02-22T15:51:44.208123456Z","c":["@","I"],"z":"C"}"#;

    fn one(frame: &str) -> Message {
        let mut all = messages(frame);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn reason(frame: &str) -> String {
        match one(frame) {
            Message::Aside { reason, text } => {
                assert!(!text.is_empty());
                reason
            }
            other => panic!("{frame} was read as {other:?}"),
        }
    }

    #[test]
    fn a_trade_keeps_its_time_to_the_microsecond_and_an_id_of_its_own() {
        let Message::Trade(trade) = one(&format!("[{TRADE}]")) else { panic!("no trade") };
        assert_eq!((trade.symbol.as_str(), trade.price, trade.size), ("AAPL", 126.55, 1));
        assert_eq!(trade.ts_micros, 1_614_009_104_208_123);
        assert_eq!(trade.trade_id, "AAPL-D-96921-1614009104208123456");
        assert_eq!((trade.exchange.as_str(), trade.conditions.as_str(), trade.tape.as_str()), ("D", "@,I", "C"));
        let Message::Trade(again) = one(&TRADE.replace("Z\"", "+00:00\"")) else { panic!("no trade") };
        assert_eq!(again.trade_id, trade.trade_id, "the same instant is the same trade, however it is written");
    }

    #[test]
    fn control_messages_are_told_apart() {
        assert_eq!(one(r#"[{"T":"success","msg":"connected"}]"#), Message::Connected);
        assert_eq!(one(r#"[{"T":"success","msg":"authenticated"}]"#), Message::Authenticated);
        let subscribed = one(r#"[{"T":"subscription","trades":["AAPL"],"quotes":[],"corrections":["AAPL"]}]"#);
        assert_eq!(subscribed, Message::Subscribed(vec!["AAPL".to_owned()]));
        let error = one(r#"[{"T":"error","code":406,"msg":"connection limit exceeded"}]"#);
        assert_eq!(error, Message::Error(Refusal { code: 406, message: "connection limit exceeded".to_owned() }));
    }

    #[test]
    fn whatever_is_no_trade_is_put_aside_with_a_reason() {
        for (from, to, expected) in [
            (r#""p":126.55"#, r#""p":-1.5"#, "the trade's price is negative: -1.5"),
            (r#""p":126.55"#, r#""p":"NaN""#, "the trade's `p` is \"NaN\", expected a number"),
            (r#""p":126.55,"#, "", "the trade has no `p`"),
            (r#""p":126.55"#, r#""p":null"#, "the trade has no `p`"),
            (r#""s":1"#, r#""s":-5"#, "the trade's size is negative: -5"),
            (r#""s":1"#, r#""s":1.5"#, "the trade's `s` is 1.5, expected a whole number"),
            (r#""s":1"#, r#""s":18446744073709551615"#, "expected a whole number"),
            (r#""i":96921"#, r#""i":"x""#, "the trade's `i` is \"x\", expected a whole number"),
            (r#""t":"2021-02-22T15:51:44.208123456Z""#, r#""t":"yesterday""#, "expected an RFC 3339 time"),
            (r#""S":"AAPL""#, r#""S":"""#, "the trade's symbol is empty"),
            (r#""T":"t""#, r#""T":"q""#, "unknown kind `q`"),
            (r#""T":"t""#, r#""T":"x""#, "a cancel"),
            (r#""T":"t""#, r#""T":"c""#, "a correction"),
            (r#""T":"t","#, "", "has no `T`"),
        ] {
            let changed = TRADE.replace(from, to);
            assert_ne!(changed, TRADE);
            assert!(reason(&changed).contains(expected), "{changed}: {}", reason(&changed));
        }
        assert!(reason(&TRADE.replace("126.55", "NaN")).starts_with("the frame is not JSON"));
        assert!(reason(&TRADE.replace("126.55", "1e999")).starts_with("the frame is not JSON"));
        assert!(reason("42").contains("not an array"));
        assert!(reason("[7]").contains("has no `T`"));
        assert!(messages("[]").is_empty());
    }

    #[test]
    fn one_bad_message_costs_its_neighbours_nothing() {
        let all = messages(&format!(r#"[{TRADE},{{"T":"t"}},{TRADE}]"#));
        let good = all.iter().filter(|message| matches!(message, Message::Trade(_))).count();
        assert_eq!((all.len(), good), (3, 2));
    }
}
