use serde_json::json;

use super::*;
use crate::api::names;

const UID: &str = "5f2c8a8e-0000-4000-8000-000000000000";
const NOW: i64 = 1_800_000_000_000;

fn uid() -> LeaseUid {
    LeaseUid::parse(UID).unwrap()
}

/// An index of a process that has just started.
fn started() -> Index {
    let (audit, _) = Audit::to(std::io::sink());
    Index::new(audit, Settings { retention_millis: 1 }, Time::from_millis(NOW))
}

/// An index whose first lists are there, all of them empty.
fn synced() -> Index {
    let index = started();
    for source in SOURCES {
        index.list_begins(source);
        _ = index.list_ends(source);
    }
    index
}

/// A lease of ten minutes that was issued at `NOW`.
fn lease(version: u64, change: impl FnOnce(&mut serde_json::Value)) -> CredentialLease {
    let mut lease = json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
        "metadata": {"namespace": "ns", "name": "lease", "uid": UID, "resourceVersion": version.to_string(), "generation": 1,
            "creationTimestamp": "2027-01-15T08:00:00Z"},
        "spec": {"lifecycleRef": {"name": "lc"}, "grants": ["a"], "reason": "r", "delivery": {"type": "TokenRequest"},
            "requestedBy": {"username": "ci"}},
        "status": {"phase": "Active", "issueTime": "2027-01-15T08:00:00Z", "expirationTime": "2027-01-15T08:10:00Z",
            "bindings": [{"grant": "a", "namespace": "ns", "name": names::binding(&uid(), "a"), "uid": "ours"}]},
    });
    change(&mut lease);
    serde_json::from_value(lease).unwrap()
}

/// When the first visit of the lease's end is wished for, in milliseconds after `NOW`.
fn first_end(wishes: &Wishes) -> Option<i64> {
    let ends = wishes.visits.iter().filter(|wish| wish.lane == Lane::End);
    ends.map(|wish| wish.at.map_or(0, |at| at.as_millis() - NOW)).min()
}

#[test]
fn a_lease_that_a_new_list_lacks_is_asked_for_now_and_not_at_its_deadline() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| ()));
    index.list_begins(Source::Leases);
    assert_eq!(first_end(&index.list_ends(Source::Leases)), Some(0));
}

#[test]
fn a_deletion_that_a_finalizer_holds_ends_the_lease_now() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| ()));
    let held = lease(8, |l| l["metadata"]["deletionTimestamp"] = "2027-01-15T08:01:00Z".into());
    assert_eq!(first_end(&index.lease_applied(&held)), Some(0));
}

#[test]
fn an_end_that_a_crash_cut_short_goes_on_at_once() {
    let index = synced();
    let ending = lease(7, |l| {
        l["status"]["phase"] = "Ending".into();
        l["status"]["endTime"] = "2027-01-15T08:01:00Z".into();
        l["status"]["endReason"] = "LifecycleStopped".into();
    });
    assert_eq!(first_end(&index.lease_applied(&ending)), Some(60_000), "since it ended, not at its deadline");

    let index = started();
    for source in SOURCES {
        index.list_begins(source);
    }
    _ = index.lease_applied(&ending);
    let wishes = SOURCES.map(|source| first_end(&index.list_ends(source)));
    assert_eq!(wishes.into_iter().flatten().min(), Some(60_000));
}
