//! What people change, whichever door they come by: pages and the REST API send the same wishes, which are checked here, by
//! one code, and carried out as commands to the leader or in the store.

pub mod assets;
pub mod backfills;
pub mod bundles;
pub mod clear;
pub mod commands;
pub mod connections;
pub mod pools;
pub mod quarantine;
pub mod questions;
pub mod runs;
pub mod variables;
pub mod webhooks;

use std::{collections::BTreeSet, fmt::Display};

use serde_json::Value;

use crate::{app::App, auth::Principal, error::ApiResult, http::body::Body};

/// A kind of thing that clients manage, or those of it that a path leaves.
pub trait Managed: Sized {
    /// How one of them is named.
    type Id: Ord + Clone + Display + Send + Sync;
    /// What a client wants one to be, checked.
    type Wish: Send + Sync;
    /// Airflow's words for several of them in errors: `connections with these connection_ids`.
    const SEVERAL: &'static str;

    /// Reads a wish out of a body; what is wrong is noted there, of the fields that the mask means.
    fn read(&self, body: &mut Body, mask: &Mask) -> Self::Wish;
    /// Whose wish it is.
    fn id<'w>(&self, wish: &'w Self::Wish) -> &'w Self::Id;
    /// What an entity that is to be deleted names; none when it is malformed.
    fn named(&self, entity: &Value) -> Option<Self::Id>;
    /// Those of them that there are.
    async fn known(&self, app: &App, of: BTreeSet<Self::Id>) -> ApiResult<BTreeSet<Self::Id>>;
    /// Carries out changes together, in one transaction or in one step with the leader: what came of each, in their order.
    ///
    /// # Errors
    /// What makes all of them impossible: none is carried out then.
    async fn carry_out(
        &self,
        app: &App,
        who: &Principal,
        changes: &[Change<'_, Self>],
    ) -> ApiResult<Vec<ApiResult<()>>>;

    /// Changes one: the fields of the mask that were sent, or all that were sent.
    async fn update(&self, app: &App, who: &Principal, wish: &Self::Wish, mask: &Mask) -> ApiResult<()> {
        only(self.carry_out(app, who, &[Change::Update(wish, mask)]).await?)
    }

    /// Deletes one.
    async fn delete(&self, app: &App, who: &Principal, id: &Self::Id) -> ApiResult<()> {
        only(self.carry_out(app, who, &[Change::Delete(id)]).await?)
    }

    /// Creates the one that a body describes.
    async fn create_from(&self, app: &App, who: &Principal, mut body: Body) -> ApiResult<Self::Id> {
        let wish = self.read(&mut body, &Mask::default());
        body.finish()?;
        only(self.carry_out(app, who, &[Change::Create(&wish)]).await?)?;
        Ok(self.id(&wish).clone())
    }

    /// Changes the one that a body describes.
    async fn update_from(&self, app: &App, who: &Principal, mut body: Body, mask: &Mask) -> ApiResult<()> {
        let wish = self.read(&mut body, mask);
        body.finish()?;
        self.update(app, who, &wish, mask).await
    }
}

/// A change of one thing.
pub enum Change<'w, T: Managed> {
    /// It is made.
    Create(&'w T::Wish),
    /// The fields of the mask that were sent are changed, or all that were sent.
    Update(&'w T::Wish, &'w Mask),
    /// It is deleted.
    Delete(&'w T::Id),
}

/// The result of a single change.
fn only(results: Vec<ApiResult<()>>) -> ApiResult<()> {
    results.into_iter().collect()
}

/// Keeps an error of one change among the results: the transaction goes on without it.
///
/// # Errors
/// The error, when it concerns all of them.
pub fn of_one<T>(done: ApiResult<T>) -> ApiResult<ApiResult<T>> {
    match done {
        Err(error) if error.status().is_server_error() => Err(error),
        done => Ok(done),
    }
}

/// The name in an entity that is to be deleted: a text, or an object that has it in this member.
#[must_use]
pub fn name_in(entity: &Value, member: &str) -> Option<String> {
    entity.as_str().or_else(|| entity.get(member)?.as_str()).map(str::to_owned)
}

/// Which fields an update is limited to.
#[derive(Debug, Clone, Default)]
pub struct Mask(Option<BTreeSet<String>>);

impl Mask {
    /// Of `update_mask`; without any, every field that was sent is meant.
    pub fn of<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let fields: BTreeSet<String> =
            fields.flat_map(|text| text.split(',')).map(|field| field.trim().to_owned()).collect();
        Self((!fields.is_empty()).then_some(fields))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a field is meant.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.0.as_ref().is_none_or(|fields| fields.contains(field))
    }

    /// The fields by name, if it names any.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_may_be_repeated_or_separated_by_commas() {
        let mask = Mask::of(["slots", "description, include_deferred"].into_iter());
        assert!(mask.has("slots") && mask.has("include_deferred") && !mask.has("pool"));
        assert!(Mask::of(std::iter::empty()).has("anything"));
    }
}
