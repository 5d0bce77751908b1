//! The column `month` of the Delta table: Delta partitions by columns alone, so the month of `ts` has to be one.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder},
    datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType},
};
use chrono::DateTime;

use super::{
    conform::conform,
    error::{Doing, LakeError},
};

/// The column's name; its values are like `2013-02`, in UTC.
pub(crate) const MONTH: &str = "month";
const MICROS_A_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// The batch with the columns of `target`, one of them the month of its `ts`.
pub(crate) fn with_month(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch, LakeError> {
    let months = months(batch)?;
    let mut fields: Vec<Arc<Field>> = batch.schema_ref().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    fields.push(Arc::new(Field::new(MONTH, months.data_type().clone(), false)));
    columns.push(months);
    let with_month = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).doing("adding the month")?;
    conform(&with_month, target)
}

fn months(batch: &RecordBatch) -> Result<ArrayRef, LakeError> {
    let times = batch.column_by_name("ts").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let Some(times) = times else {
        return Err(LakeError::BadBatch("the column ts is missing or not a timestamp in microseconds".to_owned()));
    };
    let mut months = StringBuilder::with_capacity(times.len(), times.len() * "2013-02".len());
    // Rows come nearly in order of time: the text is made once a day, not once a row.
    let mut last = (i64::MIN, String::new());
    for micros in times.values() {
        let day = micros.div_euclid(MICROS_A_DAY);
        if day != last.0 {
            let time = DateTime::from_timestamp_micros(*micros)
                .ok_or_else(|| LakeError::BadBatch(format!("ts is out of range: {micros} microseconds")))?;
            last = (day, time.format("%Y-%m").to_string());
        }
        months.append_value(&last.1);
    }
    Ok(Arc::new(months.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::TimestampMicrosecondArray,
        datatypes::{DataType, TimeUnit},
    };

    use super::*;

    #[test]
    fn the_month_is_that_of_utc() {
        let times = ["2013-01-31T23:59:59Z", "2013-02-01T00:00:00Z", "1969-12-31T23:59:59Z"];
        let micros = times.map(|time| time.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_micros());
        let column = Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("+00:00")) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("ts", column)]).unwrap();
        let target = Arc::new(Schema::new(vec![
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new(MONTH, DataType::Utf8, false),
        ]));
        let months = with_month(&batch, &target).unwrap();
        let months: Vec<_> = months.column(1).as_string::<i32>().iter().flatten().collect();
        assert_eq!(months, ["2013-01", "2013-02", "1969-12"]);
    }
}
