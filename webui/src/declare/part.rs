//! The parts of paths.

use model::MapIndex;
use utoipa::openapi::{
    Required,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::Schema,
};

use super::schema;
use crate::error::FieldError;

/// A part of a path that reads itself and says its schema.
pub trait Part: Sized {
    /// Reads it; none when it is malformed.
    fn parse(text: &str) -> Option<Self>;
    /// What the document says of it.
    fn schema() -> Schema;
}

impl Part for String {
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn schema() -> Schema {
        schema::text()
    }
}

macro_rules! whole_number {
    ($($ty:ty),*) => {
        $( impl Part for $ty {
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn schema() -> Schema {
                schema::integer(i64::from(<$ty>::MIN), i64::from(<$ty>::MAX))
            }
        } )*
    };
}
whole_number!(i16, i32, i64, u32);

impl Part for MapIndex {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn schema() -> Schema {
        schema::integer(i32::MIN, i32::MAX)
    }
}

/// Reads a part, or notes what is wrong with it.
pub fn read<T: Part>(text: &str, name: &str, errors: &mut Vec<FieldError>) -> Option<T> {
    let found = T::parse(text);
    if found.is_none() {
        errors.push(FieldError::path(name, text));
    }
    found
}

/// The declaration of a part.
pub fn in_path(name: &str, about: &str, schema: Schema) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description((!about.is_empty()).then_some(about))
        .schema(Some(schema))
        .build()
}
