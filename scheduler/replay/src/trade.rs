//! One trade and what is demanded of it.
//!
//! A [`Trade`] out of this module has passed [`Trade::check`]: its price and size can be summed. Zero is let through;
//! whether a trade of nothing counts is decided where the tables are cleaned.

use chrono::{DateTime, Utc};

/// A trade, borrowing the text of the row or message that it was read from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade<'a> {
    /// The symbol traded, such as `AAPL`.
    pub symbol: &'a str,
    /// Price of one share.
    pub price: f64,
    /// Number of shares.
    pub size: i64,
    /// When it was traded, in microseconds since 1970 UTC.
    pub ts_micros: i64,
    /// What tells this trade from all others.
    pub trade_id: &'a str,
}

/// A value that no trade can have.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ValueFault {
    /// There is no symbol.
    #[error("symbol is empty")]
    EmptySymbol,
    /// There is no trade id.
    #[error("trade_id is empty")]
    EmptyTradeId,
    /// The price is infinite or not a number.
    #[error("price is {0}, not a finite number")]
    PriceNotFinite(f64),
    /// The price is below zero.
    #[error("price is negative: {0}")]
    PriceNegative(f64),
    /// The size is below zero.
    #[error("size is negative: {0}")]
    SizeNegative(i64),
    /// No calendar that the tables' readers share has this time.
    #[error("ts is {0} microseconds from 1970, which is not in the years 1 to 9999")]
    TimeOutOfRange(i64),
}

/// From 0001-01-01 to the end of 9999, in microseconds since 1970: what a date in SQL can be.
const TIME_MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// Why a row of a replay file is not a trade.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RowFault {
    /// The row has too few or too many fields.
    #[error("the row has {0} fields, expected 5")]
    Fields(usize),
    /// The row is not text.
    #[error("the row is not UTF-8")]
    NotUtf8,
    /// The time cannot be read.
    #[error("ts is not an RFC 3339 time: `{0}`")]
    Time(String),
    /// The price cannot be read.
    #[error("price is not a number: `{0}`")]
    Price(String),
    /// The size cannot be read.
    #[error("size is not a whole number: `{0}`")]
    Size(String),
    /// The row was read, but says something impossible.
    #[error("{0}")]
    Value(#[from] ValueFault),
}

impl<'a> Trade<'a> {
    /// Whether the values can be those of a trade.
    ///
    /// # Errors
    /// The first fault, in the order of the columns.
    pub fn check(&self) -> Result<(), ValueFault> {
        if self.symbol.is_empty() {
            return Err(ValueFault::EmptySymbol);
        }
        if !self.price.is_finite() {
            return Err(ValueFault::PriceNotFinite(self.price));
        }
        if self.price < 0.0 {
            return Err(ValueFault::PriceNegative(self.price));
        }
        if self.size < 0 {
            return Err(ValueFault::SizeNegative(self.size));
        }
        if !TIME_MICROS.contains(&self.ts_micros) {
            return Err(ValueFault::TimeOutOfRange(self.ts_micros));
        }
        if self.trade_id.is_empty() {
            return Err(ValueFault::EmptyTradeId);
        }
        Ok(())
    }

    /// Reads the five fields of a row.
    pub(crate) fn of_fields(fields: [&'a str; 5]) -> Result<Self, RowFault> {
        let [ts, symbol, price, size, trade_id] = fields;
        let trade = Self {
            symbol,
            price: price.parse().map_err(|_| RowFault::Price(price.to_owned()))?,
            size: size.parse().map_err(|_| RowFault::Size(size.to_owned()))?,
            ts_micros: micros_of(ts).ok_or_else(|| RowFault::Time(ts.to_owned()))?,
            trade_id,
        };
        trade.check()?;
        Ok(trade)
    }
}

fn micros_of(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.with_timezone(&Utc).timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(fields: [&str; 5]) -> String {
        Trade::of_fields(fields).unwrap_err().to_string()
    }

    #[test]
    fn a_row_is_read_to_the_microsecond_in_any_offset() {
        let trade = Trade::of_fields(["2024-01-02T10:00:00.123456-05:00", "AAPL", "1.25", "7", "x"]).unwrap();
        assert_eq!(trade.ts_micros, 1_704_207_600_123_456);
        assert_eq!((trade.price, trade.size), (1.25, 7));
    }

    #[test]
    fn every_fault_says_which_field_and_what_stands_there() {
        let ts = "2024-01-02T10:00:00Z";
        assert_eq!(fault(["today", "A", "1", "1", "x"]), "ts is not an RFC 3339 time: `today`");
        assert_eq!(fault([ts, "A", "1,5", "1", "x"]), "price is not a number: `1,5`");
        assert_eq!(fault([ts, "A", "NaN", "1", "x"]), "price is NaN, not a finite number");
        assert_eq!(fault([ts, "A", "-1", "1", "x"]), "price is negative: -1");
        assert_eq!(fault([ts, "A", "1", "1.5", "x"]), "size is not a whole number: `1.5`");
        assert_eq!(fault([ts, "A", "1", "-5", "x"]), "size is negative: -5");
        assert_eq!(fault([ts, "", "1", "1", "x"]), "symbol is empty");
        assert_eq!(fault([ts, "A", "1", "1", ""]), "trade_id is empty");
    }
}
