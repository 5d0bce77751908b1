//! Trades for tests: made up ones with their expected gold, and messages for the topic, good and bad.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use windlass_e2e::Standalone;

/// Runs the DAG and waits for its success.
pub fn run_dag(standalone: &Standalone) -> String {
    let _said = standalone.windlass(&["dags", "unpause", "stock_data_pipeline"]);
    standalone.windlass(&["dags", "trigger", "stock_data_pipeline", "--wait"])
}

/// The query of the contract.
pub const GOLD: &str = "SELECT symbol, trade_date, open, high, low, close, volume, trade_count \
                        FROM gold.stock_daily ORDER BY symbol, trade_date";

/// Made up trades and the gold that follows from them by definition.
pub struct MadeUp {
    pub rows: usize,
    pub gold: String,
}

#[derive(Default)]
struct Day {
    first: Option<(String, f64)>,
    last: Option<(String, f64)>,
    high: f64,
    low: f64,
    volume: u64,
    count: u64,
}

/// Writes a replay file of `rows` trades over a hundred days. Prices are cents, so that their text is exact.
pub fn make_up(path: &Path, rows: usize) -> MadeUp {
    let symbols = ["AAPL", "GOOG", "MSFT", "NFLX"];
    let mut days = BTreeMap::<(String, String), Day>::new();
    let mut csv = String::from("ts,symbol,price,size,trade_id\n");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for row in 0..rows {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let symbol = symbols[(state >> 33) as usize % symbols.len()];
        let cents = 1_000 + (state >> 40) % 9_000;
        let price = cents as f64 / 100.0;
        let size = 1 + (state >> 20) % 500;
        let second = row * 100 * 86_400 / rows;
        let day = format!("2024-{:02}-{:02}", 1 + second / 86_400 / 28, 1 + second / 86_400 % 28);
        let clock = second % 86_400;
        let ts = format!("{day}T{:02}:{:02}:{:02}Z", clock / 3600, clock / 60 % 60, clock % 60);
        let id = format!("{symbol}-{row:09}");
        writeln!(csv, "{ts},{symbol},{price},{size},{id}").unwrap();
        days.entry((symbol.to_owned(), day)).or_default().add(&format!("{ts} {id}"), price, size);
    }
    std::fs::write(path, csv).unwrap();
    MadeUp { rows, gold: gold_of(&days) }
}

impl Day {
    fn add(&mut self, order: &str, price: f64, size: u64) {
        if self.first.as_ref().is_none_or(|(first, _)| order < first.as_str()) {
            self.first = Some((order.to_owned(), price));
        }
        if self.last.as_ref().is_none_or(|(last, _)| order > last.as_str()) {
            self.last = Some((order.to_owned(), price));
        }
        self.high = if self.count == 0 { price } else { self.high.max(price) };
        self.low = if self.count == 0 { price } else { self.low.min(price) };
        self.volume += size;
        self.count += 1;
    }
}

fn gold_of(days: &BTreeMap<(String, String), Day>) -> String {
    let mut gold = String::from("symbol,trade_date,open,high,low,close,volume,trade_count\n");
    for ((symbol, day), of) in days {
        let (open, close) = (of.first.as_ref().unwrap().1, of.last.as_ref().unwrap().1);
        // `{:?}` of a double is its shortest form that reads back the same, with `.0` for a whole number.
        writeln!(gold, "{symbol},{day},{open:?},{:?},{:?},{close:?},{},{}", of.high, of.low, of.volume, of.count)
            .unwrap();
    }
    gold
}

/// A trade in Confluent's wire format: a zero, the schema's id, the Avro datum.
pub fn message(schema: u32, symbol: &str, price: f64, size: i64, micros: i64, id: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(schema.to_be_bytes());
    text(&mut bytes, symbol);
    bytes.extend(price.to_le_bytes());
    long(&mut bytes, size);
    long(&mut bytes, micros);
    text(&mut bytes, id);
    text(&mut bytes, "test");
    bytes
}

fn text(bytes: &mut Vec<u8>, value: &str) {
    long(bytes, i64::try_from(value.len()).unwrap());
    bytes.extend(value.as_bytes());
}

/// Avro's variable-length zig-zag.
fn long(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Puts a message into the topic as a person would.
pub fn produce(standalone: &mut Standalone, key: &str, value: &[u8]) {
    let mut command: Command = standalone.settings().command(&windlass_e2e::program("windlass"));
    command.args(["topics", "produce", "stock_trades", "--key", key]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    assert!(child.wait().unwrap().success(), "topics produce");
}
