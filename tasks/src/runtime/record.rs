//! Records, and how the embedded log writes a batch of them.
//!
//! A batch is a row of length-prefixed records, compressed as a whole. Read records share the memory of their batch. The
//! form of a record, all numbers little-endian: `length u32 | time_ms i64 | key length u32 | key | value length u32 |
//! value | headers`, where the length `u32::MAX` means "none" and headers run to the end.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Stands for a key or value that is not there.
const NONE: u32 = u32::MAX;
/// Time and two lengths.
const FIXED_BYTES: usize = 16;

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Where it goes, see [`super::partition_of`].
    pub partition: i32,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
    /// Its time, in milliseconds since 1970 UTC.
    pub time_ms: i64,
}

impl NewRecord {
    /// About what it takes in memory and, before compression, on disk.
    pub fn size(&self) -> usize {
        let key = self.key.as_ref().map_or(0, Bytes::len);
        let value = self.value.as_ref().map_or(0, Bytes::len);
        4 + FIXED_BYTES + key + value + self.headers.0.len()
    }

    /// Writes it in the form that [`decode_batch`] reads.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(narrow(self.size() - 4));
        out.put_i64_le(self.time_ms);
        put_optional(out, self.key.as_ref());
        put_optional(out, self.value.as_ref());
        out.put_slice(&self.headers.0);
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
    /// Its time, in milliseconds since 1970 UTC.
    pub time_ms: i64,
}

impl Record {
    /// About what it takes in memory.
    pub fn size(&self) -> usize {
        let key = self.key.as_ref().map_or(0, Bytes::len);
        let value = self.value.as_ref().map_or(0, Bytes::len);
        FIXED_BYTES + key + value + self.headers.0.len()
    }
}

/// Names with values beside a record, kept in one piece of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Bytes);

impl Headers {
    /// Collects headers in their order.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut block = BytesMut::new();
        Self::write(&mut block, pairs);
        Self(block.freeze())
    }

    /// Collects headers at the end of a buffer that many records share.
    pub fn new_in<'a>(buffer: &mut BytesMut, pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let before = buffer.split();
        Self::write(buffer, pairs);
        let block = buffer.split().freeze();
        drop(before);
        Self(block)
    }

    fn write<'a>(block: &mut BytesMut, pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        for (name, value) in pairs {
            block.put_u32_le(narrow(name.len()));
            block.put_slice(name.as_bytes());
            block.put_u32_le(narrow(value.len()));
            block.put_slice(value);
        }
    }

    /// The headers in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let name = take_prefixed(&mut rest)?;
            let value = take_prefixed(&mut rest)?;
            Some((std::str::from_utf8(name).unwrap_or("?"), value))
        })
    }

    /// The last value under a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(other, _)| *other == name).map(|(_, value)| value).last()
    }

    /// The last value under a name, when it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A batch's records do not have the form that they were written in.
#[derive(Debug, thiserror::Error)]
#[error("record {0} of the batch is cut short")]
pub(super) struct DamagedBatch(usize);

/// Reads `count` records that were encoded one after another, the first of which has the offset `first_offset`.
pub(super) fn decode_batch(
    mut batch: Bytes,
    partition: i32,
    first_offset: i64,
    count: usize,
) -> Result<Vec<Record>, DamagedBatch> {
    let mut records = Vec::with_capacity(count.min(batch.len() / FIXED_BYTES + 1));
    for (index, offset) in (0..count).zip(first_offset..) {
        records.push(decode(&mut batch, partition, offset).ok_or(DamagedBatch(index))?);
    }
    Ok(records)
}

fn decode(batch: &mut Bytes, partition: i32, offset: i64) -> Option<Record> {
    let length = take_u32(batch)? as usize;
    if batch.len() < length || length < FIXED_BYTES {
        return None;
    }
    let mut body = batch.split_to(length);
    let time_ms = body.get_i64_le();
    let key = take_optional(&mut body)?;
    let value = take_optional(&mut body)?;
    Some(Record { partition, offset, key, value, headers: Headers(body), time_ms })
}

fn put_optional(out: &mut BytesMut, bytes: Option<&Bytes>) {
    match bytes {
        Some(bytes) => {
            out.put_u32_le(narrow(bytes.len()));
            out.put_slice(bytes);
        }
        None => out.put_u32_le(NONE),
    }
}

fn take_optional(body: &mut Bytes) -> Option<Option<Bytes>> {
    let length = take_u32(body)?;
    if length == NONE {
        return Some(None);
    }
    (body.len() >= length as usize).then(|| Some(body.split_to(length as usize)))
}

fn take_u32(bytes: &mut Bytes) -> Option<u32> {
    (bytes.len() >= 4).then(|| bytes.get_u32_le())
}

fn take_prefixed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(bytes)
}

/// Lengths are bounded by `RECORD_BYTES_MAX` before anything is encoded.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<NewRecord> {
        let headers = Headers::new([("source", &b"replay:x"[..]), ("line", b"2"), ("line", b"3")]);
        let full = NewRecord {
            partition: 1,
            key: Some(Bytes::from_static(b"AAPL")),
            value: Some(Bytes::from_static(b"\0value")),
            headers,
            time_ms: 1_700_000_000_123,
        };
        let bare = NewRecord { key: None, value: None, headers: Headers::default(), time_ms: -1, ..full.clone() };
        vec![full.clone(), bare, full]
    }

    fn encoded(records: &[NewRecord]) -> Bytes {
        let mut out = BytesMut::new();
        for record in records {
            record.encode(&mut out);
        }
        out.freeze()
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let sent = sample();
        let read = decode_batch(encoded(&sent), 1, 40, 3).unwrap();
        for ((record, sent), offset) in read.iter().zip(&sent).zip(40..) {
            assert_eq!((record.partition, record.offset, record.time_ms), (1, offset, sent.time_ms));
            assert_eq!((&record.key, &record.value, &record.headers), (&sent.key, &sent.value, &sent.headers));
        }
        assert_eq!(read[0].headers.text("line"), Some("3"));
        assert_eq!(read[0].headers.iter().count(), 3);
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused_not_misread() {
        let whole = encoded(&sample());
        for length in 0..whole.len() {
            assert!(decode_batch(whole.slice(..length), 1, 0, 3).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn headers_in_a_shared_buffer_are_their_own() {
        let mut buffer = BytesMut::new();
        let first = Headers::new_in(&mut buffer, [("a", &b"1"[..])]);
        let second = Headers::new_in(&mut buffer, [("b", &b"2"[..])]);
        assert_eq!((first.text("a"), first.text("b")), (Some("1"), None));
        assert_eq!(second.text("b"), Some("2"));
    }
}
