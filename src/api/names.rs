//! Names that others rely on: namespaces, labels, and how everything made for a lease is called.

use std::fmt;

use super::uid::{Text, Uid};

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "leasehold-system";
/// The operator's ServiceAccount, in [`OPERATOR_NAMESPACE`].
pub const OPERATOR_ACCOUNT: &str = "leasehold";
/// The user name under which the policies know the operator.
pub const OPERATOR_USERNAME: &str = "system:serviceaccount:leasehold-system:leasehold";
/// The Lease of coordination.k8s.io that the operator's replicas elect their leader by, in [`OPERATOR_NAMESPACE`].
pub const LEADER_LEASE: &str = "leasehold";
/// Namespace of the leases' ServiceAccounts; nobody but the operator may write there.
pub const ISSUING_NAMESPACE: &str = "leasehold-leases";
/// Label with the UID of the lease an object was made for.
pub const LABEL_LEASE_UID: &str = "leasehold.dev/lease-uid";
/// Label with the name of the lifecycle.
pub const LABEL_LIFECYCLE: &str = "leasehold.dev/lifecycle";
/// Label with the namespace of the lease and its lifecycle.
pub const LABEL_NAMESPACE: &str = "leasehold.dev/namespace";
/// Label with the grant a RoleBinding is for.
pub const LABEL_GRANT: &str = "leasehold.dev/grant";
/// The recommended label that says who manages an object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`], and the field manager of every write.
pub const MANAGER: &str = "leasehold";
/// Annotation `<namespace>/<name>` of the lease.
pub const ANNOTATION_LEASE: &str = "leasehold.dev/lease";
/// Annotation of a ledger: the names of the steps that it tells how to take back, in their order, separated by commas.
pub const ANNOTATION_STEPS: &str = "leasehold.dev/steps";
/// Annotation of a ledger: the digest of the workflow that it was written for.
pub const ANNOTATION_WORKFLOW: &str = "leasehold.dev/workflow-digest";
/// Annotation of a lease that ends with the command it was made for (value [`WITH_COMMAND`]): no other command uses it.
pub const ANNOTATION_ENDS_WITH: &str = "leasehold.dev/ends-with";
/// Value of [`ANNOTATION_ENDS_WITH`].
pub const WITH_COMMAND: &str = "command";
/// Label with the name of the standing credential that a lease or a Secret is for.
pub const LABEL_STANDING: &str = "leasehold.dev/standing";
/// Annotation by which a workload lets Leasehold restart it when the Secret of a standing credential that it mounts changes;
/// value [`RESTART_ALLOWED`].
pub const ANNOTATION_RESTART: &str = "leasehold.dev/restart";
/// Value of [`ANNOTATION_RESTART`].
pub const RESTART_ALLOWED: &str = "Allow";
/// Annotation of a pod template: which lease it was restarted for, by Secret.
pub const ANNOTATION_RESTARTED_FOR: &str = "leasehold.dev/restarted-for";
/// Annotation of a workload: what its template's [`ANNOTATION_RESTARTED_FOR`] said before. Nothing else of a workload is written.
pub const ANNOTATION_RESTARTED_FROM: &str = "leasehold.dev/restarted-from";
/// Type of the Secret that delivers a token. Types are immutable, so policy can rest on it where a label would not do.
pub const SECRET_TYPE: &str = "leasehold.dev/credential";

/// UID of a lease: what everything made for it is named after.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseUid(Uid);

impl LeaseUid {
    /// Takes a UID as the API server gives it (RFC 4122, 36 characters). `None` for anything else.
    #[must_use]
    pub fn parse(uid: &str) -> Option<Self> {
        Uid::parse(uid).map(Self)
    }

    /// The 32 hexadecimal digits without dashes.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:032x}", self.number())
    }

    /// As the API server writes it.
    #[must_use]
    pub fn text(&self) -> Text {
        self.0.text()
    }

    /// Its 128 bits, big-endian.
    #[must_use]
    pub fn number(&self) -> u128 {
        self.0.number()
    }
}

impl PartialEq<str> for LeaseUid {
    fn eq(&self, uid: &str) -> bool {
        *self.text() == *uid
    }
}

impl fmt::Display for LeaseUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LeaseUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeaseUid").field(&&*self.text()).finish()
    }
}

/// Name of the ServiceAccount of a lease: `<namespace>.<lifecycle>.<32 hex of the lease UID>.<deadline, unix seconds>`.
///
/// Audit logs and foreign trust policies can read it, and a static policy reads the deadline out of it.
#[must_use]
pub fn account(namespace: &str, lifecycle: &str, lease: &LeaseUid, deadline_seconds: i64) -> String {
    format!("{namespace}.{lifecycle}.{}.{deadline_seconds}", lease.hex())
}

/// The deadline (unix seconds) in an account's name, if the name belongs to this lease.
#[must_use]
pub fn account_deadline(name: &str, lease: &LeaseUid) -> Option<i64> {
    let mut parts = name.split('.');
    let (_, _, hex, deadline) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && hex == lease.hex()).then(|| deadline.parse().ok()).flatten()
}

/// Name of the backstop Job, of the Role and RoleBinding through which a requester mints, and of the ledger.
#[must_use]
pub fn issuing(lease: &LeaseUid) -> String {
    format!("lease-{}", lease.hex())
}

/// Name of the RoleBinding that gives one grant.
#[must_use]
pub fn binding(lease: &LeaseUid, grant: &str) -> String {
    format!("leasehold-{}-{grant}", lease.hex())
}

/// Name of the delivered Secret if the lease names none.
#[must_use]
pub fn default_secret(lease_name: &str) -> String {
    format!("lease-{lease_name}")
}

/// `<namespace>/<name>` of a lease in the annotation of an object made for it. `None` for anything that names no lease: whoever
/// may write RoleBindings writes annotations, and these words become a part of a path.
#[must_use]
pub fn lease_in(annotation: &str) -> Option<(&str, &str)> {
    let label = |word: &str| {
        let ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        word.len() <= 63
            && word.bytes().all(|c| ends(c) || c == b'-')
            && word.bytes().next().is_some_and(ends)
            && word.bytes().last().is_some_and(ends)
    };
    annotation.split_once('/').filter(|(namespace, name)| label(namespace) && label(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> LeaseUid {
        LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000000").unwrap()
    }

    #[test]
    fn an_accounts_name_tells_its_deadline_to_its_own_lease_only() {
        let name = account("payments", "nightly", &uid(), 1_764_000_000);
        assert_eq!(name, "payments.nightly.5f2c8a8e000040008000000000000000.1764000000");
        assert_eq!(account_deadline(&name, &uid()), Some(1_764_000_000));
        let other = LeaseUid::parse("6f2c8a8e-0000-4000-8000-000000000000").unwrap();
        assert_eq!(account_deadline(&name, &other), None);
        assert_eq!(account_deadline("a.b.c", &uid()), None);
    }

    #[test]
    fn only_real_uids_name_anything() {
        for bad in ["", "x", "5F2C8A8E-0000-4000-8000-000000000000", "5f2c8a8e00004000800000000000000000000"] {
            assert_eq!(LeaseUid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_annotation_that_names_no_lease_is_no_path() {
        assert_eq!(lease_in("payments/nightly-1"), Some(("payments", "nightly-1")));
        let long = format!("ns/{}", "a".repeat(64));
        for bad in [
            "",
            "/",
            "ns/",
            "/x",
            "ns",
            "ns/?watch=true",
            "ns/../../x",
            "ns/a/b",
            "ns/A",
            "ns/a.b",
            "n s/a",
            "ns/-a",
            &long,
        ] {
            assert_eq!(lease_in(bad), None, "{bad}");
        }
    }
}
