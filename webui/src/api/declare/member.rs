//! The members of bodies.

use model::door::{Conf, Instant, Note};
use serde_json::{Map, Value};
use utoipa::openapi::{
    RefOr,
    schema::{AdditionalProperties, AllOfBuilder, Object, ObjectBuilder, Schema, Type},
};

use super::{param::Flag, schema};
use crate::api::body::Body;

/// A member that reads itself and says its schema.
pub trait Member: Sized {
    /// Whether it has to be there.
    const REQUIRED: bool;
    /// Reads it by its name; what is wrong is noted in the body.
    fn read(body: &mut Body, name: &str) -> Self;
    /// What the document says of it.
    fn schema() -> RefOr<Schema>;
}

/// An object that has no other members than those that are added.
pub fn closed_object() -> Object {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).build()
}

/// The same with one more member.
pub fn with<T: Member>(mut object: Object, name: &str, about: &str, required: bool) -> Object {
    object.properties.insert(name.to_owned(), described(T::schema(), about));
    if required {
        object.required.push(name.to_owned());
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
        schema::integer().into()
    }
}

impl Member for Option<i64> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.integer(name)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::integer()).into()
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
        Schema::from(Self::schema()).into()
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
        schema::nullable(schema::instant()).into()
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
        schema::nullable(<Map<String, Value>>::schema()).into()
    }
}

impl Member for Map<String, Value> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        body.object(name)
    }

    fn schema() -> RefOr<Schema> {
        let open = AdditionalProperties::<Schema>::FreeForm(true);
        Schema::from(schema::of(Type::Object).additional_properties(Some(open))).into()
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
