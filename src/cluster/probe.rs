//! What the API server itself says of the operator and of its policies: whether they bite, who it is, what it may.

use http::{Method, StatusCode};
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, authorization::v1::SelfSubjectRulesReview};
use serde::Deserialize;
use serde_json::json;

use super::{
    exchange::{Ask, Exchange, Reply},
    policies::MEND,
};
use crate::{
    api::names,
    domain::call::{Class, Failure},
};

/// Asks the API server what it would refuse, and who we are to it.
#[derive(Clone)]
pub struct Probe(Exchange);

/// The part of a TokenRequest's answer that a probe may look at: the token itself is not even read.
#[derive(Deserialize)]
struct Audiences {
    spec: AudiencesSpec,
}

#[derive(Deserialize)]
struct AudiencesSpec {
    #[serde(default)]
    audiences: Vec<String>,
}

impl Probe {
    /// Asks through `exchange`.
    #[must_use]
    pub fn new(exchange: Exchange) -> Self {
        Self(exchange)
    }

    /// Whether the policies bite, by dry runs of what they must refuse: what they let through, or `None` if nothing.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn bites(&self) -> Result<Option<String>, Failure> {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"generateName": "leasehold-probe-", "namespace": names::ISSUING_NAMESPACE},
            "spec": {"parallelism": 1, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "never", "image": "leasehold.invalid/never"}]}}},
        });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"generateName": "leasehold-probe-", "namespace": names::OPERATOR_NAMESPACE},
        });
        let jobs = format!("/apis/batch/v1/namespaces/{}/jobs?dryRun=All", names::ISSUING_NAMESPACE);
        let secrets = format!("/api/v1/namespaces/{}/secrets?dryRun=All", names::OPERATOR_NAMESPACE);
        for (path, body, policy) in
            [(jobs, job, "leasehold-self-limit"), (secrets, secret, "leasehold-secret-self-limit")]
        {
            let reply = self.0.send(Ask::new(Method::POST, path).json(&body)?.metadata()).await?;
            if let Some(problem) = refused_by(&reply, policy)? {
                return Ok(Some(problem));
            }
        }
        Ok(None)
    }

    /// What makes this process more than the operator may be; `None` if nothing does.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn identity(&self) -> Result<Option<String>, Failure> {
        let ask = Ask::new(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .json(&SelfSubjectReview::default())?;
        let review: SelfSubjectReview = self.0.send(ask).await?.decode()?;
        let username = review.status.and_then(|s| s.user_info).and_then(|u| u.username).unwrap_or_default();
        if username != names::OPERATOR_USERNAME {
            return Ok(Some(format!(
                "the operator runs as {username}, but the policies limit {}: run it as that service account",
                names::OPERATOR_USERNAME
            )));
        }
        for namespace in ["default", names::OPERATOR_NAMESPACE, names::ISSUING_NAMESPACE] {
            let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
            let review: SelfSubjectRulesReview = self
                .0
                .send(Ask::new(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews").json(&body)?)
                .await?
                .decode()?;
            if let Some(excess) = excess(&review, namespace) {
                return Ok(Some(format!(
                    "the operator holds {excess} in namespace {namespace}, which it must not: take that right away"
                )));
            }
        }
        Ok(None)
    }

    /// The audiences of a token that asks for none, from a dry run for an account that holds nothing.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn api_audiences(&self) -> Result<Vec<String>, Failure> {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/default/token?dryRun=All", names::ISSUING_NAMESPACE);
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
        let answer: Audiences = self.0.send(Ask::new(Method::POST, path).json(&body)?).await?.decode()?;
        Ok(answer.spec.audiences)
    }
}

fn refused_by(reply: &Reply, policy: &str) -> Result<Option<String>, Failure> {
    let failure = reply.failure();
    match reply.code {
        StatusCode::FORBIDDEN if failure.message.contains(policy) => Ok(None),
        StatusCode::FORBIDDEN => {
            Ok(Some(format!("the probe of {policy} was refused by something else ({}); {MEND}", failure.message)))
        }
        code if code.is_success() => {
            Ok(Some(format!("{policy} does not bite: a dry run that it must refuse passed; {MEND}")))
        }
        _ => Err(Failure { class: Class::Transient, ..failure }),
    }
}

/// The first right that the operator must not have in this namespace.
///
/// In its own it may read Secrets that are named one by one: those in which the credentials for connected systems are.
fn excess(review: &SelfSubjectRulesReview, namespace: &str) -> Option<String> {
    let rules = review.status.as_ref().map(|s| s.resource_rules.as_slice()).unwrap_or_default();
    let has = |list: &Option<Vec<String>>, word: &str| list.iter().flatten().any(|w| w == word || w == "*");
    let reads = ["get", "list", "watch", "update", "deletecollection"];
    rules.iter().find_map(|rule| {
        let verbs = &rule.verbs;
        let bad = verbs.iter().find(|v| ["*", "escalate", "impersonate"].contains(&v.as_str()));
        let named =
            namespace == names::OPERATOR_NAMESPACE && rule.resource_names.as_ref().is_some_and(|n| !n.is_empty());
        let secrets = (has(&rule.api_groups, "") && has(&rule.resources, "secrets"))
            .then(|| verbs.iter().find(|v| reads.contains(&v.as_str()) && !(named && *v == "get")))
            .flatten();
        bad.or(secrets).map(|verb| format!("verb {verb} on {}", rule.resources.clone().unwrap_or_default().join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(rule: serde_json::Value) -> SelfSubjectRulesReview {
        let status = json!({"resourceRules": [rule], "nonResourceRules": [], "incomplete": false});
        serde_json::from_value(json!({"status": status})).unwrap()
    }

    #[test]
    fn rights_that_read_secrets_or_make_rights_are_noticed() {
        for bad in [
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}),
            json!({"verbs": ["*"], "apiGroups": ["x"], "resources": ["y"]}),
            json!({"verbs": ["escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}),
            json!({"verbs": ["list"], "apiGroups": ["*"], "resources": ["*"]}),
        ] {
            for namespace in ["default", names::OPERATOR_NAMESPACE] {
                assert!(excess(&review(bad.clone()), namespace).is_some(), "{bad} in {namespace}");
            }
        }
        assert_eq!(
            excess(
                &review(json!({"verbs": ["create", "patch", "delete"], "apiGroups": [""], "resources": ["secrets"]})),
                "default"
            ),
            None
        );
    }

    #[test]
    fn a_secret_may_be_read_only_by_its_name_and_only_in_the_own_namespace() {
        let rule = |verbs: &[&str], names: &[&str]| json!({"verbs": verbs, "apiGroups": [""], "resources": ["secrets"], "resourceNames": names});
        let own = names::OPERATOR_NAMESPACE;
        assert_eq!(excess(&review(rule(&["get"], &["ci"])), own), None);
        for (rule, namespace) in [
            (rule(&["get"], &["ci"]), "default"),
            (rule(&["get"], &["ci"]), names::ISSUING_NAMESPACE),
            (rule(&["get"], &[]), own),
            (rule(&["get", "list"], &["ci"]), own),
            (rule(&["update"], &["ci"]), own),
            (rule(&["watch"], &["ci"]), own),
        ] {
            assert!(excess(&review(rule.clone()), namespace).is_some(), "{rule} in {namespace}");
        }
    }
}
