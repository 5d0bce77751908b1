//! The names of settings, and those that are none although they look like one: a mistyped name would count as one that is not set.

/// Every setting, a line each.
const KNOWN: &str = include_str!("../../../.env.example");
/// Settings that are no lines of that file: they are for people's connections and variables, and for tests.
const FREE_PREFIXES: [&str; 4] = ["WINDLASS_CONN_", "WINDLASS_VAR_", "WINDLASS_TEST_", "WINDLASS_E2E_"];
/// A name that is so much like a known one is meant to be it, as a rule.
const ALIKE: f64 = 0.8;

/// A variable of the environment that looks like a setting, and that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name.
    pub name: String,
    /// The setting that its name is most like.
    pub nearest: &'static str,
    /// Whether it is so much like that one that it is mistyped.
    pub is_mistyped: bool,
}

/// Those among some names.
pub fn unread(names: impl Iterator<Item = String>) -> impl Iterator<Item = Unread> {
    names.filter(|name| is_unknown(name)).map(|name| {
        let alike = |known: &str| strsim::normalized_damerau_levenshtein(&name, known);
        let nearest = settings().max_by(|a, b| alike(a).total_cmp(&alike(b))).unwrap_or("another");
        let is_mistyped = alike(nearest) >= ALIKE;
        Unread { name, nearest, is_mistyped }
    })
}

/// The names of this process's environment.
pub fn of_environment() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn settings() -> impl Iterator<Item = &'static str> {
    let names = KNOWN.lines().filter_map(|line| line.trim_start_matches('#').split_once('=')).map(|(name, _)| name);
    names.filter(|name| name.starts_with("WINDLASS_"))
}

fn is_unknown(name: &str) -> bool {
    name.starts_with("WINDLASS_")
        && !FREE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !settings().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_setting_is_told_from_one_of_somebody_else() {
        let names = ["WINDLASS_TRUSTED_PROXY", "WINDLASS_PORT", "WINDLASS_CONN_DB", "WINDLASS_TEAM_COLOUR", "PATH"];
        let found: Vec<Unread> = unread(names.map(str::to_owned).into_iter()).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].nearest, found[0].is_mistyped), ("WINDLASS_TRUSTED_PROXIES", true));
        assert!(!found[1].is_mistyped, "{:?}", found[1]);
    }
}
