//! Walking through a list by the places of its rows: a part goes on from a row and not after so many rows, so a far part
//! costs as much as the first one, and rows that come and go meanwhile neither hide nor repeat others.
//!
//! A row's place is the values of all keys that the list is ordered by, as texts. The last keys name one row, so every row
//! has a place of its own.

use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{
    Direction,
    list::{word, word_missing_last},
    total::{Reach, Statements, Total, Window},
};
use crate::error::StoreError;

/// The values of a row's keys; none where a key has no value.
pub type RowPlace = Vec<Option<String>>;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Walk {
    /// The one after as many rows as the filter's offset says.
    #[default]
    Off,
    /// The first one.
    First,
    /// The one after this row.
    After(RowPlace),
    /// The one before it.
    Before(RowPlace),
}

/// A part of a list.
#[derive(Debug)]
pub struct Part<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// How many the whole list has.
    pub total: Total,
    /// The last row's place, when it was walked and there are rows after it.
    pub next: Option<RowPlace>,
    /// The first row's place, when it was walked and there may be rows before it.
    pub previous: Option<RowPlace>,
}

/// What a list is ordered by.
#[derive(Debug, Clone)]
pub(super) struct Key {
    sql: String,
    kind: &'static str,
    nulls: Nulls,
    direction: Direction,
}

/// Where rows without a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nulls {
    /// There are none.
    None,
    /// After all others, in both directions, as in Airflow's lists.
    Last,
    /// Before them: the same list, read backwards.
    First,
}

impl Key {
    /// A key that every row has. `kind` is its type in PostgreSQL.
    pub(super) fn always(sql: impl Into<String>, kind: &'static str, direction: Direction) -> Self {
        Self { sql: sql.into(), kind, nulls: Nulls::None, direction }
    }

    /// A key that some rows do not have: these come last in both directions.
    pub(super) fn sometimes(sql: impl Into<String>, kind: &'static str, direction: Direction) -> Self {
        Self { sql: sql.into(), kind, nulls: Nulls::Last, direction }
    }

    fn turned(&self) -> Self {
        let direction = match self.direction {
            Direction::Ascending => Direction::Descending,
            Direction::Descending => Direction::Ascending,
        };
        let nulls = match self.nulls {
            Nulls::None => Nulls::None,
            Nulls::Last => Nulls::First,
            Nulls::First => Nulls::Last,
        };
        Self { direction, nulls, ..self.clone() }
    }

    /// What ORDER BY says after it. PostgreSQL takes what is missing for the largest unless it is told.
    const fn words(&self) -> &'static str {
        match (self.direction, self.nulls) {
            (Direction::Ascending, Nulls::First) => " ASC NULLS FIRST",
            (direction, Nulls::Last) => word_missing_last(direction),
            (direction, Nulls::None | Nulls::First) => word(direction),
        }
    }

    /// Compares it with a value.
    fn compare(&self, query: &mut QueryBuilder<'_, Postgres>, sign: &str, value: &str) {
        query.push(format_args!("{} {sign} ", self.sql)).push_bind(value.to_owned());
        query.push(format_args!("::{}", self.kind));
    }

    fn equals(&self, query: &mut QueryBuilder<'_, Postgres>, value: Option<&str>) {
        match value {
            Some(value) => self.compare(query, "=", value),
            None => drop(query.push(format_args!("{} IS NULL", self.sql))),
        }
    }

    /// That a row comes after one with this value, whatever the other keys say.
    fn follows(&self, query: &mut QueryBuilder<'_, Postgres>, value: Option<&str>) {
        let sign = if self.direction == Direction::Ascending { ">" } else { "<" };
        match (self.nulls, value) {
            (Nulls::Last, Some(value)) => {
                query.push("(");
                self.compare(query, sign, value);
                query.push(format_args!(" OR {} IS NULL)", self.sql));
            }
            (Nulls::None | Nulls::First, Some(value)) => self.compare(query, sign, value),
            (Nulls::None | Nulls::Last, None) => drop(query.push("false")),
            (Nulls::First, None) => drop(query.push(format_args!("{} IS NOT NULL", self.sql))),
        }
    }
}

/// Writes `ORDER BY`.
pub(super) fn order(query: &mut QueryBuilder<'_, Postgres>, keys: &[Key]) {
    query.push(" ORDER BY ");
    for (at, key) in keys.iter().enumerate() {
        query.push(if at == 0 { "" } else { ", " }).push(&key.sql).push(key.words());
    }
}

impl Walk {
    /// The keys in the direction in which the rows are read: towards the beginning they are read backwards.
    pub(super) fn keys(&self, keys: Vec<Key>) -> Vec<Key> {
        match self {
            Self::Before(_) => keys.iter().map(Key::turned).collect(),
            Self::Off | Self::First | Self::After(_) => keys,
        }
    }

    /// The column that a row's place is read from.
    pub(super) fn place(query: &mut QueryBuilder<'_, Postgres>, keys: &[Key]) {
        query.push(", ARRAY[");
        for (at, key) in keys.iter().enumerate() {
            query.push(if at == 0 { "" } else { ", " }).push(format_args!("({})::text", key.sql));
        }
        query.push("] AS row_place ");
    }

    const fn place_to_go_on(&self) -> Option<&RowPlace> {
        match self {
            Self::Off | Self::First => None,
            Self::After(place) | Self::Before(place) => Some(place),
        }
    }

    /// Refuses a place that is of a list with other keys.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub(super) fn check(&self, keys: &[Key]) -> Result<(), StoreError> {
        let Some(values) = self.place_to_go_on() else { return Ok(()) };
        let fits = |(key, value): (&Key, &Option<String>)| key.nulls != Nulls::None || value.is_some();
        if values.len() == keys.len() && keys.iter().zip(values).all(fits) {
            return Ok(());
        }
        let reason = "the cursor is of another list: begin again with an empty one".to_owned();
        Err(StoreError::Refused { reason })
    }

    /// Leaves the rows after the place that it goes on from. `keys` are those that the rows are read by.
    pub(super) fn limit(&self, query: &mut QueryBuilder<'_, Postgres>, keys: &[Key]) {
        let Some(place) = self.place_to_go_on() else { return };
        let values: Vec<Option<&str>> = place.iter().map(Option::as_deref).collect();
        // An index by the first key is entered where the part begins.
        if let ([first, ..], [Some(value), ..]) = (keys, values.as_slice())
            && first.nulls == Nulls::None
        {
            query.push(" AND ");
            first.compare(query, if first.direction == Direction::Ascending { ">=" } else { "<=" }, value);
        }
        query.push(" AND ");
        for (at, (key, value)) in keys.iter().zip(&values).enumerate() {
            query.push("(");
            key.follows(query, *value);
            if at + 1 < keys.len() {
                query.push(" OR (");
                key.equals(query, *value);
                query.push(" AND ");
            }
        }
        query.push(")".repeat(2 * keys.len() - 1));
    }

    /// The part whose page has one row more than `limit` when there are more.
    pub(super) async fn read<'s, R, T>(
        &self,
        pool: &PgPool,
        limit: i64,
        statements: impl Fn(Reach) -> Statements<'s>,
        doing: &'static str,
    ) -> Result<Part<T>, StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
        T: TryFrom<R, Error = StoreError>,
    {
        let window = Window { limit: limit.saturating_add(1), offset: 0 };
        let (mut rows, mut total): (Vec<Placed<R>>, Total) = match self {
            // What is before a row may be older than what a search looks at first.
            Self::Before(_) => {
                let all = |_| Statements { looked_at: None, ..statements(Reach::All) };
                window.rows(pool, all, doing).await?
            }
            Self::Off | Self::First | Self::After(_) => window.rows(pool, &statements, doing).await?,
        };
        let count = usize::try_from(limit).unwrap_or(0);
        let is_more = rows.len() > count;
        if !is_more && self.place_to_go_on().is_some() {
            // The last part from within a list says nothing about the length of the whole.
            let whole = Window { limit: 0, offset: 0 };
            total = whole.total(pool, rows.len(), statements(Reach::All).matching).await?;
        }
        rows.truncate(count);
        if matches!(self, Self::Before(_)) {
            rows.reverse();
        }
        let (first, last) = (rows.first().map(|row| row.place.clone()), rows.last().map(|row| row.place.clone()));
        let (next, previous) = match self {
            Self::Before(place) => (last.or_else(|| Some(place.clone())), first.filter(|_| is_more)),
            Self::After(place) => (last.filter(|_| is_more), first.or_else(|| Some(place.clone()))),
            Self::Off | Self::First => (last.filter(|_| is_more), None),
        };
        let rows = rows.into_iter().map(|row| T::try_from(row.row)).collect::<Result<_, _>>()?;
        Ok(Part { rows, total, next, previous })
    }
}

/// A row with its place.
struct Placed<R> {
    row: R,
    place: RowPlace,
}

impl<'r, R: FromRow<'r, PgRow>> FromRow<'r, PgRow> for Placed<R> {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { row: R::from_row(row)?, place: row.try_get("row_place")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(walk: &Walk) -> Result<String, StoreError> {
        let keys = vec![
            Key::always("run_after", "timestamptz", Direction::Descending),
            Key::sometimes("ended_at", "timestamptz", Direction::Ascending),
            Key::always("id", "bigint", Direction::Descending),
        ];
        let mut query = QueryBuilder::new("SELECT 1 WHERE true");
        walk.check(&keys)?;
        walk.limit(&mut query, &walk.keys(keys));
        Ok(query.sql().trim_start_matches("SELECT 1 WHERE true").to_owned())
    }

    #[test]
    fn a_part_begins_after_a_row_by_all_of_its_keys() {
        let place =
            |end: Option<&str>| vec![Some("2026-01-01".to_owned()), end.map(str::to_owned), Some("7".to_owned())];
        assert_eq!(
            limited(&Walk::After(place(Some("2026-01-02")))).unwrap(),
            " AND run_after <= $1::timestamptz AND (run_after < $2::timestamptz OR (run_after = $3::timestamptz AND \
             ((ended_at > $4::timestamptz OR ended_at IS NULL) OR (ended_at = $5::timestamptz AND (id < $6::bigint)))))"
        );
        assert_eq!(
            limited(&Walk::Before(place(None))).unwrap(),
            " AND run_after >= $1::timestamptz AND (run_after > $2::timestamptz OR (run_after = $3::timestamptz AND \
             (ended_at IS NOT NULL OR (ended_at IS NULL AND (id > $4::bigint)))))"
        );
        assert_eq!(limited(&Walk::First).unwrap(), "");
    }

    #[test]
    fn what_is_missing_comes_last_in_both_directions() {
        for (direction, said) in [(Direction::Ascending, " ASC"), (Direction::Descending, " DESC NULLS LAST")] {
            let keys = vec![Key::sometimes("ended_at", "timestamptz", direction)];
            let mut query = QueryBuilder::new("");
            order(&mut query, &keys);
            assert_eq!(query.sql(), format!(" ORDER BY ended_at{said}"));
            let place = Walk::After(vec![Some("2026-01-02".to_owned())]);
            let mut query = QueryBuilder::new("");
            place.limit(&mut query, &place.keys(keys));
            assert!(query.sql().ends_with(" OR ended_at IS NULL))"), "{}", query.sql());
        }
    }

    #[test]
    fn a_place_of_another_list_is_refused() {
        for place in [vec![], vec![Some("1".to_owned())], vec![None, None, Some("1".to_owned())]] {
            let error = limited(&Walk::After(place)).unwrap_err().to_string();
            assert!(error.contains("another list"), "{error}");
        }
    }
}
