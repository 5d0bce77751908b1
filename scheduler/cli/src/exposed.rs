//! The settings that the web server may tell, as `.env.example` lists them: what the environment says, or the default.
//!
//! Only what stands there is told: connections and variables of the environment are not.

use std::sync::Arc;

use anyhow::bail;
use webui::Setting;

use crate::settings::text;

/// Every setting with its default, one a line.
const KNOWN: &str = include_str!("../../../.env.example");
/// The switch, with Airflow's values. Secrets are hidden with both that allow it.
const SWITCH: &str = "WINDLASS_EXPOSE_CONFIG";

/// What may be told; none unless the environment allows it.
///
/// # Errors
/// When the switch has another value than those.
pub fn settings() -> anyhow::Result<Option<Arc<[Setting]>>> {
    match text(SWITCH).as_deref().map(str::trim) {
        None | Some("false") => Ok(None),
        Some("true" | "non-sensitive-only") => Ok(Some(known(text).collect())),
        Some(other) => bail!("{SWITCH} is {other:?}; expected true, non-sensitive-only or false"),
    }
}

fn known(given: impl Fn(&str) -> Option<String>) -> impl Iterator<Item = Setting> {
    let is_name =
        |name: &str| name.chars().all(|sign| sign.is_ascii_uppercase() || sign == '_' || sign.is_ascii_digit());
    let pairs = KNOWN.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    pairs.filter(move |(name, _)| is_name(name)).filter_map(move |(name, default)| {
        let (section, option) = name.split_once('_')?;
        let value = given(name).unwrap_or_else(|| default.to_owned());
        Some(Setting { section: section.to_ascii_lowercase(), option: option.to_ascii_lowercase(), value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_the_value_of_the_environment_or_its_default() {
        let given = |name: &str| (name == "WINDLASS_WORKER_SLOTS").then(|| "3".to_owned());
        let all: Vec<Setting> = known(given).collect();
        let value = |section: &str, option: &str| {
            let found = all.iter().find(|one| one.section == section && one.option == option);
            found.map(|one| one.value.as_str())
        };
        assert_eq!(value("windlass", "worker_slots"), Some("3"));
        assert_eq!(value("windlass", "port"), Some("8083"));
        assert_eq!(value("database", "url"), Some(""));
        assert_eq!(value("windlass", "expose_config"), Some("false"));
    }
}
