//! Query parameters: limits, order, ranges, patterns. Mistakes are gathered and answered together; unknown parameters
//! are ignored, as in Airflow.

use std::{borrow::Cow, cmp::Ordering, fmt::Display, str::FromStr, time::Duration};

use axum::{
    extract::{FromRequestParts, RawQuery},
    http::request::Parts,
};
use model::{
    MapIndex,
    door::{Instant, Zone},
};
use store::read::{Direction, OFFSET_MAX, Pattern, Range, SecondsRange, Window};

use super::body::instant_mistake;
use crate::error::{ApiError, ApiResult, FieldError};

/// Airflow's default size of a page.
pub const LIMIT_DEFAULT: i64 = 50;
/// Larger pages are cut to this.
pub const LIMIT_MAX: i64 = 100;
/// Airflow's limit of sort keys.
pub const ORDER_KEYS_MAX: usize = 10;

/// The parameters of a request.
pub struct Query {
    pairs: Vec<(String, String)>,
    /// Whether an empty date or word is one. Browsers send every field of a form, also those that nobody filled in; who calls
    /// the API with an empty date has made a mistake.
    takes_empty: bool,
    errors: Vec<FieldError>,
    refused: Option<ApiError>,
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: i64,
    /// After so many.
    pub offset: i64,
}

impl Page {
    /// The same for the store.
    #[must_use]
    pub const fn window(self) -> Window {
        Window { limit: self.limit, offset: self.offset }
    }

    /// That part of a list in memory.
    #[must_use]
    pub fn of<T>(self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let count = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        items.into_iter().skip(count(self.offset)).take(count(self.limit)).collect()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let RawQuery(text) = RawQuery::from_request_parts(parts, state).await?;
        Ok(Self::parse(text.as_deref().unwrap_or_default()))
    }
}

impl Query {
    /// Takes the text after `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self {
            pairs: url::form_urlencoded::parse(text.as_bytes()).into_owned().collect(),
            takes_empty: false,
            errors: Vec::new(),
            refused: None,
        }
    }

    /// As the API reads one: a date or a word that is empty is refused. An empty number or flag is none, as airflowctl sends them.
    #[must_use]
    pub fn exact(self) -> Self {
        Self { takes_empty: true, ..self }
    }

    /// The value of a parameter, empty only if that can be meant. Of several the last one counts, as in Airflow.
    fn given(&self, name: &str) -> Option<&str> {
        if !self.takes_empty {
            return self.text(name);
        }
        self.pairs.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same as a word.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&str> {
        self.given(name)
    }

    /// The value of a parameter that is not empty. Of several the last one counts, as in Airflow.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rfind(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Answers with everything that was wrong, if anything was.
    ///
    /// # Errors
    /// [`ApiError::Malformed`], or what was refused for another reason.
    pub fn finish(&mut self) -> ApiResult<()> {
        if !self.errors.is_empty() {
            return Err(ApiError::Malformed(std::mem::take(&mut self.errors)));
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    /// Notes what is refused as a whole; the first reason is told.
    pub fn refuse(&mut self, error: ApiError) {
        self.refused.get_or_insert(error);
    }

    /// `map_index`; a task that is not expanded has none.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] when it is no number.
    pub fn map_index(&self) -> ApiResult<MapIndex> {
        let Some(text) = self.text("map_index") else { return Ok(MapIndex::UNMAPPED) };
        text.parse().map(MapIndex).map_err(|_| {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            ApiError::Malformed(vec![FieldError::query("map_index", "int_parsing", message, text)])
        })
    }

    /// `limit` and `offset`.
    pub fn page(&mut self) -> Page {
        let limit = self.number("limit", LIMIT_DEFAULT).min(LIMIT_MAX);
        let offset = self.number("offset", 0);
        if offset > OFFSET_MAX {
            let message = far(OFFSET_MAX);
            self.errors.push(FieldError::query("offset", "less_than_equal", &message, &offset.to_string()));
        }
        Page { limit, offset }
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        let text = self.text(name)?.to_owned();
        self.parsed(name, &text, "int_parsing", "Input should be a valid integer")
    }

    /// Every value of a parameter, as whole numbers.
    pub fn numbers(&mut self, name: &str) -> Vec<i32> {
        let texts: Vec<String> = self.all(name).filter(|text| !text.is_empty()).map(str::to_owned).collect();
        texts
            .iter()
            .filter_map(|text| self.parsed(name, text, "int_parsing", "Input should be a valid integer"))
            .collect()
    }

    /// `<name>_gte`, `_gt`, `_lte`, `_lt`, in seconds.
    pub fn seconds(&mut self, name: &str) -> SecondsRange {
        SecondsRange {
            gte: self.decimal(&format!("{name}_gte")),
            gt: self.decimal(&format!("{name}_gt")),
            lte: self.decimal(&format!("{name}_lte")),
            lt: self.decimal(&format!("{name}_lt")),
        }
    }

    fn decimal(&mut self, name: &str) -> Option<f64> {
        let text = self.text(name)?.to_owned();
        let number: f64 = self.parsed(name, &text, "float_parsing", "Input should be a valid number")?;
        if number.is_finite() {
            return Some(number);
        }
        self.errors.push(FieldError::query(name, "finite_number", "Input should be a finite number", &text));
        None
    }

    fn parsed<T: FromStr>(&mut self, name: &str, text: &str, kind: &'static str, message: &str) -> Option<T> {
        let found = text.parse().ok();
        if found.is_none() {
            self.errors.push(FieldError::query(name, kind, message, text));
        }
        found
    }

    /// A text that has to be there.
    pub fn required_text(&mut self, name: &str) -> String {
        if let Some(text) = self.text(name) {
            return text.to_owned();
        }
        self.errors.push(FieldError::query(name, "missing", "Field required", ""));
        String::new()
    }

    /// A time in seconds that has to be there and to be more than none.
    pub fn positive_seconds(&mut self, name: &str) -> Duration {
        let text = self.required_text(name);
        if text.is_empty() {
            return Duration::ZERO;
        }
        let seconds: Option<f64> = self.parsed(name, &text, "float_parsing", "Input should be a valid number");
        match seconds {
            Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            Some(_) => {
                self.errors.push(FieldError::query(name, "greater_than", "Input should be greater than 0", &text));
                Duration::ZERO
            }
            None => Duration::ZERO,
        }
    }

    fn number(&mut self, name: &str, default: i64) -> i64 {
        let Some(text) = self.text(name).map(str::to_owned) else { return default };
        let (kind, message) = match text.parse::<i64>() {
            Ok(number) if number >= 0 => return number,
            Ok(_) => ("greater_than_equal", "Input should be greater than or equal to 0"),
            Err(_) => ("int_parsing", "Input should be a valid integer"),
        };
        self.errors.push(FieldError::query(name, kind, message, &text));
        default
    }

    /// A parameter that is true or false.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?.to_owned();
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                let message = "Input should be a valid boolean, unable to interpret input";
                self.errors.push(FieldError::query(name, "bool_parsing", message, &text));
                None
            }
        }
    }

    /// Every value of a parameter, as a word of an enum. Airflow answers a bad one with a text.
    ///
    /// # Errors
    /// [`ApiError::MalformedText`].
    pub fn words<T: FromStr<Err: Display>>(&self, name: &str) -> ApiResult<Vec<T>> {
        self.all(name)
            .map(|text| text.parse().map_err(|error: T::Err| ApiError::MalformedText(error.to_string())))
            .collect()
    }

    /// `<name>_gte`, `_gt`, `_lte`, `_lt`.
    pub fn range(&mut self, name: &str) -> Range {
        let mut bound = |sign: &str| self.instant(&format!("{name}_{sign}")).map(Instant::get);
        Range { gte: bound("gte"), gt: bound("gt"), lte: bound("lte"), lt: bound("lt") }
    }

    /// An instant in any form that clients send; without a zone it is UTC.
    pub fn instant(&mut self, name: &str) -> Option<Instant> {
        let text = self.given(name)?.to_owned();
        Instant::parse(&with_plus(&text), Zone::Utc)
            .map_err(|error| {
                let (kind, message) = instant_mistake(error);
                self.errors.push(FieldError::query(name, kind, message, &text));
            })
            .ok()
    }

    /// A `…_pattern` parameter: `|` separates alternatives, `~` alone stands for everything.
    #[must_use]
    pub fn pattern(&self, name: &str) -> Pattern {
        let text = self.text(name).filter(|text| *text != "~").unwrap_or_default();
        Pattern(text.split('|').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    /// A `…_prefix_pattern` parameter: Airflow ignores what is not a letter or a digit at its end.
    #[must_use]
    pub fn prefix(&self, name: &str) -> Option<String> {
        let text = self.text(name)?.trim_end_matches(|c: char| !c.is_alphanumeric());
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// `order_by`, as far as `key` knows the attributes.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`] for an attribute that nothing can be ordered by.
    pub fn order<T>(&self, key: impl Fn(&str) -> Option<T>) -> ApiResult<Vec<(T, Direction)>> {
        let texts: Vec<&str> = self.all("order_by").filter(|text| self.takes_empty || !text.is_empty()).collect();
        if texts.len() > ORDER_KEYS_MAX {
            return Err(ApiError::BadRequest(format!("Ordering takes at most {ORDER_KEYS_MAX} attributes")));
        }
        texts.into_iter().map(|text| sort_key(text, &key)).collect()
    }
}

/// Why a list does not skip more rows, and what to do.
pub fn far(offset_max: i64) -> String {
    format!(
        "Input should be less than or equal to {offset_max}: walk a longer list by cursor where there is one, or narrow it by dates"
    )
}

/// An instant whose `+` was sent as it is, and so was read as a space: what stands between a time and an offset of hours and
/// minutes can only have been a plus.
fn with_plus(text: &str) -> Cow<'_, str> {
    let is_offset = |rest: &str| {
        let digits = rest.bytes().filter(u8::is_ascii_digit).count();
        digits == rest.replacen(':', "", 1).len() && matches!((digits, rest.find(':')), (2 | 4, None) | (4, Some(2)))
    };
    match text.trim_end().rsplit_once(' ') {
        Some((time, offset)) if time.contains(':') && is_offset(offset) => format!("{time}+{offset}").into(),
        _ => text.into(),
    }
}

/// An attribute to order by, descending after a `-`.
///
/// # Errors
/// [`ApiError::BadRequest`] for an attribute that nothing can be ordered by.
pub fn sort_key<T>(text: &str, key: impl Fn(&str) -> Option<T>) -> ApiResult<(T, Direction)> {
    let (name, direction) = match text.strip_prefix('-') {
        Some(name) => (name, Direction::Descending),
        None => (text, Direction::Ascending),
    };
    let unknown =
        || ApiError::BadRequest(format!("Ordering with '{name}' is disallowed or the attribute does not exist"));
    Ok((key(name).ok_or_else(unknown)?, direction))
}

/// The order of two by several keys, the first one first.
pub fn by_keys<K: Copy>(order: impl IntoIterator<Item = (K, Direction)>, by: impl Fn(K) -> Ordering) -> Ordering {
    let mut orders = order.into_iter().map(|(key, direction)| direction.turned(by(key)));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Sorts a list as it was asked for. The primary key decides what the other keys leave open, in the direction of the first
/// of them, as in Airflow.
pub fn in_order<T, K: Copy>(list: &mut [T], order: &[(K, Direction)], primary: K, by: impl Fn(K, &T, &T) -> Ordering) {
    let last = (primary, order.first().map_or(Direction::Ascending, |(_, direction)| *direction));
    list.sort_by(|a, b| by_keys(order.iter().copied().chain([last]), |key| by(key, a, b)));
}

/// Whether a text matches a pattern: anywhere in it, `%` for any text and `_` for any character, case aside.
#[must_use]
pub fn matches(pattern: &Pattern, text: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let fits = |part: &String| {
        let part: Vec<char> = format!("%{}%", part.to_lowercase()).chars().collect();
        like(&part, &text)
    };
    pattern.0.is_empty() || pattern.0.iter().any(fits)
}

/// SQL's LIKE, in time proportional to the product of both lengths.
fn like(pattern: &[char], text: &[char]) -> bool {
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    for part in pattern {
        match part {
            '%' => {
                let first = reachable.iter().position(|here| *here).unwrap_or(reachable.len());
                reachable.iter_mut().skip(first).for_each(|here| *here = true);
            }
            part => {
                for at in (0..text.len()).rev() {
                    reachable[at + 1] = reachable[at] && (*part == '_' || *part == text[at]);
                }
                reachable[0] = false;
            }
        }
    }
    reachable[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_to_a_hundred_and_never_negative() {
        assert_eq!(Query::parse("limit=1000&offset=5").page(), Page { limit: 100, offset: 5 });
        assert_eq!(Query::parse("").page(), Page { limit: 50, offset: 0 });
        assert_eq!(Query::parse("limit=1&limit=2").exact().page().limit, 2, "the last one counts");
        let mut query = Query::parse("limit=-1&offset=x");
        query.page();
        let Err(ApiError::Malformed(errors)) = query.finish() else { panic!("refused") };
        assert_eq!(errors.iter().map(|error| error.kind).collect::<Vec<_>>(), ["greater_than_equal", "int_parsing"]);
    }

    #[test]
    fn an_empty_date_is_a_mistake_unless_a_form_sends_it() {
        let mistakes = |query: Query| {
            let mut query = query;
            query.page();
            query.instant("at");
            query.flag("paused");
            query.numbers("map_index");
            query.seconds("duration");
            match query.finish() {
                Ok(()) => 0,
                Err(ApiError::Malformed(errors)) => errors.len(),
                Err(error) => panic!("{error}"),
            }
        };
        let text = "limit=&at=&paused=&map_index=&duration_gte=";
        assert_eq!((mistakes(Query::parse(text)), mistakes(Query::parse(text).exact())), (0, 1));
    }

    #[test]
    fn a_pattern_is_a_substring_with_wildcards_and_alternatives() {
        let pattern = |text: &str| Query::parse(&format!("p={text}")).pattern("p");
        assert!(matches(&pattern("STOCK"), "stock_data_pipeline"));
        assert!(matches(&pattern("st%25pipe"), "stock_data_pipeline"));
        assert!(matches(&pattern("weather|data_p"), "stock_data_pipeline"));
        assert!(!matches(&pattern("weather"), "stock_data_pipeline"));
        assert!(matches(&pattern("~"), "anything"));
        assert!(!matches(&pattern("a_c"), "ac"));
    }

    #[test]
    fn the_primary_key_comes_last_in_the_direction_of_the_first() {
        let by = |key: usize, a: &(u8, u8), b: &(u8, u8)| if key == 0 { a.0.cmp(&b.0) } else { a.1.cmp(&b.1) };
        let sorted = |order: &[(usize, Direction)]| {
            let mut list = [(1, 2), (2, 1), (1, 1)];
            in_order(&mut list, order, 1, by);
            list
        };
        assert_eq!(sorted(&[(0, Direction::Ascending)]), [(1, 1), (1, 2), (2, 1)]);
        assert_eq!(sorted(&[(0, Direction::Descending)]), [(2, 1), (1, 2), (1, 1)]);
        assert_eq!(sorted(&[]).map(|one| one.1), [1, 1, 2]);
    }

    #[test]
    fn an_instant_without_a_zone_is_utc_and_an_odd_one_is_refused() {
        for text in [
            "2026-11-21",
            "2026-11-21T00:00",
            "2026-11-21T01:00:00%2B0100",
            "2026-11-21%2000:00:00Z",
            "2026-11-21T00:00:00.000000+0000",
            "2026-11-21T01:00+01:00",
            "2026-11-21+01:00:00+01",
            "2026-11-21%2000:00",
        ] {
            let mut query = Query::parse(&format!("at={text}"));
            assert_eq!(query.instant("at").unwrap().to_string(), "2026-11-21 00:00:00 UTC", "{text}");
            query.finish().unwrap();
        }
        for text in
            ["yesterday", "-9999-01-01", "0000-01-01", "10000-01-01", "2026-11-21T00:00+1", "2026-11-21+0000+0000"]
        {
            let mut query = Query::parse(&format!("at={text}"));
            assert_eq!(query.instant("at"), None, "{text}");
            assert!(query.finish().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_index_and_no_duration() {
        assert!(Query::parse("map_index=NaN").map_index().is_err());
        assert_eq!(Query::parse("map_index=3").map_index().unwrap(), MapIndex(3));
        for text in ["NaN", "inf", "1e999"] {
            let mut query = Query::parse(&format!("duration_gte={text}"));
            query.seconds("duration");
            assert!(query.finish().is_err(), "{text}");
        }
    }
}
