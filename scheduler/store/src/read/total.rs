//! How many rows a list has, at a bounded cost.
//!
//! PostgreSQL counts by walking, so a list counts up to [`COUNT_MAX`] rows, for some 25 ms, and then says
//! "at least so many". A page that is not full is the last one and tells the whole number without any count.
//!
//! What no index helps to find is looked for in the newest rows first, for some 20 ms. That is the answer when there are no
//! other rows, or when the newest ones come first in the list and fill the page. Else all rows are looked at, in the time that
//! a statement has: a list is whole, or it is refused as too heavy. Only who asks for the newest rows alone gets these, and
//! is told how many they are ([`Total::Among`]).

use sqlx::{Connection, FromRow, PgPool, Postgres, QueryBuilder, postgres::PgRow};

use super::{DOING, Direction};
use crate::error::{Doing, StoreError};

/// Nobody pages further by hand, and programs that do need no number: 200 pages of 50 rows.
pub const COUNT_MAX: i64 = 10_000;
/// Rows that a page may skip. PostgreSQL walks over each of them, at some microseconds a row.
pub const OFFSET_MAX: i64 = 100_000;
/// A number that takes longer to find than all the rest of the answer is not worth it: of the time that a statement may take a
/// count gets this part, 25 ms of five seconds.
const COUNT_PART_OF_TIMEOUT: f64 = 200.0;
/// Where statements have no limit, they have this one for it: nobody waits there.
const NO_LIMIT_SECS: f64 = 3_600.0;

/// How many rows a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// So many.
    Exactly(i64),
    /// So many have been found, and the count was ended there.
    AtLeast(i64),
    /// So many have been found among the newest rows, and older ones have not been looked at.
    Among {
        /// How many have been found.
        found: i64,
        /// How many rows were looked at.
        newest: i64,
    },
}

impl Total {
    /// The number.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Exactly(number) | Self::AtLeast(number) | Self::Among { found: number, .. } => number,
        }
    }

    /// Where the count was ended, if it was.
    #[must_use]
    pub const fn limit(self) -> Option<i64> {
        match self {
            Self::Exactly(_) => None,
            Self::AtLeast(number) | Self::Among { found: number, .. } => Some(number),
        }
    }

    /// Whether there are more rows than this, as far as is known.
    #[must_use]
    pub const fn exceeds(self, rows: i64) -> bool {
        match self {
            Self::Exactly(number) | Self::Among { found: number, .. } => number > rows,
            // The rest was not counted: there may be more.
            Self::AtLeast(number) => number >= rows,
        }
    }
}

impl From<i64> for Total {
    fn from(number: i64) -> Self {
        Self::Exactly(number)
    }
}

/// The statements of a list.
pub(crate) struct Statements<'a> {
    /// Selects the rows of a part.
    pub page: QueryBuilder<'a, Postgres>,
    /// Counts all rows, as [`counting`] and [`counted`] do.
    pub matching: QueryBuilder<'a, Postgres>,
    /// What they look at, if it is not all rows.
    pub looked_at: Option<LookedAt<'a>>,
}

/// The newest rows, when a list looks at these.
pub(crate) struct LookedAt<'a> {
    /// Counts them, and says whether there are no others.
    pub count: QueryBuilder<'a, Postgres>,
    /// Where the older rows are.
    pub rest: Rest,
}

/// Where rows are in a list that have not been looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nowhere: only the newest were asked for.
    NotMeant,
    /// After the newest.
    After,
    /// Between them, or before.
    Anywhere,
}

/// The newest rows of a table that a search looks at.
#[derive(Clone, Copy)]
pub(crate) struct Searched {
    /// The table. Its rows have an `id`.
    pub table: &'static str,
    /// What makes them the newest: a column that an index has in order.
    pub by: &'static str,
    /// How many they are.
    pub newest: i64,
}

impl Searched {
    /// These rows under their table's name, for conditions to be added; `limit` adds those that an index knows, so that older
    /// rows can be reached by them.
    pub fn push_source<'a>(
        self,
        query: &mut QueryBuilder<'a, Postgres>,
        limit: impl FnOnce(&mut QueryBuilder<'a, Postgres>),
    ) {
        let Self { table, by, newest } = self;
        query.push(format_args!("FROM (SELECT * FROM {table} WHERE true"));
        limit(query);
        query.push(format_args!(" ORDER BY {by} DESC, id DESC LIMIT ")).push_bind(newest);
        query.push(format_args!(") AS {table} WHERE true"));
    }

    /// How many these rows are, limited alike.
    pub fn looked_at<'a>(self, rest: Rest, limit: impl FnOnce(&mut QueryBuilder<'a, Postgres>)) -> LookedAt<'a> {
        let Self { table, newest, .. } = self;
        let mut count = QueryBuilder::new("SELECT least(count(*), ");
        count.push_bind(newest).push("), count(*) <= ").push_bind(newest);
        count.push(format_args!(" FROM (SELECT 1 FROM {table} WHERE true"));
        limit(&mut count);
        count.push(" LIMIT ").push_bind(newest + 1).push(") AS looked_at");
        LookedAt { count, rest }
    }

    /// Where older rows are in a list that has this order; nowhere for who `asked` for the newest alone.
    pub fn rest<K: Copy>(
        self,
        asked: Option<i64>,
        order: &[(K, Direction)],
        column: impl Fn(K) -> &'static str,
    ) -> Rest {
        match (asked, order) {
            (Some(_), _) => Rest::NotMeant,
            (None, [(key, Direction::Descending)]) if column(*key) == self.by => Rest::After,
            (None, _) => Rest::Anywhere,
        }
    }
}

/// How far back a statement looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// At the newest rows, where no index helps.
    Newest,
    /// At all of them.
    All,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// At most so many rows.
    pub limit: i64,
    /// After so many.
    pub offset: i64,
}

impl Window {
    /// Refuses to skip more rows than one request may walk over.
    ///
    /// # Errors
    /// [`StoreError::Refused`], with the way out.
    pub fn check(self) -> Result<(), StoreError> {
        self.check_within(OFFSET_MAX)
    }

    /// The same of a list whose rows cost more to walk over.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn check_within(self, offset_max: i64) -> Result<(), StoreError> {
        if self.offset <= offset_max {
            return Ok(());
        }
        let reason = format!(
            "offset is {}, and this list skips at most {offset_max} rows: walk it by cursor (send an empty cursor, then the \
             next_cursor of each answer), or go on from the last row's date with a filter such as run_after_lte",
            self.offset
        );
        Err(StoreError::Refused { reason })
    }

    /// The rows of this part as what they stand for, and how many the whole list has.
    ///
    /// # Errors
    /// As [`Self::rows`], and when a row makes no sense.
    pub(crate) async fn read<'s, R, T>(
        self,
        pool: &PgPool,
        statements: impl Fn(Reach) -> Statements<'s>,
        doing: &'static str,
    ) -> Result<(Vec<T>, Total), StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
        T: TryFrom<R, Error = StoreError>,
    {
        let (rows, total) = self.rows::<R>(pool, statements, doing).await?;
        Ok((rows.into_iter().map(T::try_from).collect::<Result<_, _>>()?, total))
    }

    /// The rows of this part, and how many the whole list has.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an offset that is too far away; [`StoreError::TooHeavy`] when all rows would have to be
    /// looked at, and there is no time for it; others when PostgreSQL does not answer.
    pub(crate) async fn rows<'s, R>(
        self,
        pool: &PgPool,
        statements: impl Fn(Reach) -> Statements<'s>,
        doing: &'static str,
    ) -> Result<(Vec<R>, Total), StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.check()?;
        let Statements { page, matching, looked_at } = statements(Reach::Newest);
        let Some(LookedAt { mut count, rest }) = looked_at else {
            return self.rows_of(pool, page, matching, doing).await;
        };
        let (newest, is_all): (i64, bool) = count.build_query_as().fetch_one(pool).await.doing(doing)?;
        if is_all || rest != Rest::Anywhere {
            let (rows, total) = self.rows_of(pool, page, matching, doing).await?;
            let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= self.limit);
            match rest {
                _ if is_all => return Ok((rows, total)),
                Rest::NotMeant => return Ok((rows, Total::Among { found: total.number(), newest })),
                Rest::After if is_full => return Ok((rows, Total::AtLeast(total.number()))),
                Rest::After | Rest::Anywhere => {}
            }
        }
        let Statements { page, matching, .. } = statements(Reach::All);
        self.rows_of(pool, page, matching, doing).await
    }

    async fn rows_of<R>(
        self,
        pool: &PgPool,
        mut page: QueryBuilder<'_, Postgres>,
        matching: QueryBuilder<'_, Postgres>,
        doing: &'static str,
    ) -> Result<(Vec<R>, Total), StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let rows: Vec<R> = page.build_query_as().fetch_all(pool).await.doing(doing)?;
        let total = self.total(pool, rows.len(), matching).await?;
        Ok((rows, total))
    }

    /// How many rows the whole list has. `rows` says how many this part of it has, `matching` selects all of them.
    ///
    /// # Errors
    /// [`StoreError`] when PostgreSQL does not answer.
    pub(crate) async fn total(
        self,
        pool: &PgPool,
        rows: usize,
        matching: QueryBuilder<'_, Postgres>,
    ) -> Result<Total, StoreError> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let seen = self.offset.saturating_add(rows);
        if rows < self.limit && (rows > 0 || self.offset == 0) {
            return Ok(Total::Exactly(seen));
        }
        match count(pool, matching).await {
            Ok(number) if number > COUNT_MAX => Ok(Total::AtLeast(COUNT_MAX.max(seen))),
            Ok(number) => Ok(Total::Exactly(number)),
            Err(StoreError::TooHeavy { .. }) => Ok(Total::AtLeast(seen)),
            Err(error) => Err(error),
        }
    }
}

/// Counts up to one more than [`COUNT_MAX`], within its time.
async fn count(pool: &PgPool, mut matching: QueryBuilder<'_, Postgres>) -> Result<i64, StoreError> {
    let mut connection = pool.acquire().await.doing(DOING)?;
    let mut transaction = connection.begin().await.doing(DOING)?;
    let limit = sqlx::query!(
        "SELECT set_config('statement_timeout', greatest(1,
             coalesce(nullif(extract(epoch FROM current_setting('statement_timeout')::interval)::float8, 0), $2) * 1000 / $1
         )::int::text, true)",
        COUNT_PART_OF_TIMEOUT,
        NO_LIMIT_SECS
    );
    limit.fetch_one(&mut *transaction).await.doing(DOING)?;
    let counted = matching.build_query_scalar::<i64>().fetch_one(&mut *transaction).await.doing(DOING);
    transaction.rollback().await.doing(DOING)?;
    counted
}

/// Begins a statement that counts what it is given next, up to one more than [`COUNT_MAX`]; [`counted`] ends it.
pub(crate) fn counting<'a>() -> QueryBuilder<'a, Postgres> {
    QueryBuilder::new("SELECT count(*) FROM (SELECT 1 ")
}

/// Ends a statement that [`counting`] has begun.
pub(crate) fn counted<'a>(mut query: QueryBuilder<'a, Postgres>) -> QueryBuilder<'a, Postgres> {
    query.push(format_args!(" LIMIT {}) AS matching", COUNT_MAX + 1));
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_was_ended_says_where() {
        assert_eq!((Total::Exactly(7).number(), Total::Exactly(7).limit()), (7, None));
        assert_eq!((Total::AtLeast(7).number(), Total::AtLeast(7).limit()), (7, Some(7)));
        assert!(Total::AtLeast(50).exceeds(50) && !Total::Exactly(50).exceeds(50));
        let among = Total::Among { found: 7, newest: 100 };
        assert_eq!((among.number(), among.limit(), among.exceeds(7)), (7, Some(7), false));
    }

    #[test]
    fn an_offset_beyond_what_is_walked_is_refused_with_the_way_out() {
        let far = Window { limit: 1, offset: OFFSET_MAX + 1 };
        let error = far.check().unwrap_err().to_string();
        assert!(error.contains("run_after_lte"), "{error}");
        assert!(Window { limit: 1, offset: OFFSET_MAX }.check().is_ok());
    }
}
