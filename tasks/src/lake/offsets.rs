//! Offsets of batches: which rows a table has already, and how far a batch takes it.
//!
//! What always holds: a row below its partition's watermark is never written again.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Int32Type, Int64Type},
};

use super::error::{Doing, LakeError};
use crate::pg::watermark::Step;

/// The next offset to read, per partition of a topic.
pub type Marks = BTreeMap<i32, i64>;

/// The steps that take a table from `marks` to `next`; partitions that are there already, or beyond, make none.
pub(crate) fn steps(marks: &Marks, next: &Marks) -> BTreeMap<i32, Step> {
    next.iter()
        .map(|(partition, to)| (*partition, Step { from: marks.get(partition).copied(), to: *to }))
        .filter(|(_, step)| step.from.is_none_or(|from| from < step.to))
        .collect()
}

/// The rows that a table with these watermarks does not have yet.
pub(crate) fn rows_from(batches: &[RecordBatch], marks: &Marks) -> Result<Vec<RecordBatch>, LakeError> {
    let mut fresh = Vec::with_capacity(batches.len());
    for batch in batches {
        let (partitions, offsets) = columns(batch)?;
        let wanted: BooleanArray = partitions
            .values()
            .iter()
            .zip(offsets.values())
            .map(|(partition, offset)| Some(marks.get(partition).is_none_or(|mark| offset >= mark)))
            .collect();
        match wanted.true_count() {
            0 => {}
            all if all == batch.num_rows() => fresh.push(batch.clone()),
            _ => fresh.push(filter_record_batch(batch, &wanted).doing("leaving out rows that the table has")?),
        }
    }
    Ok(fresh)
}

/// Refuses batches with rows that the offsets do not cover: they would be written again by the next reader.
pub(crate) fn check_covered(batches: &[RecordBatch], next: &Marks) -> Result<(), LakeError> {
    for batch in batches {
        let (partitions, offsets) = columns(batch)?;
        let bare = partitions
            .values()
            .iter()
            .zip(offsets.values())
            .find(|(partition, offset)| next.get(partition).is_none_or(|next| offset >= &next));
        if let Some((partition, offset)) = bare {
            return Err(LakeError::BadBatch(format!(
                "a row has offset {offset} of partition {partition}, and the batch does not end after it"
            )));
        }
    }
    Ok(())
}

fn columns(batch: &RecordBatch) -> Result<(&Int32Array, &Int64Array), LakeError> {
    let partitions = batch.column_by_name("kafka_partition").and_then(|it| it.as_primitive_opt::<Int32Type>());
    let offsets = batch.column_by_name("kafka_offset").and_then(|it| it.as_primitive_opt::<Int64Type>());
    match (partitions, offsets) {
        (Some(partitions), Some(offsets)) if partitions.null_count() == 0 && offsets.null_count() == 0 => {
            Ok((partitions, offsets))
        }
        _ => Err(LakeError::BadBatch("each row needs a kafka_partition (int) and a kafka_offset (long)".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::ArrayRef;

    use super::*;

    fn batch(rows: &[(i32, i64)]) -> RecordBatch {
        let partitions: Int32Array = rows.iter().map(|row| Some(row.0)).collect();
        let offsets: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
        RecordBatch::try_from_iter([
            ("kafka_partition", Arc::new(partitions) as ArrayRef),
            ("kafka_offset", Arc::new(offsets)),
        ])
        .unwrap()
    }

    #[test]
    fn rows_below_the_watermark_are_left_out() {
        let rows = [batch(&[(0, 4), (0, 5), (1, 0)]), batch(&[(0, 3)])];
        let fresh = rows_from(&rows, &Marks::from([(0, 5)])).unwrap();
        assert_eq!(fresh, [batch(&[(0, 5), (1, 0)])]);
    }

    #[test]
    fn only_partitions_that_get_further_make_a_step() {
        let made = steps(&Marks::from([(0, 5), (1, 9)]), &Marks::from([(0, 7), (1, 9), (2, 1)]));
        assert_eq!(made, BTreeMap::from([(0, Step { from: Some(5), to: 7 }), (2, Step { from: None, to: 1 })]));
    }

    #[test]
    fn a_row_beyond_the_end_of_its_batch_is_refused() {
        assert!(check_covered(&[batch(&[(0, 4)])], &Marks::from([(0, 5)])).is_ok());
        for next in [Marks::from([(0, 4)]), Marks::from([(1, 5)])] {
            assert!(matches!(check_covered(&[batch(&[(0, 4)])], &next), Err(LakeError::BadBatch(_))));
        }
    }
}
