//! Which DAGs the list shows. Addresses hold the whole choice.

use model::DagRunState;
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{DagCounts, DagFilter, Marked, OFFSET_MAX};

use super::ROWS_MAX;
use crate::{auth::Principal, http::query::Query};

/// A state to show, with how many DAGs are in it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Chip {
    word: &'static str,
    count: i64,
    url: String,
    chosen: bool,
}

/// A tag or an owner to narrow the list to; the chosen one leads back to all.
#[derive(Serialize, JsonSchema)]
pub(super) struct Choice {
    name: String,
    url: String,
    chosen: bool,
}

/// By the state of a DAG's newest run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByState {
    All,
    Running,
    Failed,
    Waiting,
    Paused,
}

impl ByState {
    const EACH: [Self; 5] = [Self::All, Self::Running, Self::Failed, Self::Waiting, Self::Paused];

    const fn word(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Running => "Running",
            Self::Failed => "Failed",
            Self::Waiting => "Waiting",
            Self::Paused => "Paused",
        }
    }

    /// Narrows a filter to this state.
    pub(super) fn of(self, filter: DagFilter) -> DagFilter {
        match self.run() {
            Some(state) => DagFilter { last_states: vec![state], ..filter },
            None if self == Self::Paused => DagFilter { paused: Some(true), ..filter },
            None => filter,
        }
    }

    /// The state of the newest run that it stands for.
    const fn run(self) -> Option<DagRunState> {
        match self {
            Self::Running => Some(DagRunState::Running),
            Self::Failed => Some(DagRunState::Failed),
            Self::Waiting => Some(DagRunState::Queued),
            Self::All | Self::Paused => None,
        }
    }

    fn count(self, counts: &DagCounts) -> i64 {
        match self.run() {
            Some(state) => counts.by_state.get(&state).copied().unwrap_or(0),
            None if self == Self::Paused => counts.paused,
            None => counts.all,
        }
    }
}

/// What the address asks for.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) search: String,
    pub(super) tag: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) state: ByState,
    /// Only those that who asks has marked.
    pub(super) favorites: bool,
    pub(super) page: i64,
}

impl Wanted {
    pub(super) fn of(query: &Query) -> Self {
        let state = query.text("state").unwrap_or_default();
        Self {
            search: query.text("q").unwrap_or_default().trim().to_owned(),
            tag: query.text("tag").map(str::to_owned),
            owner: query.text("owner").map(str::to_owned),
            state: ByState::EACH.into_iter().find(|one| one.word() == state).unwrap_or(ByState::All),
            favorites: query.text("favorites").is_some(),
            page: query.text("page").and_then(|text| text.parse().ok()).unwrap_or(0).clamp(0, OFFSET_MAX / ROWS_MAX),
        }
    }

    /// Search, tag, owner and mark among the DAGs that who asks may see; the state is counted apart.
    pub(super) fn filter(&self, who: &Principal) -> DagFilter {
        DagFilter {
            visible: who.visible(),
            marked: self.favorites.then(|| Marked { by: who.name.clone(), is_marked: true }),
            text: Some(self.search.clone()).filter(|text| !text.is_empty()),
            tags: self.tag.clone().into_iter().collect(),
            owners: self.owner.clone().into_iter().collect(),
            without_stale: true,
            ..DagFilter::default()
        }
    }

    pub(super) fn chips(&self, counts: &DagCounts) -> Vec<Chip> {
        let chip = |one: ByState| Chip {
            word: one.word(),
            count: one.count(counts),
            url: self.url(one, self.tag.as_deref(), self.owner.as_deref(), 0),
            chosen: one == self.state,
        };
        ByState::EACH.into_iter().map(chip).collect()
    }

    pub(super) fn tags(&self, all: &[String]) -> Vec<Choice> {
        all.iter().map(|name| self.tag_choice(name)).collect()
    }

    pub(super) fn tag_choice(&self, name: &str) -> Choice {
        let chosen = self.tag.as_deref() == Some(name);
        let tag = if chosen { None } else { Some(name) };
        Choice { name: name.to_owned(), url: self.url(self.state, tag, self.owner.as_deref(), 0), chosen }
    }

    pub(super) fn owners(&self, all: &[String]) -> Vec<Choice> {
        let choice = |name: &String| {
            let chosen = self.owner.as_ref() == Some(name);
            let owner = if chosen { None } else { Some(name.as_str()) };
            Choice { name: name.clone(), url: self.url(self.state, self.tag.as_deref(), owner, 0), chosen }
        };
        all.iter().map(choice).collect()
    }

    /// The address of the list with favorites only, or with all again.
    pub(super) fn favorites_url(&self) -> String {
        let other = Self { favorites: !self.favorites, page: 0, ..self.clone() };
        other.at_page(0)
    }

    /// The address of another page of the same choice.
    pub(super) fn at_page(&self, page: i64) -> String {
        self.url(self.state, self.tag.as_deref(), self.owner.as_deref(), page)
    }

    /// What the field for searching keeps beside its text.
    pub(super) fn hidden(&self) -> Vec<(&'static str, String)> {
        let state = (self.state != ByState::All).then(|| self.state.word().to_owned());
        let favorites = self.favorites.then(|| "1".to_owned());
        let all =
            [("state", state), ("favorites", favorites), ("tag", self.tag.clone()), ("owner", self.owner.clone())];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn url(&self, state: ByState, tag: Option<&str>, owner: Option<&str>, page: i64) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if state != ByState::All {
            query.append_pair("state", state.word());
        }
        if self.favorites {
            query.append_pair("favorites", "1");
        }
        query.extend_pairs(tag.map(|tag| ("tag", tag)));
        query.extend_pairs(owner.map(|owner| ("owner", owner)));
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if page > 0 {
            query.append_pair("page", &page.to_string());
        }
        match query.finish() {
            query if query.is_empty() => "/dags".to_owned(),
            query => format!("/dags?{query}"),
        }
    }
}
