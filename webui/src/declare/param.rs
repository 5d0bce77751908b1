//! The parameters of queries.

use std::{fmt::Display, str::FromStr};

use model::{MapIndex, door::Instant};
use store::read::{Direction, OFFSET_MAX, Pattern, Range, SecondsRange};
use utoipa::openapi::{
    RefOr, Required,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type},
};

use super::schema;
pub use crate::http::query::Page;
use crate::{
    changes::Mask,
    error::ApiError,
    http::query::{LIMIT_DEFAULT, ORDER_KEYS_MAX, Query},
};

/// A parameter that reads itself and declares itself.
pub trait Param: Sized {
    /// Reads it by its name; what is wrong is noted in the query.
    fn read(query: &mut Query, name: &str) -> Self;
    /// What the document says of it: mostly one parameter of this name.
    fn declare(name: &str) -> Vec<Declared>;
}

/// One parameter of the document.
pub struct Declared {
    name: String,
    required: Required,
    schema: Schema,
    about: String,
}

impl Declared {
    /// One that may be left out.
    pub fn optional(name: impl Into<String>, schema: impl Into<Schema>) -> Self {
        Self { name: name.into(), required: Required::False, schema: schema.into(), about: String::new() }
    }

    /// The same with a narrower schema: what its reader refuses by a rule of the operation.
    #[must_use]
    pub fn narrowed(self, schema: impl Into<Schema>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// One that has to be there.
    pub fn required(name: impl Into<String>, schema: impl Into<Schema>) -> Self {
        Self { name: name.into(), required: Required::True, schema: schema.into(), about: String::new() }
    }
}

/// The declarations of a field with what its doc comment says, where they say nothing themselves.
pub fn about(mut declared: Vec<Declared>, about: &str) -> Vec<Declared> {
    for one in declared.iter_mut().filter(|one| one.about.is_empty()) {
        about.clone_into(&mut one.about);
    }
    declared
}

/// The declarations of a query.
pub fn in_query(declared: Vec<Declared>) -> impl Iterator<Item = Parameter> {
    declared.into_iter().map(|one| {
        ParameterBuilder::new()
            .name(one.name)
            .parameter_in(ParameterIn::Query)
            .required(one.required)
            .description((!one.about.is_empty()).then_some(one.about))
            .schema(Some(one.schema))
            .build()
    })
}

fn one(name: &str, schema: Schema) -> Vec<Declared> {
    vec![Declared::optional(name, schema)]
}

fn count(default: i64, most: i64) -> Schema {
    let most = isize::try_from(most).unwrap_or(isize::MAX);
    let number = schema::of(Type::Integer).minimum(Some(0)).maximum(Some(most));
    number.default(Some(default.into())).into()
}

/// `limit` and `offset`, whatever the field is called.
impl Param for Page {
    fn read(query: &mut Query, _: &str) -> Self {
        query.page()
    }

    fn declare(_: &str) -> Vec<Declared> {
        vec![
            Declared::optional("limit", count(LIMIT_DEFAULT, i64::MAX)),
            Declared::optional("offset", count(0, OFFSET_MAX)),
        ]
    }
}

/// What a list can be ordered by.
pub trait OrderKey: Clone + 'static {
    /// Airflow's names of the attributes.
    const KEYS: &'static [(&'static str, Self)];
    /// The order when none is asked for.
    const DEFAULT: &'static str;
}

/// The names of attributes, each also with the `-` of the other direction.
pub fn sort_words<K: OrderKey>() -> Schema {
    let words: Vec<String> = K::KEYS.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("-{name}")]).collect();
    schema::words(words.iter().map(String::as_str))
}

/// `order_by`: attributes to order by, the first one first.
#[derive(Debug, Clone)]
pub struct OrderBy<K>(pub Vec<(K, Direction)>);

impl<K: OrderKey> Param for OrderBy<K> {
    fn read(query: &mut Query, _: &str) -> Self {
        let key = |name: &str| K::KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| key.clone());
        match query.order(key) {
            Ok(order) => Self(order),
            Err(error) => {
                query.refuse(error);
                Self(Vec::new())
            }
        }
    }

    fn declare(name: &str) -> Vec<Declared> {
        let names: Vec<&str> = K::KEYS.iter().map(|(name, _)| *name).collect();
        let about = format!("Attributes to order by, descending after a `-`: `{}`", names.join(", "));
        let list = ArrayBuilder::new()
            .items(RefOr::from(sort_words::<K>()))
            .max_items(Some(ORDER_KEYS_MAX))
            .description(Some(about))
            .default(Some(serde_json::json!([K::DEFAULT])));
        one(name, list.into())
    }
}

/// Part of a text whatever its case; `%` and `_` are wildcards, `|` separates alternatives, `~` alone is everything.
impl Param for Pattern {
    fn read(query: &mut Query, name: &str) -> Self {
        query.pattern(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::text()))
    }
}

/// The beginning of a text, exactly; what is not a letter or a digit at its end is ignored.
#[derive(Debug, Clone, Default)]
pub struct Prefix(pub Option<String>);

impl Prefix {
    /// Whether a text begins so.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        self.0.as_deref().is_none_or(|prefix| text.starts_with(prefix))
    }
}

impl Param for Prefix {
    fn read(query: &mut Query, name: &str) -> Self {
        Self(query.prefix(name))
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::text()))
    }
}

impl Param for String {
    fn read(query: &mut Query, name: &str) -> Self {
        query.required_text(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        vec![Declared::required(name, schema::of(Type::String).min_length(Some(1)))]
    }
}

impl Param for Option<String> {
    fn read(query: &mut Query, name: &str) -> Self {
        query.text(name).map(str::to_owned)
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::text()))
    }
}

/// Every value that is not empty.
impl Param for Vec<String> {
    fn read(query: &mut Query, name: &str) -> Self {
        query.all(name).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::list(schema::text()))
    }
}

impl Param for Option<bool> {
    fn read(query: &mut Query, name: &str) -> Self {
        query.flag(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::boolean()))
    }
}

/// True or false, and what it is when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag<const DEFAULT: bool>(pub bool);

impl<const DEFAULT: bool> Flag<DEFAULT> {
    /// Its schema.
    pub fn schema() -> ObjectBuilder {
        schema::of(Type::Boolean).default(Some(DEFAULT.into()))
    }
}

impl<const DEFAULT: bool> Param for Flag<DEFAULT> {
    fn read(query: &mut Query, name: &str) -> Self {
        Self(query.flag(name).unwrap_or(DEFAULT))
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, Self::schema().into())
    }
}

impl Param for Option<i64> {
    fn read(query: &mut Query, name: &str) -> Self {
        query.integer(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::integer(i64::MIN, i64::MAX)))
    }
}

impl Param for Vec<i32> {
    fn read(query: &mut Query, name: &str) -> Self {
        query.numbers(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::list(schema::integer(i32::MIN, i32::MAX)))
    }
}

/// A task that is not expanded has none: -1.
impl Param for MapIndex {
    fn read(query: &mut Query, _: &str) -> Self {
        match query.map_index() {
            Ok(index) => index,
            Err(error) => {
                query.refuse(error);
                Self::UNMAPPED
            }
        }
    }

    fn declare(name: &str) -> Vec<Declared> {
        let index = schema::of(Type::Integer).minimum(Some(-1)).maximum(Some(i32::MAX as isize));
        one(name, index.default(Some((-1).into())).into())
    }
}

impl Param for Option<Instant> {
    fn read(query: &mut Query, name: &str) -> Self {
        query.instant(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::instant_asked()))
    }
}

fn bounds(name: &str, schema: &Schema) -> Vec<Declared> {
    let bound = |sign| Declared::optional(format!("{name}_{sign}"), schema.clone());
    ["gte", "gt", "lte", "lt"].map(bound).into()
}

/// `<name>_gte`, `_gt`, `_lte` and `_lt`, as instants.
impl Param for Range {
    fn read(query: &mut Query, name: &str) -> Self {
        query.range(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        bounds(name, &schema::nullable(schema::instant_asked()))
    }
}

/// The same in seconds.
impl Param for SecondsRange {
    fn read(query: &mut Query, name: &str) -> Self {
        query.seconds(name)
    }

    fn declare(name: &str) -> Vec<Declared> {
        let number = schema::of(Type::Number).format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)));
        bounds(name, &schema::nullable(Schema::from(number)))
    }
}

/// `update_mask`: the fields that a change is limited to.
impl Param for Mask {
    fn read(query: &mut Query, name: &str) -> Self {
        Self::of(query.all(name))
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::list(schema::text())))
    }
}

/// A word of an enum. Airflow answers a bad one in a query with a text.
pub trait Word: FromStr<Err: Display> {
    /// All of them.
    fn names() -> Vec<&'static str>;
}

impl<T: Word> Param for Vec<T> {
    fn read(query: &mut Query, name: &str) -> Self {
        match query.words(name) {
            Ok(words) => words,
            Err(error) => {
                query.refuse(error);
                Self::new()
            }
        }
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::list(schema::words(T::names())))
    }
}

impl<T: Word> Param for Option<T> {
    fn read(query: &mut Query, name: &str) -> Self {
        let text = query.word(name)?;
        match text.parse() {
            Ok(word) => Some(word),
            Err(error) => {
                query.refuse(ApiError::MalformedText(format!("{name}: {error}")));
                None
            }
        }
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::words(T::names())))
    }
}

/// A filter by what nothing here has yet, such as a partition: a list with it is empty, as it is in an Airflow where nothing
/// has one.
#[derive(Debug, Clone, Copy)]
pub struct Never {
    /// Whether it was sent, and so nothing fits.
    pub is_asked: bool,
}

impl Param for Never {
    fn read(query: &mut Query, name: &str) -> Self {
        // A lone `~` is everything in a pattern, what has nothing included.
        Self { is_asked: query.text(name).is_some_and(|text| text != "~") }
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::text()))
    }
}

/// The same for what is told by a date.
#[derive(Debug, Clone, Copy)]
pub struct NeverDated {
    /// Whether it was sent, and so nothing fits.
    pub is_asked: bool,
}

impl Param for NeverDated {
    fn read(query: &mut Query, name: &str) -> Self {
        Self { is_asked: query.instant(name).is_some() }
    }

    fn declare(name: &str) -> Vec<Declared> {
        one(name, schema::nullable(schema::instant_asked()))
    }
}

/// A time in seconds, more than none.
#[derive(Debug, Clone, Copy)]
pub struct PositiveSeconds(pub std::time::Duration);

impl Param for PositiveSeconds {
    fn read(query: &mut Query, name: &str) -> Self {
        Self(query.positive_seconds(name))
    }

    fn declare(name: &str) -> Vec<Declared> {
        let number = schema::of(Type::Number).exclusive_minimum(Some(0));
        vec![Declared::required(name, number)]
    }
}
