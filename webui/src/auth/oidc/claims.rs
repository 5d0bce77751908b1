//! What a provider says of a person, and what that means here: a name and roles.

use serde_json::{Map, Value};

use super::settings::OidcSettings;

/// Somebody that the provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// Who it is at the provider, for good.
    pub(crate) subject: String,
    /// The name to go by.
    pub(crate) username: String,
    /// Names of roles; none when nothing here follows from what the provider says.
    pub(crate) roles: Vec<String>,
}

/// What a checked ID token says.
#[derive(Debug)]
pub(super) struct Claims {
    subject: String,
    all: Map<String, Value>,
}

impl Claims {
    /// Those of a token.
    pub(super) fn new(all: Map<String, Value>) -> Result<Self, String> {
        match all.get("sub").and_then(Value::as_str) {
            // As long as the specification lets it be.
            Some(subject) if !subject.is_empty() && subject.len() <= 255 => {
                Ok(Self { subject: subject.to_owned(), all })
            }
            _ => Err("the ID token does not say whom it is about".to_owned()),
        }
    }

    /// Whether what is needed is among them.
    pub(super) fn have(&self, settings: &OidcSettings) -> bool {
        let has_groups = settings.roles.is_empty() || self.find(&settings.groups_claim).is_some();
        has_groups && self.find(&settings.username_claim).is_some()
    }

    /// Adds what the provider tells of the same person elsewhere. What the token says stands.
    pub(super) fn add(&mut self, more: Map<String, Value>) -> Result<(), String> {
        if more.get("sub").and_then(Value::as_str) != Some(&self.subject) {
            return Err("the provider tells of somebody else than its ID token".to_owned());
        }
        for (name, value) in more {
            self.all.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// Who it is here.
    pub(super) fn person(self, settings: &OidcSettings) -> Result<Person, String> {
        let claim = &settings.username_claim;
        let Some(username) = self.find(claim).and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty())
        else {
            return Err(format!(
                "the provider does not tell the claim {claim}; set WINDLASS_OIDC_USERNAME_CLAIM to one that it tells, or \
                 WINDLASS_OIDC_SCOPES to more"
            ));
        };
        if claim == "email" && self.all.get("email_verified") == Some(&Value::Bool(false)) {
            return Err("the provider has not verified this e-mail address".to_owned());
        }
        let groups = self.groups(&settings.groups_claim);
        let mapped = settings.roles.iter().filter(|(group, _)| groups.contains(&group.as_str()));
        let mut roles: Vec<String> = mapped.map(|(_, role)| role.clone()).collect();
        if roles.is_empty() {
            roles.extend(settings.default_role.clone());
        }
        let username = username.to_owned();
        Ok(Person { subject: self.subject, username, roles })
    }

    fn groups(&self, claim: &str) -> Vec<&str> {
        match self.find(claim) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group],
            _ => Vec::new(),
        }
    }

    /// A claim by its name, or by its way: `realm_access.roles`.
    fn find(&self, claim: &str) -> Option<&Value> {
        if let Some(value) = self.all.get(claim) {
            return Some(value);
        }
        let mut steps = claim.split('.');
        let first = self.all.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::settings::tests::read, *};

    fn person(claims: Value, settings: &[(&str, &str)]) -> Result<Person, String> {
        let Value::Object(claims) = claims else { panic!("an object") };
        Claims::new(claims)?.person(&read(settings).unwrap().unwrap())
    }

    #[test]
    fn groups_decide_and_nobody_has_a_role_by_chance() {
        let claims = |groups: Value| json!({"sub": "1", "preferred_username": "ann", "groups": groups});
        let found = person(claims(json!(["x", "ops", "urn:x:admins"])), &[]).unwrap();
        assert_eq!((found.username.as_str(), found.roles), ("ann", vec!["Op".to_owned(), "Admin".to_owned()]));
        assert_eq!(person(claims(json!("ops")), &[]).unwrap().roles, ["Op"]);
        for groups in [json!([]), json!(["Ops"]), json!("ops urn:x:admins"), json!(null), json!({"ops": 1})] {
            assert!(person(claims(groups.clone()), &[]).unwrap().roles.is_empty(), "{groups}");
        }
        let with_default = person(claims(json!([])), &[("WINDLASS_OIDC_DEFAULT_ROLE", "viewer")]).unwrap();
        assert_eq!(with_default.roles, ["Viewer"]);
    }

    #[test]
    fn claims_may_lie_deeper_and_have_other_names() {
        let settings =
            [("WINDLASS_OIDC_GROUPS_CLAIM", "realm_access.roles"), ("WINDLASS_OIDC_USERNAME_CLAIM", "email")];
        let claims = |verified: Value| json!({"sub": "1", "email": "a@b", "email_verified": verified, "realm_access": {"roles": ["ops"]}});
        assert_eq!(person(claims(json!(true)), &settings).unwrap().username, "a@b");
        assert!(person(claims(json!(false)), &settings).unwrap_err().contains("verified"));
        assert!(person(json!({"sub": "1", "groups": ["ops"]}), &[]).unwrap_err().contains("USERNAME_CLAIM"));
    }

    #[test]
    fn what_is_told_elsewhere_is_of_the_same_person_and_changes_nothing() {
        let mut claims =
            Claims::new(Map::from_iter([("sub".into(), "1".into()), ("groups".into(), json!([]))])).unwrap();
        let more = |sub: &str| {
            Map::from_iter([("sub".into(), sub.into()), ("groups".into(), json!(["ops"])), ("name".into(), "n".into())])
        };
        assert!(claims.add(more("2")).unwrap_err().contains("somebody else"));
        claims.add(more("1")).unwrap();
        assert_eq!((claims.find("groups"), claims.find("name")), (Some(&json!([])), Some(&json!("n"))));
        assert!(Claims::new(Map::new()).is_err());
    }
}
