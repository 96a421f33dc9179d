//! How much memory a lease costs that is active and at rest, as a process has it that has just read everything: in bytes, counted,
//! so that it says the same on every machine.

use allocation_counter::measure;
use serde_json::json;

use super::{Index, SOURCES};
use crate::{
    api::{CredentialLease, names, names::LeaseUid},
    cluster::fence::Kind,
    domain::{
        agenda::{Agenda, Lane, Widths},
        observed::{Child, ObjectId, Settings},
    },
    runtime::audit::Audit,
};

const LEASES: u64 = 1000;
/// What an allocator needs beside each piece, at the least.
const OVERHEAD: u64 = 8;
/// 1,880 were counted when this was written. Maps of a thousand are half empty, which is as bad as it gets.
const MOST: u64 = 1950;

fn uid(n: u64) -> String {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-4000-8000-{:012x}", n >> 32, n & 0xffff, n & 0xffff_ffff_ffff)
}

/// As many hexadecimal digits as a digest has, others for each `n`.
fn digest(n: u64) -> String {
    (0..4).map(|part| format!("{:016x}", (4 * n + part + 1).wrapping_mul(0xd134_2543_de82_ef95))).collect()
}

/// A lease with a TokenRequest delivery, as Leasehold writes it.
fn lease(n: u64) -> CredentialLease {
    let (namespace, name, uid) = (format!("team-{:02}", n % 50), format!("nightly-{n:06}"), uid(n));
    let lease = LeaseUid::parse(&uid).unwrap();
    let (issued, expires) = (format!("2026-11-28T18:35:42.{:03}Z", n % 1000), "2026-11-29T02:35:41Z");
    let account = names::account(&namespace, "reader", &lease, 1_795_920_941);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "observedGeneration": 1, "lastTransitionTime": issued, "reason": reason, "message": message});
    let agreed = format!("sha256:{}", digest(n));
    let record = |seq: i64, event: &str, actor: &str, detail: &str| json!({"seq": seq, "time": issued, "event": event, "actor": actor, "detail": detail});
    serde_json::from_value(json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
        "metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": (70_000 + 9 * n).to_string(), "generation": 1,
            "creationTimestamp": "2026-11-28T18:35:41Z"},
        "spec": {"lifecycleRef": {"name": "reader"}, "grants": ["read"], "ttl": "8h", "reason": "reads the ledger",
            "delivery": {"type": "TokenRequest"}, "requestedBy": {"username": "ledger-bot"}},
        "status": {"observedGeneration": 1, "phase": "Active",
            "request": {"requester": {"username": "ledger-bot"}, "lifecycle": {"name": "reader", "uid": "0b7b1ab5-93c8-4a6e-8f0a-6c1b3f6f4d21"},
                "grants": [{"name": "read", "namespace": namespace, "roleRef": {"kind": "ClusterRole", "name": "ledger-reader"},
                    "roleUID": "6d3c9f10-57f2-4f0b-9a5d-b1c4f7a2e813", "rulesDigest": format!("sha256:{}", digest(1 << 32)),
                    "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]}],
                "ttl": "8h", "audiences": ["https://kubernetes.default.svc"], "delivery": {"type": "TokenRequest"}},
            "requestDigest": agreed, "issueTime": issued, "expirationTime": expires,
            "credential": {"serviceAccount": {"namespace": "leasehold-leases", "name": account, "uid": self::uid(n + (1 << 20))}},
            "bindings": [{"grant": "read", "namespace": namespace, "name": names::binding(&lease, "read"), "uid": self::uid(n + (2 << 20))}],
            "history": {"seed": digest(n + (1 << 20)), "head": digest(n + (2 << 20)), "records": [
                record(1, "Requested", "ledger-bot", "reader: reads the ledger"),
                record(2, "Allowed", "leasehold", "every term of the lifecycle is met"),
                record(3, "Issued", "leasehold", &agreed)]},
            "conditions": [
                condition("Allowed", "True", "TermsMet", "every term of the lifecycle is met"),
                condition("Active", "True", "Active", &format!("usable until {expires}")),
                condition("Approved", "True", "NotRequired", "the lifecycle's terms ask nobody"),
                condition("Issued", "True", "Delivered",
                    &format!("mint with: kubectl create token {account} -n leasehold-leases --duration=600s")),
                condition("Revoked", "False", "NotEnded", "the lease is active")]},
    }))
    .unwrap()
}

/// What is made for it.
fn children(n: u64, lease: &LeaseUid) -> Vec<(Kind, Child, ObjectId)> {
    let issuing = names::ISSUING_NAMESPACE;
    let id = |namespace: &str, name: String, kind: u64| ObjectId {
        namespace: namespace.into(),
        name,
        uid: uid(n + (kind << 20)),
    };
    let home = format!("team-{:02}", n % 50);
    vec![
        (Kind::Account, Child::Account, id(issuing, names::account(&home, "reader", lease, 1_795_920_941), 1)),
        (Kind::Binding, Child::Binding("read".into()), id(&home, names::binding(lease, "read"), 2)),
        (Kind::Job, Child::Job, id(issuing, names::issuing(lease), 3)),
        (Kind::Role, Child::MintRole, id(issuing, names::issuing(lease), 4)),
        (Kind::Binding, Child::MintBinding, id(issuing, names::issuing(lease), 5)),
    ]
}

/// Bytes that stay allocated, a lease.
fn weighs(work: impl FnOnce()) -> u64 {
    let counted = measure(work);
    let (bytes, pieces) = (counted.bytes_current, counted.count_current);
    u64::try_from(bytes).unwrap_or_default() / LEASES + u64::try_from(pieces).unwrap_or_default() * OVERHEAD / LEASES
}

#[test]
fn a_resting_lease_costs_at_most_so_many_bytes() {
    let (audit, _) = Audit::to(std::io::sink()).unwrap();
    let index = Index::new(audit, Settings { retention_millis: 1, require_policy: false });
    SOURCES.into_iter().for_each(|source| index.list_begins(source));
    let leases: Vec<CredentialLease> = (0..LEASES).map(lease).collect();
    let uids: Vec<LeaseUid> = (0..LEASES).filter_map(|n| LeaseUid::parse(&uid(n))).collect();
    _ = index.lease_applied(&lease(LEASES));
    index.forget(&LeaseUid::parse(&uid(LEASES)).unwrap());

    let itself = weighs(|| leases.iter().for_each(|lease| drop(index.lease_applied(lease))));
    let objects = weighs(|| {
        for (n, uid) in (0..).zip(&uids) {
            for (kind, child, id) in children(n, uid) {
                _ = index.child_applied(kind, *uid, child, id, None);
            }
        }
    });
    let mut agenda = Agenda::new(Widths { issue: 1, end: 1, retry: 1 });
    let deadline = weighs(|| {
        for (at, uid) in (1..).zip(&uids) {
            _ = agenda.wake(*uid, "team-01", Lane::End, at);
        }
    });
    SOURCES.into_iter().for_each(|source| drop(index.list_ends(source)));
    let visited =
        weighs(|| uids.iter().for_each(|uid| index.observe(uid).iter().for_each(|seen| index.remember(seen))));

    let each = itself + objects + deadline + visited;
    println!(
        "{each} bytes a lease: itself {itself}, its objects {objects}, its deadline {deadline}, what a visit leaves {visited}"
    );
    assert!(each <= MOST, "a lease costs {each} bytes, and may cost {MOST}");
}
