//! Many changes in one request, as Airflow's clients import files: actions one after another, each with its own result. The
//! entities of an action are changed together: in one transaction, or by commands that the leader takes in one step.
//!
//! The answer is 200 even when an action was refused: its errors stand in the answer. An action that is told to fail when
//! something is in its way changes nothing at all.

use std::{collections::BTreeSet, fmt::Display};

use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{
        Ref, RefOr,
        schema::{AnyOfBuilder, OneOfBuilder, Schema},
    },
};

use super::{
    body::Body,
    declare::{answer, member, query_params, schema},
};
use crate::{
    app::App,
    auth::Principal,
    changes::{Change, Managed, Mask},
    error::{ApiError, ApiResult, FieldError},
};

/// More in one action is refused: the client waits for all of them.
const ENTITIES_MAX: usize = 1_000;

/// More actions in one request are refused: clients send one or a few, and each looks at what there is.
const ACTIONS_MAX: usize = 100;

query_params! {
    /// What a change is limited to.
    pub struct UpdateMask {
        /// The fields that are changed; without any, all that are sent.
        update_mask: Mask,
    }
}

/// What to do when one is there that should not be, or is not there that should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InTheWay {
    Fail,
    Skip,
    Overwrite,
}

enum Action<T: Managed> {
    Create(Vec<T::Wish>, InTheWay),
    Update(Vec<T::Wish>, InTheWay, Mask),
    Delete(BTreeSet<T::Id>, InTheWay),
}

/// Declares the body of a bulk request whose entities are those of another body: `bulk_body!(PoolBulkBody of PoolBody)`.
macro_rules! bulk_body {
    ($name:ident of $entity:ty) => {
        /// Actions, each on several entities, as [`crate::api::bulk::apply`] reads them.
        pub struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::api::bulk::actions_on::<$entity>()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
                let entity = <$entity as utoipa::ToSchema>::name().into_owned();
                schemas.push((entity, <$entity as utoipa::PartialSchema>::schema()));
                <$entity as utoipa::ToSchema>::schemas(schemas);
            }
        }
    };
}
pub(crate) use bulk_body;

/// The schema of a body of actions on entities that are each a `T`.
pub fn actions_on<T: ToSchema>() -> RefOr<Schema> {
    let entity = || RefOr::from(Ref::from_schema_name(T::name()));
    let action = |word: &str, entities: Schema, choice: (&str, &[&str])| {
        let mut object = member::closed_object();
        object.properties.insert("action".to_owned(), schema::words([word]).into());
        object.properties.insert("entities".to_owned(), entities.into());
        object.properties.insert(choice.0.to_owned(), schema::words(choice.1.iter().copied()).into());
        object.required.extend(["action", "entities"].map(str::to_owned));
        object
    };
    let named = AnyOfBuilder::new().item(schema::text()).item(entity());
    let mut update = action("update", schema::list(entity()), ("action_on_non_existence", ON_ABSENCE));
    update.properties.insert("update_mask".to_owned(), schema::nullable(schema::list(schema::text())).into());
    let actions = OneOfBuilder::new()
        .item(action("create", schema::list(entity()), ("action_on_existence", ON_EXISTENCE)))
        .item(update)
        .item(action("delete", schema::list(Schema::from(named)), ("action_on_non_existence", ON_ABSENCE)));
    let mut object = member::closed_object();
    object.properties.insert("actions".to_owned(), schema::list(Schema::from(actions)).into());
    object.required.push("actions".to_owned());
    object.into()
}

const ON_EXISTENCE: &[&str] = &["fail", "skip", "overwrite"];
const ON_ABSENCE: &[&str] = &["fail", "skip"];

answer! {
    /// What became of the actions, by their kind; null of a kind that was not asked for.
    #[derive(Default)]
    pub struct BulkResponse {
        create: Option<BulkActionResponse>,
        update: Option<BulkActionResponse>,
        delete: Option<BulkActionResponse>,
    }
}

answer! {
    /// What became of the actions of a kind.
    #[derive(Default)]
    pub struct BulkActionResponse {
        /// Whose turn was done.
        success: Vec<String>,
        errors: Vec<BulkError>,
    }
}

answer! {
    /// Why an action, or one entity of it, was refused.
    pub struct BulkError {
        error: String,
        status_code: u16,
    }
}

impl BulkActionResponse {
    fn failed(&mut self, error: &ApiError) {
        error.log();
        self.errors.push(BulkError { error: error.to_string(), status_code: error.status().as_u16() });
    }

    fn note(&mut self, id: &impl Display, done: ApiResult<()>) {
        match done {
            Ok(()) => self.success.push(id.to_string()),
            Err(error) => self.failed(&error),
        }
    }
}

/// Carries out a body of actions.
///
/// # Errors
/// [`ApiError::Malformed`] before anything is done.
pub async fn apply<T: Managed>(kind: &T, app: &App, who: &Principal, mut body: Body) -> ApiResult<BulkResponse> {
    if !body.has_value("actions") {
        body.missing("actions");
    }
    let listed = body.list("actions");
    if listed.len() > ACTIONS_MAX {
        let message = format!("List should have at most {ACTIONS_MAX} items");
        body.wrong("actions", "too_long", message, Value::from(listed.len()));
    }
    body.finish()?;
    let mut actions = Vec::new();
    for (at, action) in listed.into_iter().enumerate() {
        actions.push(read(kind, action).map_err(|error| placed(error, at))?);
    }
    let mut answer = BulkResponse::default();
    for action in actions {
        let of_kind = match action {
            Action::Create(..) => &mut answer.create,
            Action::Update(..) => &mut answer.update,
            Action::Delete(..) => &mut answer.delete,
        };
        let tally = of_kind.get_or_insert_default();
        if let Err(error) = carry_out(kind, app, who, action, tally).await {
            tally.failed(&error);
        }
    }
    Ok(answer)
}

fn read<T: Managed>(of: &T, action: Value) -> ApiResult<Action<T>> {
    let Value::Object(members) = action else {
        return Err(ApiError::Malformed(vec![FieldError::body(
            "action",
            "dict_type",
            "Input should be an object",
            action,
        )]));
    };
    let mut body = Body::of(members);
    let kind = body.required_text("action");
    if !body.has_value("entities") {
        body.missing("entities");
    }
    let entities = body.list("entities");
    let on_existence = in_the_way(&mut body, "action_on_existence", ON_EXISTENCE);
    let on_absence = in_the_way(&mut body, "action_on_non_existence", ON_ABSENCE);
    let mask = body.list("update_mask");
    if entities.len() > ENTITIES_MAX {
        let message = format!("List should have at most {ENTITIES_MAX} items");
        body.wrong("entities", "too_long", message, Value::from(entities.len()));
    }
    if !["create", "update", "delete"].contains(&kind.as_str()) {
        body.wrong("action", "enum", "Input should be 'create', 'update' or 'delete'", Value::from(kind.as_str()));
    }
    body.finish()?;
    Ok(match kind.as_str() {
        "create" => Action::Create(wishes(of, entities, &Mask::default())?, on_existence),
        "update" => {
            let mask = Mask::of(mask.iter().filter_map(Value::as_str));
            Action::Update(wishes(of, entities, &mask)?, on_absence, mask)
        }
        _ => Action::Delete(names(of, entities)?, on_absence),
    })
}

/// Those that are to be deleted. One that is malformed is not passed over: its sender would believe that it is gone.
fn names<T: Managed>(of: &T, entities: Vec<Value>) -> ApiResult<BTreeSet<T::Id>> {
    let one = |entity: Value| {
        of.named(&entity).ok_or_else(|| {
            let message = "Input should be a name, or an object that names one";
            ApiError::Malformed(vec![FieldError::body("entities", "value_error", message, entity)])
        })
    };
    entities.into_iter().map(one).collect()
}

fn in_the_way(body: &mut Body, name: &str, words: &[&str]) -> InTheWay {
    let text = body.text(name).unwrap_or_else(|| "fail".to_owned());
    match text.as_str() {
        "skip" => InTheWay::Skip,
        "overwrite" if words.contains(&"overwrite") => InTheWay::Overwrite,
        "fail" => InTheWay::Fail,
        other => {
            body.wrong(name, "enum", format!("Input should be one of {}", words.join(", ")), Value::from(other));
            InTheWay::Fail
        }
    }
}

fn wishes<T: Managed>(of: &T, entities: Vec<Value>, mask: &Mask) -> ApiResult<Vec<T::Wish>> {
    let one = |entity: Value| {
        let members: Map<String, Value> = match entity {
            Value::Object(members) => members,
            other => {
                let error = FieldError::body("entities", "dict_type", "Input should be an object", other);
                return Err(ApiError::Malformed(vec![error]));
            }
        };
        let mut body = Body::of(members);
        let wish = of.read(&mut body, mask);
        body.finish()?;
        Ok(wish)
    };
    entities.into_iter().map(one).collect()
}

/// The place of a mistake, with the action that it is in.
fn placed(error: ApiError, at: usize) -> ApiError {
    let ApiError::Malformed(mut errors) = error else { return error };
    for error in &mut errors {
        error.loc.splice(1..1, ["actions".to_owned(), at.to_string()]);
    }
    ApiError::Malformed(errors)
}

async fn carry_out<T: Managed>(
    kind: &T,
    app: &App,
    who: &Principal,
    action: Action<T>,
    tally: &mut BulkActionResponse,
) -> ApiResult<()> {
    match action {
        Action::Create(wishes, on_existence) => {
            let there = kind.known(app, ids(kind, &wishes)).await?;
            if on_existence == InTheWay::Fail && !there.is_empty() {
                return Err(ApiError::Conflict(format!("The {}: {} already exist.", T::SEVERAL, quoted(&there))));
            }
            let open = Mask::default();
            let change = |wish| match (there.contains(kind.id(wish)), on_existence) {
                (true, InTheWay::Skip) => None,
                (true, InTheWay::Overwrite | InTheWay::Fail) => Some(Change::Update(wish, &open)),
                (false, _) => Some(Change::Create(wish)),
            };
            let changes: Vec<Change<'_, T>> = wishes.iter().filter_map(change).collect();
            note_each(kind, app, who, &changes, tally).await?;
        }
        Action::Update(wishes, on_absence, mask) => {
            let known = known_or_refused(kind, app, ids(kind, &wishes), on_absence).await?;
            let meant = wishes.iter().filter(|wish| known.contains(kind.id(wish)));
            let changes: Vec<Change<'_, T>> = meant.map(|wish| Change::Update(wish, &mask)).collect();
            note_each(kind, app, who, &changes, tally).await?;
        }
        Action::Delete(wanted, on_absence) => {
            let known = known_or_refused(kind, app, wanted, on_absence).await?;
            let changes: Vec<Change<'_, T>> = known.iter().map(Change::Delete).collect();
            note_each(kind, app, who, &changes, tally).await?;
        }
    }
    Ok(())
}

/// Carries out changes together, and notes what came of each.
async fn note_each<T: Managed>(
    kind: &T,
    app: &App,
    who: &Principal,
    changes: &[Change<'_, T>],
    tally: &mut BulkActionResponse,
) -> ApiResult<()> {
    if changes.is_empty() {
        return Ok(());
    }
    for (change, done) in changes.iter().zip(kind.carry_out(app, who, changes).await?) {
        match change {
            Change::Create(wish) | Change::Update(wish, _) => tally.note(kind.id(wish), done),
            Change::Delete(id) => tally.note(*id, done),
        }
    }
    Ok(())
}

fn ids<T: Managed>(kind: &T, wishes: &[T::Wish]) -> BTreeSet<T::Id> {
    wishes.iter().map(|wish| kind.id(wish).clone()).collect()
}

/// Those that there are; refused when one is missing that should be there.
async fn known_or_refused<T: Managed>(
    kind: &T,
    app: &App,
    wanted: BTreeSet<T::Id>,
    on_absence: InTheWay,
) -> ApiResult<BTreeSet<T::Id>> {
    let known = kind.known(app, wanted.clone()).await?;
    let missing: BTreeSet<T::Id> = wanted.difference(&known).cloned().collect();
    if on_absence == InTheWay::Fail && !missing.is_empty() {
        return Err(ApiError::NotFound(format!("The {}: {} were not found.", T::SEVERAL, quoted(&missing))));
    }
    Ok(known)
}

/// Names as Airflow prints a set of them.
fn quoted(names: &BTreeSet<impl Display>) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("{{{}}}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printed_as_a_set() {
        assert_eq!(quoted(&BTreeSet::from(["b", "a"])), "{'a', 'b'}");
    }
}
