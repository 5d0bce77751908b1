//! Connections and variables of the environment, in the forms that Airflow takes: a URI or a JSON object.

use std::collections::BTreeMap;

use super::{Connection, Environment, uri};

/// Our own prefix comes before Airflow's.
const PREFIXES: [&str; 2] = ["WINDLASS", "AIRFLOW"];

/// What is defined somewhere: a connection or a variable; in the environment by a name with its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `…_CONN_<ID>`.
    Connection,
    /// `…_VAR_<KEY>`.
    Variable,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Connection => "CONN",
            Self::Variable => "VAR",
        }
    }
}

/// The ids of everything of a kind that environment variables of these names define, in lower case, with those names.
pub fn defined(kind: Kind, names: impl IntoIterator<Item = String>) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for name in names {
        let ids = PREFIXES.iter().filter_map(|prefix| name.strip_prefix(&format!("{prefix}_{}_", kind.word())));
        for id in ids.filter(|id| !id.is_empty()) {
            let id = id.to_lowercase();
            // Of two that define one, ours is in force.
            if name.starts_with(PREFIXES[0]) || !found.contains_key(&id) {
                found.insert(id, name.clone());
            }
        }
    }
    found
}

/// The name and value of the variable that defines something.
pub(super) fn find(environment: &Environment<'_>, kind: Kind, id: &str) -> Option<(String, String)> {
    PREFIXES.iter().find_map(|prefix| {
        let name = format!("{prefix}_{}_{}", kind.word(), id.to_uppercase());
        environment(&name).map(|value| (name, value))
    })
}

/// The connection that a variable's text describes.
pub(super) fn connection(conn_id: &str, text: &str) -> Result<Connection, String> {
    uri::parse(conn_id, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_prefix_comes_before_airflows() {
        let both = |name: &str| match name {
            "WINDLASS_VAR_A" => Some("ours".to_owned()),
            "AIRFLOW_VAR_A" | "AIRFLOW_VAR_B" => Some("theirs".to_owned()),
            _ => None,
        };
        assert_eq!(find(&both, Kind::Variable, "a").unwrap().1, "ours");
        assert_eq!(find(&both, Kind::Variable, "b").unwrap().0, "AIRFLOW_VAR_B");
        assert!(find(&both, Kind::Variable, "c").is_none());
    }

    #[test]
    fn what_the_environment_defines_is_listed_under_the_name_in_force() {
        let names =
            ["AIRFLOW_CONN_DB", "WINDLASS_CONN_DB", "AIRFLOW_VAR_X", "WINDLASS_CONN_", "HOME"].map(str::to_owned);
        let found = defined(Kind::Connection, names);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("db".to_owned(), "WINDLASS_CONN_DB".to_owned())]);
    }
}
