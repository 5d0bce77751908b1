//! Rights, roles, and permissions on single DAGs: what somebody may do.
//!
//! A user has one of Airflow's roles and any number of own ones, and may do what any of them allows. What a right allows on all
//! DAGs, a permission allows on one DAG or on those with a tag.

use std::{collections::BTreeSet, fmt, str::FromStr};

use model::{DagId, UnknownCode};

use crate::read::Visible;

/// What a request does, which decides who may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Read DAGs, runs, task instances, logs, services, pools.
    Read,
    /// Change DAGs and runs: pause, trigger, clear, mark.
    ChangeDags,
    /// Read variables, connections and the audit log.
    ReadAdmin,
    /// Change variables, connections and pools.
    ChangeAdmin,
    /// See, create, change and delete users and roles. Whoever has it can give himself every other right.
    ManageUsers,
    /// Change one's own password, sessions and tokens.
    OwnAccount,
    /// Start, restart and stop services.
    ChangeServices,
    /// Choose how pages look to one's own browser.
    ChangeOwnView,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::ChangeDags,
        Self::ReadAdmin,
        Self::ChangeAdmin,
        Self::ManageUsers,
        Self::OwnAccount,
        Self::ChangeServices,
        Self::ChangeOwnView,
    ];

    /// Those that a role can give and a token can be limited to. The others belong to everybody who has a session.
    pub const GIVEN: [Self; 6] =
        [Self::Read, Self::ChangeDags, Self::ReadAdmin, Self::ChangeAdmin, Self::ChangeServices, Self::ManageUsers];

    /// The least of Airflow's roles that has it.
    #[must_use]
    pub const fn least_role(self) -> Role {
        match self {
            Self::OwnAccount | Self::ChangeOwnView => Role::Public,
            Self::Read => Role::Viewer,
            Self::ChangeDags => Role::User,
            Self::ReadAdmin | Self::ChangeAdmin | Self::ChangeServices => Role::Op,
            Self::ManageUsers => Role::Admin,
        }
    }

    /// Its name in commands, forms, the database and the OpenAPI document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ChangeDags => "change_dags",
            Self::ReadAdmin => "read_admin",
            Self::ChangeAdmin => "change_admin",
            Self::ManageUsers => "manage_users",
            Self::OwnAccount => "own_account",
            Self::ChangeServices => "change_services",
            Self::ChangeOwnView => "change_own_view",
        }
    }

    /// The right of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.name() == name)
    }

    /// What it can not be used without.
    const fn needs(self) -> Option<Self> {
        match self {
            Self::ChangeDags | Self::ChangeServices => Some(Self::Read),
            Self::ChangeAdmin => Some(Self::ReadAdmin),
            Self::Read | Self::ReadAdmin | Self::ManageUsers | Self::OwnAccount | Self::ChangeOwnView => None,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Right {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::GIVEN.into_iter().find(|right| right.name() == text).ok_or_else(|| UnknownCode {
            what: "right",
            found: text.to_owned(),
            known: Self::GIVEN.map(Self::name).join(", "),
        })
    }
}

/// Rights with all that they need.
pub fn with_needs(rights: impl IntoIterator<Item = Right>) -> BTreeSet<Right> {
    rights.into_iter().flat_map(|right| std::iter::once(right).chain(right.needs())).collect()
}

/// Airflow's roles: each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing but what own roles allow.
    Public,
    /// Sees everything but secrets.
    Viewer,
    /// Also runs DAGs and clears tasks.
    User,
    /// Also connections, variables, pools.
    Op,
    /// Also users.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 5] = [Self::Public, Self::Viewer, Self::User, Self::Op, Self::Admin];

    /// Its name, as Airflow has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Viewer => "Viewer",
            Self::User => "User",
            Self::Op => "Op",
            Self::Admin => "Admin",
        }
    }

    /// Its rights.
    pub fn rights(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self >= right.least_role())
    }

    pub(super) const fn code(self) -> i16 {
        match self {
            Self::Viewer => 0,
            Self::User => 1,
            Self::Op => 2,
            Self::Admin => 3,
            Self::Public => 4,
        }
    }

    fn unknown(found: &dyn fmt::Display) -> UnknownCode {
        let known = Self::ALL.map(Self::name).join(", ");
        UnknownCode { what: "role", found: found.to_string(), known }
    }
}

impl TryFrom<i16> for Role {
    type Error = UnknownCode;
    fn try_from(code: i16) -> Result<Self, UnknownCode> {
        Self::ALL.into_iter().find(|role| role.code() == code).ok_or_else(|| Self::unknown(&code))
    }
}

impl FromStr for Role {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(text)).ok_or_else(|| Self::unknown(&text))
    }
}

/// Which DAGs a permission is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DagTarget {
    /// The DAG of this id, whether it is there yet or not.
    Dag(DagId),
    /// Each DAG with this tag, as its file has it today.
    Tag(String),
}

/// A permission on DAGs, written `read dag:ID`, `edit dag:ID`, `read tag:TAG` or `edit tag:TAG`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DagPermission {
    /// Which.
    pub target: DagTarget,
    /// Whether they may also be changed: paused, triggered, cleared, marked.
    pub may_edit: bool,
}

/// A text that is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no permission: write {}", DagPermission::FORM)]
pub struct InvalidPermission {
    found: String,
}

impl DagPermission {
    /// How one is written.
    pub const FORM: &'static str = "read or edit, then dag:ID or tag:TAG, as in \"edit tag:finance\"";
    /// The longest tag.
    const TAG_CHARS_MAX: usize = 250;
}

impl fmt::Display for DagPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.may_edit { "edit" } else { "read" };
        match &self.target {
            DagTarget::Dag(dag_id) => write!(f, "{action} dag:{dag_id}"),
            DagTarget::Tag(tag) => write!(f, "{action} tag:{tag}"),
        }
    }
}

impl FromStr for DagPermission {
    type Err = InvalidPermission;

    fn from_str(text: &str) -> Result<Self, InvalidPermission> {
        let invalid = || InvalidPermission { found: text.to_owned() };
        let (action, target) = text.trim().split_once(char::is_whitespace).ok_or_else(invalid)?;
        let may_edit = match action {
            "read" => false,
            "edit" => true,
            _ => return Err(invalid()),
        };
        let target = match target.trim().split_once(':') {
            Some(("dag", id)) => DagTarget::Dag(DagId::new(id).map_err(|_| invalid())?),
            Some(("tag", tag))
                if !tag.is_empty() && tag.chars().count() <= Self::TAG_CHARS_MAX && !tag.contains(char::is_control) =>
            {
                DagTarget::Tag(tag.to_owned())
            }
            _ => return Err(invalid()),
        };
        Ok(Self { target, may_edit })
    }
}

/// What somebody may do, as of today.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Permissions {
    rights: BTreeSet<Right>,
    readable: BTreeSet<String>,
    editable: BTreeSet<String>,
}

impl Permissions {
    /// What these rights allow, and permissions on these DAGs: the flag says whether they may be changed, too.
    #[must_use]
    pub fn new(rights: impl IntoIterator<Item = Right>, dags: impl IntoIterator<Item = (String, bool)>) -> Self {
        let mut permissions = Self { rights: with_needs(rights), ..Self::default() };
        for (dag_id, may_edit) in dags {
            if may_edit {
                permissions.editable.insert(dag_id.clone());
            }
            permissions.readable.insert(dag_id);
        }
        permissions
    }

    /// What an API token allows: no more than its scope, and never the account of its user. Else one that was stolen could make
    /// its own successor, or take a session's password.
    #[must_use]
    pub fn of_api_token(self, scope: Option<BTreeSet<Right>>) -> Self {
        let mut left = match scope {
            Some(scope) => self.limited_to(scope),
            None => self,
        };
        left.rights.retain(|right| Right::GIVEN.contains(right));
        left
    }

    /// No more than what these rights allow: those of a token's scope.
    fn limited_to(mut self, scope: impl IntoIterator<Item = Right>) -> Self {
        let scope = with_needs(scope);
        self.rights.retain(|right| scope.contains(right));
        if !scope.contains(&Right::Read) {
            self.readable.clear();
        }
        if !scope.contains(&Right::ChangeDags) {
            self.editable.clear();
        }
        self
    }

    /// Whether a right is there, over everything.
    #[must_use]
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Whether a right is there on a DAG.
    #[must_use]
    pub fn has_on(&self, right: Right, dag_id: &str) -> bool {
        self.has(right) || self.dags_with(right).is_some_and(|dags| dags.contains(dag_id))
    }

    /// Whether a right is there over everything or on some DAG.
    #[must_use]
    pub fn has_somewhere(&self, right: Right) -> bool {
        self.has(right) || self.dags_with(right).is_some_and(|dags| !dags.is_empty())
    }

    /// The DAGs that lists have.
    #[must_use]
    pub fn visible(&self) -> Visible {
        if self.has(Right::Read) { Visible::All } else { Visible::Only(self.readable.iter().cloned().collect()) }
    }

    const fn dags_with(&self, right: Right) -> Option<&BTreeSet<String>> {
        match right {
            Right::Read => Some(&self.readable),
            Right::ChangeDags => Some(&self.editable),
            Right::ReadAdmin
            | Right::ChangeAdmin
            | Right::ManageUsers
            | Right::OwnAccount
            | Right::ChangeServices
            | Right::ChangeOwnView => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_reads_what_it_writes_and_nothing_else() {
        for text in ["read dag:etl", "edit dag:etl.daily", "read tag:finance", "edit tag:a: b"] {
            assert_eq!(text.parse::<DagPermission>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "read",
            "dag:etl",
            "write dag:etl",
            "read etl",
            "read dag:",
            "read tag:",
            "read dag:a b",
            "edit pool:x",
        ] {
            let error = text.parse::<DagPermission>().unwrap_err().to_string();
            assert!(error.contains("edit tag:finance"), "{text}: {error}");
        }
    }

    #[test]
    fn a_right_comes_with_what_it_needs() {
        let permissions = Permissions::new([Right::ChangeDags, Right::ChangeAdmin], []);
        assert!(permissions.has(Right::Read) && permissions.has(Right::ReadAdmin));
        assert!(!permissions.has(Right::ManageUsers) && !permissions.has(Right::OwnAccount));
        assert_eq!(permissions.visible(), Visible::All);
    }

    #[test]
    fn a_permission_holds_on_its_dags_only() {
        let permissions = Permissions::new([], [("a".to_owned(), false), ("b".to_owned(), true)]);
        let on = |right, dag| permissions.has_on(right, dag);
        assert!(on(Right::Read, "a") && on(Right::Read, "b") && on(Right::ChangeDags, "b"));
        assert!(!on(Right::ChangeDags, "a") && !on(Right::Read, "c") && !on(Right::ReadAdmin, "b"));
        assert!(permissions.has_somewhere(Right::ChangeDags) && !permissions.has(Right::Read));
        assert_eq!(permissions.visible(), Visible::Only(["a", "b"].map(str::to_owned).into()));
    }

    #[test]
    fn a_scope_takes_away_and_never_gives() {
        let admin = Permissions::new(Role::Admin.rights(), []).limited_to([Right::ChangeDags]);
        assert!(admin.has(Right::ChangeDags) && admin.has(Right::Read));
        assert!(!admin.has(Right::ManageUsers) && !admin.has(Right::ReadAdmin) && !admin.has(Right::OwnAccount));
        let scoped = Permissions::new([], [("a".to_owned(), true)]);
        let reads = scoped.clone().limited_to([Right::Read]);
        assert!(reads.has_on(Right::Read, "a") && !reads.has_on(Right::ChangeDags, "a") && !reads.has(Right::Read));
        let none = scoped.limited_to([Right::ReadAdmin]);
        assert!(!none.has_somewhere(Right::Read) && !none.has(Right::ReadAdmin));
        let whole = Permissions::new(Role::Admin.rights(), []).of_api_token(None);
        assert!(whole.has(Right::ManageUsers) && whole.has(Right::ChangeAdmin));
        assert!(!whole.has(Right::OwnAccount) && !whole.has(Right::ChangeOwnView));
    }

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        for pair in Role::ALL.windows(2) {
            let [weaker, stronger] = pair else { panic!("two of them") };
            let strong: BTreeSet<Right> = stronger.rights().collect();
            assert!(weaker.rights().all(|right| strong.contains(&right)), "{weaker:?} {stronger:?}");
        }
        assert_eq!(Role::Admin.rights().count(), Right::ALL.len());
        for role in Role::ALL {
            assert_eq!(Role::try_from(role.code()).unwrap(), role);
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
        }
    }
}
