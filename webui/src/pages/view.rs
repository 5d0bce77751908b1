//! What is printed: every template has one struct that it prints, its view, and nothing is printed in another way.
//!
//! What always holds here: the list below names every view with the folder of its templates, and a view says its shape
//! ([`JsonSchema`]). Tests hold each template against the shape of its view, and print it from every form of it, so that a
//! field that a template names and its view lacks is found before a user finds it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    approvals, asset, asset_list, audit, backfill, bundles, clear, connections, dag, dags, docs, error, forecast,
    forms, import_errors, login, notifications, pools, preferences, roles, run, runs, search, services, task, tokens,
    trigger, users, variables,
};

/// What a page prints.
pub trait Page: Serialize + JsonSchema + listed::Listed {
    /// The folder of its templates, which holds `page.html`, and `live.html` when the script fetches a part of it again.
    const FOLDER: &'static str;
    /// Which of these there are.
    const PARTS: Parts;
}

/// The templates of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The page alone.
    Whole,
    /// The page, and the part of it that changes.
    WithLive,
}

/// Which part of a page is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Page,
    /// What changes.
    Live,
}

impl Part {
    /// The template of this part of a page. A page without a part that changes is printed whole.
    pub fn template<P: Page>(self) -> String {
        match (self, P::PARTS) {
            (Self::Live, Parts::WithLive) => format!("{}/live.html", P::FOLDER),
            (Self::Live, Parts::Whole) | (Self::Page, _) => format!("{}/page.html", P::FOLDER),
        }
    }
}

mod listed {
    /// Is had by what stands in the list below, and can be had by nothing else: tests walk that list.
    pub trait Listed {}
}

macro_rules! views {
    ($($view:ty: $folder:literal $parts:ident),* $(,)?) => {
        $(
            impl listed::Listed for $view {}

            impl Page for $view {
                const FOLDER: &'static str = $folder;
                const PARTS: Parts = Parts::$parts;
            }
        )*

        /// Every view: its folder, what there is in it, and the shape of the view.
        #[cfg(test)]
        pub(super) fn all() -> Vec<(&'static str, Parts, schemars::Schema)> {
            let shape = || schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
            vec![$(($folder, Parts::$parts, shape().into_root_schema_for::<$view>())),*]
        }
    };
}

views! {
    approvals::View: "approvals" WithLive,
    asset::View: "asset" WithLive,
    asset_list::View: "assets" WithLive,
    audit::View: "audit" WithLive,
    backfill::View: "backfill" WithLive,
    bundles::View: "bundles" WithLive,
    clear::View: "clear" WithLive,
    connections::View: "connections" WithLive,
    dag::View: "dag" WithLive,
    dags::View: "dags" WithLive,
    docs::View: "docs" Whole,
    forms::DeletePage: "delete" Whole,
    error::View: "error" Whole,
    forecast::View: "forecast" Whole,
    forms::FormPage: "form" Whole,
    import_errors::View: "import_errors" WithLive,
    login::View<'_>: "login" Whole,
    login::LogoutView: "logout" Whole,
    notifications::View: "notifications" WithLive,
    pools::View: "pools" WithLive,
    preferences::View: "preferences" WithLive,
    roles::View: "roles" WithLive,
    run::View: "run" WithLive,
    runs::View: "runs" WithLive,
    search::View: "search" WithLive,
    services::View: "services" WithLive,
    task::View: "task" WithLive,
    tokens::View: "tokens" WithLive,
    trigger::View: "trigger" WithLive,
    users::View: "users" WithLive,
    variables::View: "variables" WithLive,
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
