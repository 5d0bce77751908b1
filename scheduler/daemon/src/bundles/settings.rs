//! `WINDLASS_DAG_BUNDLES`, written as Airflow's `dag_bundle_config_list`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use model::BundleName;
use serde::Deserialize;
use serde_json::{Value, json};

/// How often a bundle is polled unless it says otherwise, as in Airflow.
const REFRESH_SECS: u64 = 300;
/// The shortest interval: a poll is a connection to somebody else's server.
const REFRESH_SECS_MIN: u64 = 5;
/// The longest: a day.
const REFRESH_SECS_MAX: u64 = 86_400;
/// As many bundles as the store takes.
const BUNDLES_MAX: usize = store::bundles::BUNDLES_MAX as usize;

/// The bundles that the leader fetches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Those in git repositories.
    pub git: Vec<GitBundle>,
}

/// A bundle in a git repository. Nothing in it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitBundle {
    /// Its name.
    pub name: BundleName,
    /// Where the repository is; the connection says it when this does not.
    pub repo_url: Option<String>,
    /// A branch, a tag or a commit.
    pub tracking_ref: String,
    /// The folder of the repository that is the bundle's root.
    pub subdir: Option<String>,
    /// How often it is polled.
    pub refresh_interval: Duration,
    /// The connection that lets the leader in.
    pub conn_id: Option<String>,
    /// A file with a token that does, instead.
    pub token_file: Option<PathBuf>,
    /// The page that shows a revision, with `{version}` and `{subdir}` in it.
    pub view_url_template: Option<String>,
    /// The connection whose password is the secret of webhooks; without it there are none.
    pub webhook_conn_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    classpath: String,
    kwargs: Kwargs,
}

/// Airflow's arguments of `GitDagBundle`, and two of our own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kwargs {
    tracking_ref: String,
    repo_url: Option<String>,
    subdir: Option<String>,
    refresh_interval: Option<u64>,
    git_conn_id: Option<String>,
    token_file: Option<PathBuf>,
    view_url_template: Option<String>,
    webhook_conn_id: Option<String>,
    #[serde(default)]
    submodules: bool,
    /// There is nothing to prune: a revision has no `.git`.
    #[serde(default, rename = "prune_dotgit_folder")]
    _prune: Option<bool>,
}

impl Settings {
    /// Reads the list.
    ///
    /// # Errors
    /// What is wrong with which bundle, and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries: Vec<Value> = serde_json::from_str(text).map_err(|error| {
            format!(
                "expected a JSON list as of Airflow's dag_bundle_config_list, such as [{{\"name\": \"team\", \"classpath\": \
                 \"airflow.providers.git.bundles.git.GitDagBundle\", \"kwargs\": {{\"repo_url\": \"https://…\", \
                 \"tracking_ref\": \"main\"}}}}]: {error}"
            )
        })?;
        if entries.len() > BUNDLES_MAX {
            return Err(format!("{} bundles; at most {BUNDLES_MAX} are taken", entries.len()));
        }
        let mut names = BTreeSet::new();
        let mut git = Vec::new();
        for (number, entry) in (1..).zip(entries) {
            let place = match entry.get("name").and_then(Value::as_str) {
                Some(name) => format!("bundle {name}"),
                None => format!("bundle {number} of the list"),
            };
            let bundle = read(entry).map_err(|why| format!("{place}: {why}"))?;
            if !names.insert(bundle.name.clone()) {
                return Err(format!("{place} stands there twice"));
            }
            git.push(bundle);
        }
        Ok(Self { git })
    }
}

fn read(entry: Value) -> Result<GitBundle, String> {
    let class = entry.get("classpath").and_then(Value::as_str).unwrap_or_default();
    if class.rsplit('.').next() == Some("LocalDagBundle") {
        return Err("a folder of this machine is set by WINDLASS_DAGS_FOLDER, and is the bundle dags-folder".to_owned());
    }
    let Entry { name, classpath, kwargs } = serde_json::from_value(entry).map_err(|error| error.to_string())?;
    if classpath.rsplit('.').next() != Some("GitDagBundle") {
        return Err(format!(
            "classpath is {classpath:?}; expected airflow.providers.git.bundles.git.GitDagBundle, the only kind that is fetched"
        ));
    }
    let name = BundleName::new(name).map_err(|error| error.to_string())?;
    if name.is_folder() {
        return Err("this is the name of the DAG folder; give it another one".to_owned());
    }
    if kwargs.submodules {
        return Err(
            "submodules are not fetched; leave submodules out, and put what DAGs need into the repository".to_owned()
        );
    }
    if kwargs.git_conn_id.is_some() && kwargs.token_file.is_some() {
        return Err("git_conn_id and token_file are both set; use one of them".to_owned());
    }
    if kwargs.repo_url.is_none() && kwargs.git_conn_id.is_none() {
        return Err("expected repo_url, or git_conn_id with the repository as the connection's host".to_owned());
    }
    if let Some(url) = &kwargs.repo_url {
        check_url(url)?;
    }
    if let Some(template) = &kwargs.view_url_template
        && !(template.starts_with("https://") || template.starts_with("http://"))
    {
        return Err(format!("view_url_template is {template:?}; expected an address of the web"));
    }
    Ok(GitBundle {
        name,
        tracking_ref: checked_ref(kwargs.tracking_ref)?,
        subdir: kwargs.subdir.map(|subdir| checked_subdir(&subdir)).transpose()?.filter(|subdir| !subdir.is_empty()),
        refresh_interval: interval(kwargs.refresh_interval.unwrap_or(REFRESH_SECS))?,
        conn_id: kwargs.git_conn_id,
        token_file: kwargs.token_file,
        view_url_template: kwargs.view_url_template,
        webhook_conn_id: kwargs.webhook_conn_id,
        repo_url: kwargs.repo_url,
    })
}

/// Refuses what is no address of a repository, and one that holds a password: addresses are shown.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    const SCHEMES: [&str; 4] = ["https://", "http://", "ssh://", "file://"];
    let scheme = SCHEMES.into_iter().find(|scheme| url.starts_with(scheme));
    // `git@host:path`, as ssh has it.
    let is_scp = || {
        let (host, path) = url.split_once(':').unwrap_or_default();
        !host.is_empty()
            && !host.contains('/')
            && !host.starts_with('-')
            && !path.is_empty()
            && !path.starts_with("//")
            && !url.contains("::")
    };
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) || !(scheme.is_some() || is_scp()) {
        return Err(
            "repo_url is no address of a repository; expected https://…, ssh://…, git@host:path or file://…".to_owned()
        );
    }
    let authority = scheme.and_then(|scheme| url[scheme.len()..].split('/').next()).unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    if user.contains(':')
        || authority.starts_with('-')
        || (scheme.is_some_and(|s| s.starts_with("http")) && !user.is_empty())
    {
        return Err(
            "repo_url holds a user or a password; leave them out, and name a connection by git_conn_id or a file by token_file"
                .to_owned(),
        );
    }
    Ok(())
}

fn checked_ref(tracking_ref: String) -> Result<String, String> {
    // What git itself refuses in the name of a branch or a tag (git-check-ref-format), as far as it could mean something else.
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let is_fine = !tracking_ref.is_empty()
        && tracking_ref.len() <= 250
        && !tracking_ref.starts_with(['-', '/', '.'])
        && !tracking_ref.contains("..")
        && !tracking_ref.contains(odd);
    if is_fine {
        Ok(tracking_ref)
    } else {
        Err(format!("tracking_ref is {tracking_ref:?}; expected the name of a branch or a tag, or a commit"))
    }
}

fn checked_subdir(subdir: &str) -> Result<String, String> {
    let parts: Vec<&str> = subdir.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if subdir.starts_with('/')
        || parts.contains(&"..")
        || subdir.contains([':', '\\'])
        || subdir.contains(char::is_control)
    {
        return Err(format!("subdir is {subdir:?}; expected a folder of the repository, with / between its parts"));
    }
    Ok(parts.join("/"))
}

fn interval(secs: u64) -> Result<Duration, String> {
    if (REFRESH_SECS_MIN..=REFRESH_SECS_MAX).contains(&secs) {
        Ok(Duration::from_secs(secs))
    } else {
        Err(format!("refresh_interval is {secs}; expected {REFRESH_SECS_MIN} to {REFRESH_SECS_MAX} seconds"))
    }
}

impl GitBundle {
    /// What others than the leader may know of it.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({
            "repo_url": self.repo_url,
            "tracking_ref": self.tracking_ref,
            "subdir": self.subdir,
            "refresh_interval": self.refresh_interval.as_secs(),
            "git_conn_id": self.conn_id,
            "webhook_conn_id": self.webhook_conn_id,
            "view_url_template": self.view_url(),
        })
    }

    /// The page that shows a revision: of the settings, else where the well-known hosts have theirs.
    fn view_url(&self) -> Option<String> {
        if self.view_url_template.is_some() {
            return self.view_url_template.clone();
        }
        let url = self.repo_url.as_deref()?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("ssh://"));
        let (host, path) = match rest {
            Some(rest) => rest.split_once('/')?,
            None => url.split_once(':').filter(|(host, _)| !host.contains('/') && host.contains('@'))?,
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let tree = match host {
            "github.com" => "tree",
            "bitbucket.org" => "src",
            host if host.starts_with("gitlab.") => "-/tree",
            _ => return None,
        };
        let below = if self.subdir.is_some() { "/{subdir}" } else { "" };
        Some(format!("https://{host}/{path}/{tree}/{{version}}{below}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kwargs: &Value) -> Result<GitBundle, String> {
        let class = "airflow.providers.git.bundles.git.GitDagBundle";
        let list = json!([{"name": "team", "classpath": class, "kwargs": kwargs}]);
        Settings::parse(&list.to_string()).map(|mut settings| settings.git.remove(0))
    }

    #[test]
    fn airflows_list_is_taken_as_it_is_written() {
        let bundle = one(&json!({
            "repo_url": "git@github.com:acme/dags.git", "tracking_ref": "main", "subdir": "./prod/dags/", "git_conn_id": "g",
            "refresh_interval": 60, "prune_dotgit_folder": true, "submodules": false,
        }));
        let bundle = bundle.unwrap();
        assert_eq!((bundle.subdir.as_deref(), bundle.refresh_interval.as_secs()), (Some("prod/dags"), 60));
        assert_eq!(bundle.shown()["view_url_template"], "https://github.com/acme/dags/tree/{version}/{subdir}");
        let plain = one(&json!({"repo_url": "https://gitlab.acme.eu/data/dags", "tracking_ref": "v1.2"})).unwrap();
        assert_eq!(plain.refresh_interval.as_secs(), 300);
        assert_eq!(plain.shown()["view_url_template"], "https://gitlab.acme.eu/data/dags/-/tree/{version}");
        let file = one(&json!({"repo_url": "file:///srv/dags.git", "tracking_ref": "main"})).unwrap();
        assert_eq!(file.shown()["view_url_template"], Value::Null);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_bundle_and_what_is_expected() {
        let good = json!({"repo_url": "https://h/r.git", "tracking_ref": "main"});
        for (member, value, expected) in [
            ("repo_url", json!("https://me:secret@h/r.git"), "git_conn_id"),
            ("repo_url", json!("https://token@h/r.git"), "git_conn_id"),
            ("repo_url", json!("ssh://me:secret@h/r.git"), "git_conn_id"),
            ("repo_url", json!("ssh://-oProxyCommand=x/r"), "git_conn_id"),
            ("repo_url", json!("ext::sh -c touch% x"), "https://"),
            ("repo_url", json!("ext::x"), "https://"),
            ("repo_url", json!("-u:x"), "https://"),
            ("repo_url", json!("/srv/dags"), "https://"),
            ("tracking_ref", json!("--upload-pack=x"), "branch"),
            ("tracking_ref", json!("a..b"), "branch"),
            ("tracking_ref", json!("a:b"), "branch"),
            ("subdir", json!("../x"), "folder"),
            ("subdir", json!("/x"), "folder"),
            ("refresh_interval", json!(1), "5 to 86400"),
            ("submodules", json!(true), "submodules"),
            ("view_url_template", json!("javascript:alert(1)"), "web"),
            ("tracking_reff", json!("x"), "unknown field `tracking_reff`"),
        ] {
            let mut kwargs = good.clone();
            kwargs[member] = value.clone();
            let refused = one(&kwargs).unwrap_err();
            assert!(refused.starts_with("bundle team: ") && refused.contains(expected), "{value}: {refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
        let parse = |list: Value| Settings::parse(&list.to_string()).unwrap_err();
        let bundle = json!({"name": "a", "classpath": "x.GitDagBundle", "kwargs": good});
        assert!(parse(json!([bundle, bundle])).contains("twice"));
        let local =
            json!({"name": "a", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}});
        assert!(parse(json!([local])).contains("WINDLASS_DAGS_FOLDER"));
        assert!(parse(json!({})).contains("dag_bundle_config_list"));
        assert!(
            parse(json!([{"name": "dags-folder", "classpath": "GitDagBundle", "kwargs": good}])).contains("DAG folder")
        );
        assert!(parse(json!([{"name": "a", "classpath": "acme.S3DagBundle", "kwargs": good}])).contains("S3DagBundle"));
    }
}
