//! The members of bodies.

use model::{
    MapIndex,
    door::{Conf, Instant, Note},
};
use serde_json::{Map, Value};
use utoipa::openapi::{
    RefOr,
    schema::{AdditionalProperties, AllOfBuilder, Object, ObjectBuilder, Schema, Type},
};

use store::read::{OFFSET_MAX, Range, SecondsRange};

use super::{
    param::{Flag, Word},
    schema,
};
use crate::{
    error::ApiError,
    http::{
        body::Body,
        query::{LIMIT_MAX, Page},
    },
};

/// A member that reads itself and says its schema.
pub trait Member: Sized {
    /// Whether it has to be there.
    const REQUIRED: bool;
    /// Reads it by its name; what is wrong is noted in the body.
    fn read(body: &mut Body, name: &str) -> Self;
    /// What the document says of it.
    fn schema() -> RefOr<Schema>;
    /// The members that it is made of, which is mostly the one of its name.
    fn members(name: &str) -> Vec<(String, RefOr<Schema>)> {
        vec![(name.to_owned(), Self::schema())]
    }
}

/// An object that has no other members than those that are added.
pub fn closed_object() -> Object {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).build()
}

/// Members with a narrower schema than that of their type: what their reader refuses by a rule of the operation.
pub fn narrowed(members: Vec<(String, RefOr<Schema>)>, to: &Schema) -> Vec<(String, RefOr<Schema>)> {
    members.into_iter().map(|(name, _)| (name, to.clone().into())).collect()
}

/// An object with more members.
pub fn with(mut object: Object, members: Vec<(String, RefOr<Schema>)>, about: &str, required: bool) -> Object {
    for (name, schema) in members {
        if required {
            object.required.push(name.clone());
        }
        object.properties.insert(name, described(schema, about));
    }
    object
}

/// A schema with what the doc comment of its member says.
fn described(schema: RefOr<Schema>, about: &str) -> RefOr<Schema> {
    if about.is_empty() {
        return schema;
    }
    let about = Some(about.to_owned());
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.description = about;
            Schema::Object(object).into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.description = about;
            Schema::Array(array).into()
        }
        RefOr::T(Schema::AnyOf(mut any)) => {
            any.description = about;
            Schema::AnyOf(any).into()
        }
        other => Schema::from(AllOfBuilder::new().item(other).description(about)).into(),
    }
}

impl Member for String {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        body.required_text(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::text().into()
    }
}

impl Member for Option<String> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.text(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::text()).into()
    }
}

impl Member for i64 {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        body.required_integer(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::integer(i64::MIN, i64::MAX).into()
    }
}

impl Member for Option<i64> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.integer(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::integer(i64::MIN, i64::MAX)).into()
    }
}

impl Member for bool {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        body.required_flag(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::boolean().into()
    }
}

impl Member for Option<bool> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.optional_flag(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::boolean()).into()
    }
}

impl<const DEFAULT: bool> Member for Flag<DEFAULT> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        Self(body.flag(name, DEFAULT))
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(Schema::from(Self::schema())).into()
    }
}

impl Member for Vec<String> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.texts(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::list(schema::text())).into()
    }
}

impl Member for Option<Instant> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.instant(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::instant_sent()).into()
    }
}

impl Member for Option<Note> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.note(name)
    }

    fn schema() -> RefOr<Schema> {
        let text = schema::of(Type::String).max_length(Some(Note::CHARS_MAX));
        schema::nullable(Schema::from(text)).into()
    }
}

impl Member for Conf {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.conf(name)
    }

    fn schema() -> RefOr<Schema> {
        <Map<String, Value>>::schema()
    }
}

impl Member for Map<String, Value> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.object(name)
    }

    fn schema() -> RefOr<Schema> {
        let open = AdditionalProperties::<Schema>::FreeForm(true);
        schema::nullable(Schema::from(schema::of(Type::Object).additional_properties(Some(open)))).into()
    }
}

fn bounds(name: &str, schema: &Schema) -> Vec<(String, RefOr<Schema>)> {
    ["gte", "gt", "lte", "lt"].map(|sign| (format!("{name}_{sign}"), schema.clone().into())).into()
}

/// `<name>_gte`, `_gt`, `_lte` and `_lt`, as instants.
impl Member for Range {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.range(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::instant_sent()).into()
    }

    fn members(name: &str) -> Vec<(String, RefOr<Schema>)> {
        bounds(name, &schema::nullable(schema::instant_sent()))
    }
}

/// The same in seconds.
impl Member for SecondsRange {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.seconds(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(Schema::from(schema::of(Type::Number))).into()
    }

    fn members(name: &str) -> Vec<(String, RefOr<Schema>)> {
        bounds(name, &schema::nullable(Schema::from(schema::of(Type::Number))))
    }
}

/// `page_limit` and `page_offset`, whatever the field is called.
impl Member for Page {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, _: &str) -> Self {
        body.page()
    }

    fn schema() -> RefOr<Schema> {
        schema::integer(0, i64::MAX).into()
    }

    fn members(_: &str) -> Vec<(String, RefOr<Schema>)> {
        let count = |default: i64, most: i64| {
            let most = isize::try_from(most).unwrap_or(isize::MAX);
            let number = schema::of(Type::Integer).minimum(Some(0)).maximum(Some(most));
            schema::nullable(Schema::from(number.default(Some(default.into())))).into()
        };
        vec![("page_limit".to_owned(), count(LIMIT_MAX, i64::MAX)), ("page_offset".to_owned(), count(0, OFFSET_MAX))]
    }
}

/// A task that is not expanded has none: -1, null, or nothing.
impl Member for MapIndex {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, _: &str) -> Self {
        body.map_index()
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::integer(i32::MIN, i32::MAX)).into()
    }
}

/// Words of an enum. Airflow allows null among them, which is read as the word `none`.
#[derive(Debug, Clone)]
pub struct Words<T>(pub Vec<T>);

/// The words of a list; what is none is noted.
pub fn words_in<T: Word>(body: &mut Body, name: &str, listed: Vec<Value>) -> Vec<T> {
    let mut words = Vec::new();
    for word in listed {
        match word.as_str().map(str::parse::<T>) {
            Some(Ok(word)) => words.push(word),
            Some(Err(error)) => body.refuse(ApiError::MalformedText(error.to_string())),
            None => body.wrong(name, "enum", "Input should be a text", word),
        }
    }
    words
}

impl<T: Word> Member for Words<T> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        let named = |word: Value| if word.is_null() { Value::from("none") } else { word };
        let listed = body.list(name).into_iter().map(named).collect();
        Self(words_in(body, name, listed))
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::list(schema::nullable(schema::words(T::names())))).into()
    }
}

/// Any JSON, null when it is absent.
#[derive(Debug, Clone)]
pub struct AnyJson(pub Value);

impl Member for AnyJson {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
        }
        Self(body.take_or_null(name))
    }

    fn schema() -> RefOr<Schema> {
        schema::anything().into()
    }
}

/// A member whose absence means something else than null does: leave it as it is.
#[derive(Debug, Clone, Default)]
pub struct Sent<T>(pub Option<T>);

impl<T> Sent<T> {
    /// Whether it was sent, null or not.
    #[must_use]
    pub const fn was_sent(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: Member> Member for Sent<T> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        Self(body.has(name).then(|| T::read(body, name)))
    }

    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

/// A member that Airflow has and nothing here can mean: it is taken whatever it says.
pub struct Ignored;

impl Member for Ignored {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.take(name);
        Self
    }

    fn schema() -> RefOr<Schema> {
        schema::anything().into()
    }
}
