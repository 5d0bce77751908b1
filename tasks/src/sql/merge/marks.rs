//! Which rows of which files a merge takes away: one bit a row.

use std::collections::BTreeMap;

use arrow::array::BooleanArray;

const BITS: usize = u64::BITS as usize;

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowAddress {
    /// The number of its file.
    pub(super) file: usize,
    /// Its number in the file.
    pub(super) row: usize,
}

/// Whether a mark is the first one on its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is.
    First,
    /// The row was marked before.
    Repeated,
}

/// Marked rows.
#[derive(Debug, Default)]
pub(super) struct Marks {
    files: BTreeMap<usize, Vec<u64>>,
}

impl Marks {
    /// Marks a row.
    pub(super) fn add(&mut self, address: RowAddress) -> Mark {
        let words = self.files.entry(address.file).or_default();
        let (word, bit) = (address.row / BITS, 1_u64 << (address.row % BITS));
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        if words[word] & bit != 0 {
            return Mark::Repeated;
        }
        words[word] |= bit;
        Mark::First
    }

    /// The files with marked rows, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = usize> {
        self.files.keys().copied()
    }

    /// For `count` rows of a file from `first` on: true for each row that is not marked.
    pub(super) fn unmarked(&self, first: RowAddress, count: usize) -> BooleanArray {
        let words = self.files.get(&first.file).map_or(&[][..], Vec::as_slice);
        let is_marked = |row: usize| words.get(row / BITS).is_some_and(|word| word & (1 << (row % BITS)) != 0);
        (first.row..first.row + count).map(|row| Some(!is_marked(row))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_rows_are_left_out_and_marking_twice_is_noticed() {
        let mut marks = Marks::default();
        assert_eq!(marks.add(RowAddress { file: 3, row: 64 }), Mark::First);
        assert_eq!(marks.add(RowAddress { file: 1, row: 0 }), Mark::First);
        assert_eq!(marks.add(RowAddress { file: 3, row: 64 }), Mark::Repeated);
        assert_eq!(marks.files().collect::<Vec<_>>(), [1, 3]);
        let kept: Vec<_> = marks.unmarked(RowAddress { file: 3, row: 63 }, 4).iter().flatten().collect();
        assert_eq!(kept, [true, false, true, true]);
        assert!(marks.unmarked(RowAddress { file: 9, row: 0 }, 2).iter().flatten().all(|kept| kept));
    }
}
