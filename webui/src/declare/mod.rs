//! One declaration per operation. From it come the route, the right that the guard asks for, what is read from path, query
//! and body, the OpenAPI document, and what tests compare and validate.
//!
//! A resource is declared so:
//!
//! ```ignore
//! path_params! {
//!     pub struct PoolPath { pool_name: String }
//! }
//! query_params! {
//!     pub struct PoolFilter { page: Page, order_by: OrderBy<PoolKey>, pool_name_pattern: Pattern }
//! }
//! body! {
//!     pub struct PoolBody { name: String, description: Option<String>, include_deferred: Flag<false> }
//! }
//! answer! {
//!     pub struct PoolResponse { name: String, description: Option<String> }
//! }
//!
//! /// Get Pools
//! #[utoipa::path(
//!     get, path = "/api/v2/pools", operation_id = "get_pools", tag = "Pool",
//!     params(PoolFilter),
//!     responses((status = 200, description = "Successful Response", body = PoolCollectionResponse), Errors<404>),
//!     security(("token" = [Right::Read]))
//! )]
//! pub async fn list(State(app): State<App>, filter: PoolFilter) -> ApiResult<Json<PoolCollectionResponse>> { … }
//!
//! pub fn routes() -> OpenApiRouter<App> {
//!     OpenApiRouter::new().routes(routes!(list, create, bulk)).routes(routes!(one, patch, delete))
//! }
//! ```
//!
//! A rule that an operation has beside the type of a field is declared after `=>`: `name: String => schema::text_of(1, 256)`.
//!
//! What always holds: a parameter that is declared is read by [`Param`], [`Part`] or [`Member`], which also say its schema,
//! so that the document can not promise what nobody reads. All mistakes of a path, of a query or of a body are answered
//! together. An operation that names no right is closed for everybody; `security(())` opens it.

pub mod errors;
pub mod member;
pub mod param;
pub mod part;
pub mod schema;
pub mod words;

pub use errors::Errors;
pub use member::{AnyJson, Ignored, Member, Sent, Words};
pub use param::{Flag, Never, NeverDated, OrderBy, OrderKey, Param, PositiveSeconds, Prefix, Word};
pub use schema::At;

/// What doc comments say, as one text.
pub fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The name of a field on the wire, which is its own name unless another one is given.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}
pub(crate) use wire_name;

/// The parameters of a query: a struct that reads itself from a request and declares itself. Fields are [`Param`]s, as such a
/// struct itself is; one whose name on the wire is no name in Rust is written `field: Type = "name"`.
macro_rules! query_params {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[doc = $doc:literal])* $field:ident : $ty:ty $(= $wire:literal)? $(=> $narrow:expr)? ),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $doc])* $vis $field: $ty, )*
        }

        impl $name {
            /// Takes the parameters out of a query.
            ///
            /// # Errors
            /// Everything that is wrong with them.
            $vis fn read(
                query: &mut $crate::http::query::Query,
            ) -> $crate::error::ApiResult<Self> {
                let read = <Self as $crate::declare::Param>::read(query, "");
                query.finish()?;
                Ok(read)
            }
        }

        impl<S: Send + Sync> axum::extract::FromRequestParts<S> for $name {
            type Rejection = $crate::error::ApiError;

            async fn from_request_parts(
                parts: &mut axum::http::request::Parts,
                state: &S,
            ) -> Result<Self, Self::Rejection> {
                let Ok(query) = $crate::http::query::Query::from_request_parts(parts, state).await;
                Self::read(&mut query.exact())
            }
        }

        /// As a part of another query.
        impl $crate::declare::Param for $name {
            fn read(query: &mut $crate::http::query::Query, _: &str) -> Self {
                use $crate::declare::{Param, wire_name};
                Self { $( $field: <$ty as Param>::read(query, wire_name!($field $($wire)?)), )* }
            }

            fn declare(_: &str) -> Vec<$crate::declare::param::Declared> {
                use $crate::declare::{Param, param, prose, wire_name};
                let mut all = Vec::new();
                $(
                    let declared = <$ty as Param>::declare(wire_name!($field $($wire)?));
                    $( let declared = declared.into_iter().map(|one| one.narrowed($narrow)).collect(); )?
                    all.extend(param::about(declared, &prose(&[$($doc),*])));
                )*
                all
            }
        }

        impl utoipa::IntoParams for $name {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                use $crate::declare::{Param, param};
                param::in_query(<Self as Param>::declare("")).collect()
            }
        }
    };
}
pub(crate) use query_params;

/// The parts of a path: a struct of [`Part`]s that reads itself from a request and declares itself.
macro_rules! path_params {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[doc = $doc:literal])* $field:ident : $ty:ty $(= $wire:literal)? $(=> $narrow:expr)? ),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $doc])* $vis $field: $ty, )*
        }

        impl<S: Send + Sync> axum::extract::FromRequestParts<S> for $name {
            type Rejection = $crate::error::ApiError;

            async fn from_request_parts(
                parts: &mut axum::http::request::Parts,
                state: &S,
            ) -> Result<Self, Self::Rejection> {
                use $crate::declare::wire_name;
                let names = $crate::http::path::Names::from_request_parts(parts, state).await?;
                let mut errors = Vec::new();
                $( let $field = $crate::declare::part::read::<$ty>(
                    names.text(wire_name!($field $($wire)?)), wire_name!($field $($wire)?), &mut errors,
                ); )*
                match ($($field,)*) {
                    ($(Some($field),)*) => Ok(Self { $($field),* }),
                    _ => Err($crate::error::ApiError::Malformed(errors)),
                }
            }
        }

        impl utoipa::IntoParams for $name {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                use $crate::declare::{part, prose, wire_name};
                vec![$( {
                    let schema = <$ty as part::Part>::schema();
                    $( drop(schema); let schema = $narrow; )?
                    part::in_path(wire_name!($field $($wire)?), &prose(&[$($doc),*]), schema)
                } ),*]
            }
        }
    };
}
pub(crate) use path_params;

/// A JSON object that clients send: a struct of [`Member`]s that reads itself from a request and declares itself. Members
/// that are not among them are refused.
macro_rules! body {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[doc = $doc:literal])* $field:ident : $ty:ty $(= $wire:literal)? $(=> $narrow:expr)? ),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $doc])* $vis $field: $ty, )*
        }

        impl $name {
            /// Takes the members out of an object; what is wrong is noted there.
            $vis fn read(body: &mut $crate::http::body::Body) -> Self {
                use $crate::declare::{Member, wire_name};
                Self { $( $field: <$ty as Member>::read(body, wire_name!($field $($wire)?)), )* }
            }
        }

        impl<S: Send + Sync> axum::extract::FromRequest<S> for $name {
            type Rejection = $crate::error::ApiError;

            async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Self::Rejection> {
                let mut body = $crate::http::body::Body::from_request(request, state).await?;
                let read = Self::read(&mut body);
                body.finish()?;
                Ok(read)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use $crate::declare::{Member, member, prose, wire_name};
                let mut object = member::closed_object();
                $(
                    let members = <$ty as Member>::members(wire_name!($field $($wire)?));
                    $( let members = member::narrowed(members, &$narrow); )?
                    object = member::with(object, members, &prose(&[$($doc),*]), <$ty as Member>::REQUIRED);
                )*
                object.into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}
pub(crate) use body;

/// A JSON object that is answered. All of its members are written, null where there is nothing, and so all are declared as
/// required: clients made from the document need not ask whether a member is there.
macro_rules! answer {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
        $vis struct $name {
            $( $(#[$field_meta])* #[schema(required)] $vis $field: $ty, )*
        }
    };
}
pub(crate) use answer;
