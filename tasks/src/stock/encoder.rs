//! Makes records of trades.
//!
//! A symbol always goes to the same partition, on every log; a row that is no trade goes to one by its line, so that a
//! replay that starts again finds each row where it was.

use super::codec;
use super::header;
use crate::runtime::{Headers, NewRecord, partition_of};
use bytes::{Bytes, BytesMut};
use replay::{RowFault, Trade};
use std::collections::HashMap;

/// Symbols whose partition is remembered; exchanges list some ten thousand.
const SYMBOLS_MAX: usize = 20_000;
/// Records share memory in pieces of this size.
const PIECE_BYTES: usize = 1 << 16;

/// Where a row of a source stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The source's id.
    pub(super) source_id: &'a str,
    /// The line.
    pub(super) line: u64,
}

/// Makes records for a topic.
pub(super) struct TradeEncoder {
    schema_id: u32,
    partitions: i32,
    keys: HashMap<String, (Bytes, i32)>,
    buffer: BytesMut,
}

impl TradeEncoder {
    pub(super) fn new(schema_id: u32, partitions: i32) -> Self {
        Self { schema_id, partitions, keys: HashMap::new(), buffer: BytesMut::new() }
    }

    /// The record of a trade. `name` is the source's short name in the message.
    pub(super) fn trade(
        &mut self,
        trade: &Trade<'_>,
        name: &str,
        origin: Option<Origin<'_>>,
        time_ms: i64,
    ) -> NewRecord {
        let (key, partition) = self.key(trade.symbol);
        self.make_room();
        codec::encode(&mut self.buffer, self.schema_id, trade, name);
        let value = Some(self.buffer.split().freeze());
        let headers = match origin {
            Some(origin) => self.headers(origin, None),
            None => Headers::default(),
        };
        NewRecord { partition, key: Some(key), value, headers, time_ms }
    }

    /// The record of a trade of a live source, with what else the source says of it as headers.
    pub(super) fn live_trade<'h>(
        &mut self,
        trade: &Trade<'_>,
        name: &str,
        details: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        time_ms: i64,
    ) -> NewRecord {
        let record = self.trade(trade, name, None, time_ms);
        NewRecord { headers: Headers::new_in(&mut self.buffer, details), ..record }
    }

    /// The record of something that a live source gave and that is no trade. Such records take turns between the
    /// partitions by their length: none of them is looked for again.
    pub(super) fn dead_letter(&mut self, text: &[u8], reason: &str, name: &str, time_ms: i64) -> NewRecord {
        self.make_room();
        let headers = [(header::SOURCE, name.as_bytes()), (header::ERROR, reason.as_bytes())];
        let headers = Headers::new_in(&mut self.buffer, headers);
        let partition = self.bad_row_partition(text.len() as u64);
        NewRecord { partition, key: None, value: Some(Bytes::copy_from_slice(text)), headers, time_ms }
    }

    /// The record of a row that is no trade: the row itself, with the reason.
    pub(super) fn bad_row(&mut self, text: &[u8], fault: &RowFault, origin: Origin<'_>, time_ms: i64) -> NewRecord {
        self.make_room();
        let headers = self.headers(origin, Some(&fault.to_string()));
        let partition = self.bad_row_partition(origin.line);
        NewRecord { partition, key: None, value: Some(Bytes::copy_from_slice(text)), headers, time_ms }
    }

    /// The partition of a row that is no trade.
    fn bad_row_partition(&self, line: u64) -> i32 {
        let partitions = u64::from(self.partitions.unsigned_abs().max(1));
        i32::try_from(line % partitions).unwrap_or(0)
    }

    fn key(&mut self, symbol: &str) -> (Bytes, i32) {
        if let Some(known) = self.keys.get(symbol) {
            return known.clone();
        }
        if self.keys.len() >= SYMBOLS_MAX {
            self.keys.clear();
        }
        let made = (Bytes::copy_from_slice(symbol.as_bytes()), partition_of(symbol.as_bytes(), self.partitions));
        self.keys.insert(symbol.to_owned(), made.clone());
        made
    }

    fn headers(&mut self, origin: Origin<'_>, error: Option<&str>) -> Headers {
        let line = origin.line.to_string();
        let source = [(header::SOURCE, origin.source_id.as_bytes()), (header::LINE, line.as_bytes())];
        let error = error.map(|error| (header::ERROR, error.as_bytes()));
        Headers::new_in(&mut self.buffer, source.into_iter().chain(error))
    }

    fn make_room(&mut self) {
        if self.buffer.capacity() < PIECE_BYTES / 16 {
            self.buffer = BytesMut::with_capacity(PIECE_BYTES);
        }
    }
}
