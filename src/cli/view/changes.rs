//! What a request asks for beyond the last one that somebody agreed to.

use std::fmt;

use super::request;
use crate::{
    api::status::{ResolvedGrant, ResolvedRequest},
    domain::rbac,
};

/// One difference between two requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It asks for more, or for something else: look at it.
    More(String),
    /// It asks for less.
    Less(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::More(what) => write!(f, "+ {what}"),
            Self::Less(what) => write!(f, "- {what}"),
        }
    }
}

use Change::{Less, More};

/// What is different in `after`; nothing if the requests are equal.
#[must_use]
pub fn between(before: &ResolvedRequest, after: &ResolvedRequest) -> Vec<Change> {
    let mut out = vec![];
    if before.lifecycle.uid != after.lifecycle.uid {
        out.push(More(format!("the lifecycle {} was deleted and made anew", after.lifecycle.name)));
    }
    requester(before, after, &mut out);
    grants(before, after, &mut out);
    if after.ttl > before.ttl {
        out.push(More(format!("lives {}, not {}", after.ttl, before.ttl)));
    } else if after.ttl < before.ttl {
        out.push(Less(format!("lives {}, not {}", after.ttl, before.ttl)));
    }
    lists("audience", &before.audiences, &after.audiences, &mut out);
    if before.delivery != after.delivery {
        let text = |r: &ResolvedRequest| request::delivery_name(&r.delivery);
        out.push(More(format!("delivery {}, not {}", text(after), text(before))));
    }
    match (before.not_before, after.not_before) {
        (a, b) if a == b => {}
        (_, Some(at)) => out.push(More(format!("begins at {at} at the earliest"))),
        (_, None) => out.push(More("begins as soon as it is agreed".into())),
    }
    out
}

fn requester(before: &ResolvedRequest, after: &ResolvedRequest, out: &mut Vec<Change>) {
    let (before, after) = (&before.requester, &after.requester);
    if before.uid != after.uid {
        out.push(More(format!("{} is another object: its UID differs", after.username)));
    }
    lists("group of the requester", &before.groups, &after.groups, out);
}

fn lists(noun: &str, before: &[String], after: &[String], out: &mut Vec<Change>) {
    out.extend(after.iter().filter(|x| !before.contains(x)).map(|x| More(format!("{noun} {x}"))));
    out.extend(before.iter().filter(|x| !after.contains(x)).map(|x| Less(format!("{noun} {x}"))));
}

fn grants(before: &ResolvedRequest, after: &ResolvedRequest, out: &mut Vec<Change>) {
    for grant in &after.grants {
        match before.grants.iter().find(|g| g.name == grant.name) {
            None => out.push(More(format!("grant {}", request::grant_title(grant)))),
            Some(old) => changed(old, grant, out),
        }
    }
    let gone = before.grants.iter().filter(|g| after.grants.iter().all(|a| a.name != g.name));
    out.extend(gone.map(|grant| Less(format!("grant {}", request::grant_title(grant)))));
}

/// What is different in one grant.
fn changed(old: &ResolvedGrant, new: &ResolvedGrant, out: &mut Vec<Change>) {
    let name = &new.name;
    if old.namespace != new.namespace || old.role_ref != new.role_ref {
        out.push(More(format!("grant {}; it was {}", request::grant_title(new), request::grant_title(old))));
    } else if old.role_uid != new.role_uid {
        out.push(More(format!("grant {name}: the role was deleted and made anew")));
    }
    if old.rules_digest == new.rules_digest {
        return;
    }
    if old.rules.is_empty() || new.rules.is_empty() {
        out.push(More(format!("grant {name}: the rules are others than they were, and too long to be recorded")));
        return;
    }
    out.extend(rbac::gained(&old.rules, &new.rules).into_iter().map(|rule| More(format!("grant {name} may {rule}"))));
    out.extend(rbac::gained(&new.rules, &old.rules).into_iter().map(|rule| Less(format!("grant {name} may {rule}"))));
    let marks = new.outlives.iter().filter(|mark| !old.outlives.contains(mark));
    out.extend(marks.map(|mark| More(format!("grant {name}: {}", request::outlives(*mark)))));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::lease::{self, tests::waiting},
        *,
    };

    fn changes(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
        let (before, after) = (waiting(|_| {}), waiting(edit));
        between(lease::request(&before).unwrap(), lease::request(&after).unwrap())
            .iter()
            .map(Change::to_string)
            .collect()
    }

    #[test]
    fn equal_requests_do_not_differ() {
        assert!(changes(|_| {}).is_empty());
    }

    #[test]
    fn every_part_of_a_request_that_changes_is_named() {
        let rule = json!({"verbs": ["get", "patch", "delete"], "apiGroups": ["apps"], "resources": ["deployments"]});
        let wide = json!([rule, {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/exec"]}]);
        type Edit = fn(&mut serde_json::Value, serde_json::Value);
        let table: [(&str, Edit, serde_json::Value, &[&str]); 9] = [
            ("longer", |r, v| r["ttl"] = v, json!("8h"), &["+ lives 8h, not 10m"]),
            ("shorter", |r, v| r["ttl"] = v, json!("5m"), &["- lives 5m, not 10m"]),
            (
                "audience",
                |r, v| r["audiences"] = v,
                json!(["https://sts.example.com"]),
                &["+ audience https://sts.example.com"],
            ),
            ("rules", |r, v| r["grants"][0]["rules"] = v, wide, &["+ grant deploy may delete on deployments of apps"]),
            (
                "less",
                |r, v| r["grants"][0]["rules"] = v,
                json!([{"verbs": ["get", "patch"], "apiGroups": ["apps"], "resources": ["deployments"]}]),
                &["- grant deploy may create on pods/exec of core"],
            ),
            (
                "namespace",
                |r, v| r["grants"][0]["namespace"] = v,
                json!("other"),
                &[
                    "+ grant deploy: ClusterRole payments-deploy in namespace other; it was deploy: ClusterRole payments-deploy in namespace payments-prod",
                ],
            ),
            (
                "role",
                |r, v| r["grants"][0]["roleUID"] = v,
                json!("8f"),
                &["+ grant deploy: the role was deleted and made anew"],
            ),
            (
                "secret",
                |r, v| r["delivery"] = v,
                json!({"type": "Secret", "secret": {"name": "x"}}),
                &["+ delivery Secret x, not TokenRequest"],
            ),
            (
                "groups",
                |r, v| r["requester"]["groups"] = v,
                json!(["sre"]),
                &["+ group of the requester sre", "- group of the requester ci"],
            ),
        ];
        for (name, edit, value, expected) in table {
            assert_eq!(changes(|lease| edit(&mut lease["status"]["request"], value)), expected, "{name}");
        }
    }

    #[test]
    fn a_grant_more_and_a_grant_less() {
        let more = changes(|lease| {
            let grants = lease["status"]["request"]["grants"].as_array_mut().unwrap();
            grants[0]["name"] = json!("other");
        });
        assert_eq!(
            more,
            [
                "+ grant other: ClusterRole payments-deploy in namespace payments-prod",
                "- grant deploy: ClusterRole payments-deploy in namespace payments-prod"
            ]
        );
    }
}
