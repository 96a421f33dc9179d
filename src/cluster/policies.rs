//! The admission policies that Leasehold rests on: what was shipped, held against what is there.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The shipped policies with their bindings, as `config/policies` has them.
const SHIPPED: &[&str] = &[
    include_str!("../../config/policies/leasehold-consumer-restart.yaml"),
    include_str!("../../config/policies/leasehold-decision-independence.yaml"),
    include_str!("../../config/policies/leasehold-decision.yaml"),
    include_str!("../../config/policies/leasehold-drain.yaml"),
    include_str!("../../config/policies/leasehold-issuing-namespace.yaml"),
    include_str!("../../config/policies/leasehold-lease-request.yaml"),
    include_str!("../../config/policies/leasehold-lease-subjects.yaml"),
    include_str!("../../config/policies/leasehold-lease-update.yaml"),
    include_str!("../../config/policies/leasehold-lifecycle-author.yaml"),
    include_str!("../../config/policies/leasehold-own-token.yaml"),
    include_str!("../../config/policies/leasehold-secret-self-limit.yaml"),
    include_str!("../../config/policies/leasehold-secret-type.yaml"),
    include_str!("../../config/policies/leasehold-self-limit.yaml"),
    include_str!("../../config/policies/leasehold-status.yaml"),
    include_str!("../../config/policies/leasehold-system-author.yaml"),
    include_str!("../../config/policies/leasehold-token-request.yaml"),
];

/// How to mend whatever is wrong with the policies. `apply` makes what is missing, and leaves what others have added: a
/// selector on a binding, say. `replace` takes that away, in place.
pub(super) const MEND: &str =
    "put the shipped policies back: kubectl apply -k config/policies && kubectl replace -k config/policies";

/// The shipped policies, by name.
pub struct Shipped(BTreeMap<String, (ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding)>);

/// Why the policies built into this executable cannot be read. A test reads them, so no release has this.
#[derive(Debug, thiserror::Error)]
#[error("the shipped policies cannot be read: {0}")]
pub struct Unreadable(String);

impl Shipped {
    /// Reads what is built into the executable.
    ///
    /// # Errors
    /// If a file is not a policy followed by its binding.
    pub fn read() -> Result<Self, Unreadable> {
        SHIPPED.iter().map(|text| pair(text)).collect::<Result<_, _>>().map(Self)
    }

    /// What is wrong with the policies that are there, and how to mend it; `None` if nothing is.
    #[must_use]
    pub fn compare(
        &self,
        policies: &[ValidatingAdmissionPolicy],
        bindings: &[ValidatingAdmissionPolicyBinding],
    ) -> Option<String> {
        let wrong: Vec<String> = self
            .0
            .iter()
            .filter_map(|(name, (policy, binding))| {
                let there = policies.iter().find(|p| p.metadata.name.as_deref() == Some(name));
                let bound = bindings.iter().find(|b| b.metadata.name.as_deref() == Some(name));
                compare(policy, binding, there, bound).map(|what| format!("{name} {what}"))
            })
            .collect();
        (!wrong.is_empty())
            .then(|| format!("the admission policies are not as they were shipped: {}; {MEND}", wrong.join(", ")))
    }

    /// Whether a policy or binding of this name is one of ours.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// When anything was last written to a shipped policy or its binding, as far as the objects that are there tell: the
    /// latest creation or recorded write among them. `None` if none is there.
    ///
    /// A comparison says that the policies are right now, not since when. An operator that was not running while one was
    /// weakened and put back would take what was slipped in meanwhile for proven. Both writes are in `managedFields`, by the
    /// API server's own clock, and a policy that was deleted and made again has a new creation time: so from this moment on
    /// the policies are known to have been as they are. API servers read them anew every second: what was created before, or
    /// in the 2 s after, is `CreatedUnproven`.
    ///
    /// It errs towards distrust: writes that changed nothing that matters (a label) count, too. It rests on `managedFields`
    /// being kept: who may write policies may also empty them. Seconds are all that a time there holds.
    #[must_use]
    pub fn last_change(
        &self,
        policies: &[ValidatingAdmissionPolicy],
        bindings: &[ValidatingAdmissionPolicyBinding],
    ) -> Option<Time> {
        let policies = policies.iter().map(|p| &p.metadata);
        policies
            .chain(bindings.iter().map(|b| &b.metadata))
            .filter(|metadata| metadata.name.as_ref().is_some_and(|name| self.0.contains_key(name)))
            .flat_map(|metadata| {
                let written = metadata.managed_fields.iter().flatten();
                // What the cluster's own controller notes in the status weakens nothing.
                let written = written.filter(|e| e.subresource.is_none()).filter_map(|e| e.time.clone());
                metadata.creation_timestamp.clone().into_iter().chain(written)
            })
            .max_by_key(|time| time.0)
    }
}

fn pair(text: &str) -> Result<(String, (ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding)), Unreadable> {
    let wrong = |what: String| Unreadable(what);
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text).map_err(|e| wrong(e.to_string()))?;
    let mut documents = documents.into_iter();
    let (Some(policy), Some(binding), None) = (documents.next(), documents.next(), documents.next()) else {
        return Err(wrong("a file is not a policy and its binding".into()));
    };
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(policy).map_err(|e| wrong(e.to_string()))?;
    let binding: ValidatingAdmissionPolicyBinding =
        serde_json::from_value(binding).map_err(|e| wrong(e.to_string()))?;
    let name = policy.metadata.name.clone().ok_or_else(|| wrong("a policy has no name".into()))?;
    Ok((name, (policy, binding)))
}

/// What makes a policy that is there weaker than the shipped one. Additional validations only make it stricter.
fn compare(
    policy: &ValidatingAdmissionPolicy,
    binding: &ValidatingAdmissionPolicyBinding,
    there: Option<&ValidatingAdmissionPolicy>,
    bound: Option<&ValidatingAdmissionPolicyBinding>,
) -> Option<&'static str> {
    let Some(there) = there.and_then(|p| p.spec.as_ref()) else { return Some("is missing") };
    let Some(bound) = bound.and_then(|b| b.spec.as_ref()) else { return Some("has no binding") };
    let (Some(policy), Some(binding)) = (policy.spec.as_ref(), binding.spec.as_ref()) else {
        return Some("was shipped without a spec");
    };
    if bound.policy_name != binding.policy_name
        || !bound.validation_actions.iter().flatten().any(|action| action == "Deny")
    {
        return Some("is bound so that it denies nothing");
    }
    if bound.param_ref.is_some() || !is_everything(bound.match_resources.as_ref()) {
        return Some("is bound to less than everything");
    }
    if there.failure_policy.as_deref().is_some_and(|p| p != "Fail") {
        return Some("lets requests pass when it fails");
    }
    if there.param_kind.is_some()
        || matched(there.match_constraints.as_ref()) != matched(policy.match_constraints.as_ref())
    {
        return Some("matches other requests");
    }
    let conditions =
        |spec: &k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicySpec| -> Vec<String> {
            spec.match_conditions.iter().flatten().map(|c| c.expression.clone()).collect()
        };
    if conditions(there) != conditions(policy) {
        return Some("has other match conditions");
    }
    let has_variable = |name: &str, expression: &str| {
        there.variables.iter().flatten().any(|v| v.name == name && v.expression == expression)
    };
    let has_validation = |expression: &str| there.validations.iter().flatten().any(|v| v.expression == expression);
    let complete = policy.variables.iter().flatten().all(|v| has_variable(&v.name, &v.expression))
        && policy.validations.iter().flatten().all(|v| has_validation(&v.expression));
    (!complete).then_some("has lost a validation")
}

fn is_everything(resources: Option<&MatchResources>) -> bool {
    resources.is_none_or(|r| matched(Some(r)) == matched(None))
}

type Matched = (
    Vec<(Vec<String>, Vec<String>, Vec<String>, Vec<String>, String)>,
    Vec<String>,
    serde_json::Value,
    serde_json::Value,
    String,
);

/// What is matched, with the API server's defaults filled in.
fn matched(resources: Option<&MatchResources>) -> Matched {
    let rule = |r: &NamedRuleWithOperations| {
        let list = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
        (
            list(&r.api_groups),
            list(&r.api_versions),
            list(&r.operations),
            list(&r.resources),
            r.scope.clone().unwrap_or_else(|| "*".into()),
        )
    };
    let default = MatchResources::default();
    let resources = resources.unwrap_or(&default);
    let selector = |s: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>| {
        serde_json::to_value(s.clone().unwrap_or_default()).unwrap_or_default()
    };
    (
        resources.resource_rules.iter().flatten().map(rule).collect(),
        resources.exclude_resource_rules.iter().flatten().map(|r| format!("{r:?}")).collect(),
        selector(&resources.namespace_selector),
        selector(&resources.object_selector),
        resources.match_policy.clone().unwrap_or_else(|| "Equivalent".into()),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use serde_json::json;

    use super::*;

    fn there() -> (Vec<ValidatingAdmissionPolicy>, Vec<ValidatingAdmissionPolicyBinding>) {
        Shipped::read().unwrap().0.into_values().unzip()
    }

    #[test]
    fn the_shipped_policies_are_what_was_shipped() {
        let (policies, bindings) = there();
        assert_eq!(policies.len(), SHIPPED.len());
        assert_eq!(Shipped::read().unwrap().compare(&policies, &bindings), None);
    }

    #[test]
    fn every_weakening_is_noticed() {
        type Weaken = fn(&mut ValidatingAdmissionPolicy, &mut ValidatingAdmissionPolicyBinding);
        let table: [(&str, Weaken); 7] = [
            ("denies nothing", |_, b| b.spec.as_mut().unwrap().validation_actions = Some(vec!["Audit".into()])),
            ("less than everything", |_, b| {
                let selector =
                    serde_json::from_value(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}})).unwrap();
                b.spec.as_mut().unwrap().match_resources = Some(selector);
            }),
            ("when it fails", |p, _| p.spec.as_mut().unwrap().failure_policy = Some("Ignore".into())),
            ("matches other requests", |p, _| p.spec.as_mut().unwrap().match_constraints = None),
            ("other match conditions", |p, _| {
                p.spec.as_mut().unwrap().match_conditions =
                    Some(vec![serde_json::from_value(json!({"name": "x", "expression": "false"})).unwrap()]);
            }),
            ("lost a validation", |p, _| p.spec.as_mut().unwrap().validations = None),
            ("is missing", |p, _| p.metadata.name = Some("other".into())),
        ];
        for (what, weaken) in table {
            let (mut policies, mut bindings) = there();
            weaken(&mut policies[0], &mut bindings[0]);
            let said = Shipped::read().unwrap().compare(&policies, &bindings).unwrap_or_default();
            assert!(said.contains(what), "{what}: {said}");
        }
    }

    #[test]
    fn the_last_change_is_the_latest_write_to_a_shipped_policy_or_binding() {
        let at = |second: i64| Time(jiff::Timestamp::from_second(second).unwrap());
        let wrote = |second: i64| {
            let entry = ManagedFieldsEntry { time: Some(at(second)), ..ManagedFieldsEntry::default() };
            Some(vec![ManagedFieldsEntry::default(), entry])
        };
        let shipped = Shipped::read().unwrap();
        let (mut policies, mut bindings) = there();
        assert_eq!(shipped.last_change(&[], &[]), None);
        assert_eq!(shipped.last_change(&policies, &bindings), None);

        for metadata in policies.iter_mut().map(|p| &mut p.metadata) {
            metadata.creation_timestamp = Some(at(100));
        }
        assert_eq!(shipped.last_change(&policies, &bindings), Some(at(100)));
        policies[3].metadata.managed_fields = wrote(200);
        assert_eq!(shipped.last_change(&policies, &bindings), Some(at(200)));
        // Made again: what was recorded on the one before is gone with it.
        bindings[5].metadata.creation_timestamp = Some(at(300));
        bindings[5].metadata.managed_fields = wrote(150);
        assert_eq!(shipped.last_change(&policies, &bindings), Some(at(300)));
        bindings[1].metadata.managed_fields = wrote(400);
        assert_eq!(shipped.last_change(&policies, &bindings), Some(at(400)));

        policies[2].metadata.managed_fields = wrote(500).map(|entries| {
            let noted = |e| ManagedFieldsEntry { subresource: Some("status".into()), ..e };
            entries.into_iter().map(noted).collect()
        });
        assert_eq!(shipped.last_change(&policies, &bindings), Some(at(400)));

        let mut foreign = policies[0].clone();
        foreign.metadata.name = Some("other".into());
        foreign.metadata.creation_timestamp = Some(at(900));
        assert_eq!(shipped.last_change(&[policies, vec![foreign]].concat(), &bindings), Some(at(400)));
    }
}
