//! What a request asks for beyond the last one that somebody agreed to: by the rule that says whether an agreement still holds,
//! so what became less is no change.

use crate::{api::status::ResolvedRequest, domain::request};

/// What is different in `after`, as sentences; nothing if it is the same or less.
#[must_use]
pub fn between(before: &ResolvedRequest, after: &ResolvedRequest) -> Vec<String> {
    let mut out = request::changes(before, after);
    // Within one lease it cannot change, so the rule has no word for it.
    if before.requester.uid != after.requester.uid {
        out.push(format!("{} is not the one it was: its UID differs", after.requester.username));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::lease::{self, tests::waiting},
        *,
    };

    fn changes(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
        let (before, after) = (waiting(|_| {}), waiting(|lease| edit(&mut lease["status"]["request"])));
        between(lease::request(&before).unwrap(), lease::request(&after).unwrap())
    }

    #[test]
    fn every_part_of_a_request_that_asks_for_something_else_is_named() {
        type Edit = fn(&mut serde_json::Value);
        let wide = json!([
            {"verbs": ["get", "patch", "delete"], "apiGroups": ["apps"], "resources": ["deployments"]},
            {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/exec"]},
        ]);
        assert_eq!(
            changes(|r| r["grants"][0]["rules"] = wide),
            ["the role of grant deploy gained rights: delete on deployments of apps"]
        );
        let table: [(Edit, &str); 8] = [
            (|r| r["ttl"] = json!("8h"), "the ttl was 10m and is 8h"),
            (|r| r["audiences"] = json!(["sts"]), "the audiences was  and is sts"),
            (|r| r["grants"][0]["namespace"] = json!("other"), "and is for ClusterRole payments-deploy in other"),
            (|r| r["grants"][0]["roleUID"] = json!("8f"), "the role of grant deploy was deleted and created again"),
            (|r| r["delivery"] = json!({"type": "Secret", "secret": {"name": "x"}}), "and is Secret x"),
            (|r| r["requester"]["groups"] = json!(["sre"]), "and is system:serviceaccount:payments:ci (sre)"),
            (|r| r["requester"]["uid"] = json!("2"), "its UID differs"),
            (|r| r["lifecycle"]["uid"] = json!("2"), "lifecycle payments-deployer was deleted and created again"),
        ];
        for (edit, expected) in table {
            let changes = changes(edit);
            assert!(changes.len() == 1 && changes[0].ends_with(expected), "{expected}: {changes:?}");
        }
    }

    #[test]
    fn the_same_or_less_is_no_change_and_a_role_that_allows_nothing_is_known() {
        assert!(changes(|_| {}).is_empty());
        assert!(changes(|r| r["grants"][0]["rules"] = json!([])).is_empty(), "it lost its rules, and is not unknown");
    }
}
