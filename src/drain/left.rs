//! What is left of leases. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{
    Condition, CredentialLease,
    condition::{self, ConditionStatus},
    reasons::{ConditionType, Phase},
};

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every lease that can be decoded.
    pub(super) leases: Vec<CredentialLease>,
    /// Leases that cannot: namespace and name.
    pub(super) unreadable: Vec<(String, String)>,
    /// Accounts of leases.
    pub(super) accounts: Vec<ObjectMeta>,
    /// RoleBindings of leases, anywhere.
    pub(super) bindings: Vec<ObjectMeta>,
}

/// An account, to be deleted as this one and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: String,
}

/// What is left: one line each.
#[derive(Debug, Default)]
pub(super) struct Left {
    waiting: Vec<String>,
    live: Vec<String>,
    unproven: Vec<String>,
    /// Dead, and what their workflows did in other systems is not taken back: only an operator tries that on.
    not_taken_back: Vec<String>,
    unreadable: Vec<String>,
    bindings: Vec<String>,
    pub(super) accounts: Vec<Account>,
}

impl Left {
    pub(super) fn of(found: &Found) -> Self {
        let mut left = Self {
            unreadable: found
                .unreadable
                .iter()
                .map(|(namespace, name)| format!("CredentialLease {namespace}/{name}: it cannot be decoded; delete it"))
                .collect(),
            bindings: found.bindings.iter().map(|metadata| format!("RoleBinding {}", place(metadata))).collect(),
            accounts: found.accounts.iter().map(account).collect(),
            ..Self::default()
        };
        for lease in &found.leases {
            let phase = lease.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending);
            let line = format!("CredentialLease {}: {phase}{}", place(&lease.metadata), why(lease));
            match phase {
                phase if phase.is_final() && open(lease, ConditionType::RolledBack).is_none() => {}
                phase if phase.is_final() => left.not_taken_back.push(line),
                Phase::Active | Phase::Issuing => left.live.push(line),
                Phase::Ending => left.unproven.push(line),
                _ => left.waiting.push(line),
            }
        }
        left
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn count(&self) -> usize {
        self.leases().count() + self.bindings.len() + self.accounts.len()
    }

    fn leases(&self) -> impl Iterator<Item = &String> {
        self.live.iter().chain(&self.unproven).chain(&self.not_taken_back).chain(&self.waiting).chain(&self.unreadable)
    }

    /// How far it is, in one line.
    pub(super) fn progress(&self) -> String {
        let mut text = format!(
            "{} live, {} ended and not yet proven, {} not yet taken back, {} waiting; {} accounts, {} RoleBindings",
            self.live.len(),
            self.unproven.len(),
            self.not_taken_back.len(),
            self.waiting.len(),
            self.accounts.len(),
            self.bindings.len()
        );
        if !self.unreadable.is_empty() {
            text.push_str(&format!("; {} unreadable", self.unreadable.len()));
        }
        text
    }

    /// Each, one a line.
    pub(super) fn lines(&self) -> Vec<String> {
        let account =
            |account: &Account| format!("ServiceAccount {}/{}", crate::api::names::ISSUING_NAMESPACE, account.name);
        let accounts = self.accounts.iter().map(account);
        self.leases()
            .cloned()
            .chain(accounts)
            .chain(self.bindings.iter().cloned())
            .map(|line| format!("  {line}"))
            .collect()
    }
}

fn account(metadata: &ObjectMeta) -> Account {
    Account { name: metadata.name.clone().unwrap_or_default(), uid: metadata.uid.clone().unwrap_or_default() }
}

fn place(metadata: &ObjectMeta) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}

/// A condition that it has, and that is not True.
fn open(lease: &CredentialLease, kind: ConditionType) -> Option<&Condition> {
    let conditions = lease.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition::find(conditions, kind.as_str()).filter(|condition| condition.status != ConditionStatus::True)
}

/// What its conditions say about why it is not over: it is not proven, or else something is not taken back.
fn why(lease: &CredentialLease) -> String {
    let found = open(lease, ConditionType::Revoked).or_else(|| open(lease, ConditionType::RolledBack));
    found.map(|condition| format!(": {}", condition.message)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(name: &str, status: serde_json::Value) -> CredentialLease {
        serde_json::from_value(json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease", "metadata": {"namespace": "ns", "name": name},
            "spec": {"lifecycleRef": {"name": "lc"}, "reason": "r", "delivery": {"type": "TokenRequest"}, "requestedBy": {"username": "ci"}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn nothing_is_left_once_every_lease_is_over_and_nothing_of_one_is_there() {
        let over = ["Completed", "Expired", "Revoked", "Denied", "Failed"].map(|p| lease("l", json!({"phase": p})));
        let mut found = Found { leases: over.to_vec(), ..Found::default() };
        assert!(Left::of(&found).is_nothing());
        found.accounts.push(ObjectMeta { name: Some("a".into()), uid: Some("u".into()), ..ObjectMeta::default() });
        assert_eq!(Left::of(&found).accounts, [Account { name: "a".into(), uid: "u".into() }]);
        found = Found { bindings: vec![ObjectMeta::default()], ..Found::default() };
        assert!(!Left::of(&found).is_nothing());
        found = Found { unreadable: vec![("ns".into(), "odd".into())], ..Found::default() };
        assert!(!Left::of(&found).is_nothing());
    }

    #[test]
    fn what_is_left_is_named_with_what_its_condition_says() {
        let message = "system ci does not answer: the step cannot be taken back";
        let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-11-24T12:00:00Z"});
        let proven = json!({"phase": "Revoked", "conditions": [condition("Revoked", "True", ""), condition("RolledBack", "False", message)]});
        let undone = json!({"phase": "Ending", "conditions": [condition("Revoked", "Unknown", "waits"), condition("RolledBack", "False", message)]});
        let found = Found {
            leases: vec![
                lease("new", json!(null)),
                lease("live", json!({"phase": "Active"})),
                lease("proven", proven),
                lease("stuck", undone),
            ],
            ..Found::default()
        };
        let left = Left::of(&found);
        assert_eq!(
            left.progress(),
            "1 live, 1 ended and not yet proven, 1 not yet taken back, 1 waiting; 0 accounts, 0 RoleBindings"
        );
        assert_eq!(
            left.lines(),
            [
                "  CredentialLease ns/live: Active".to_owned(),
                "  CredentialLease ns/stuck: Ending: waits".to_owned(),
                format!("  CredentialLease ns/proven: Revoked: {message}"),
                "  CredentialLease ns/new: Pending".to_owned(),
            ]
        );
    }
}
