use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use futures::FutureExt as _;
use serde_json::json;

use super::*;
use crate::{
    api::{CredentialLease, ServiceAccountLifecycle, names, reasons::Phase},
    domain::{
        call::{Answer, Call},
        observed::{Child, Known, ObjectId, Presence},
        refusal::Refusal,
    },
    runtime::audit::Writer,
};

const UID: &str = "5f2c8a8e-0000-4000-8000-000000000000";
const NOW: i64 = 1_800_000_000_000;

fn uid() -> LeaseUid {
    LeaseUid::parse(UID).unwrap()
}

/// An index of a process that has just started, and leads.
fn started() -> Index {
    let (audit, _) = Audit::to(std::io::sink()).unwrap();
    let index = Index::new(audit, Settings { retention_millis: 1, require_policy: false });
    _ = index.lead(Time::from_millis(NOW));
    index
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

/// Its lifecycle, created a second after it.
fn lifecycle() -> ServiceAccountLifecycle {
    serde_json::from_value(json!({
        "apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle",
        "metadata": {"namespace": "ns", "name": "lc", "uid": "l", "creationTimestamp": "2027-01-15T08:00:01Z"},
        "spec": {"owner": {"team": "t", "contact": "c"}, "purpose": "p", "class": "Pipeline",
            "terms": {"ttl": {"max": "1h"}, "maxActive": 2, "delivery": ["TokenRequest"], "approval": {"type": "NotRequired"}}},
    }))
    .unwrap()
}

/// When the first visit of the lease's end is wished for, in milliseconds after `NOW`.
fn first_end(wishes: &Wishes) -> Option<i64> {
    let ends = wishes.visits.iter().filter(|wish| wish.lane == Lane::End);
    ends.map(|wish| wish.at.map_or(0, |at| at.as_millis() - NOW)).min()
}

#[test]
fn lifecycles_are_looked_at_once_when_every_first_list_is_there_and_not_with_each_lease_until_then() {
    let index = started();
    SOURCES.into_iter().for_each(|source| index.list_begins(source));
    assert!(index.lease_applied(&lease(1, |_| {})).lifecycles.is_empty());
    let (last, first) = SOURCES.split_last().unwrap();
    first.iter().for_each(|source| assert!(index.list_ends(*source).lifecycles.is_empty()));
    _ = index.lifecycle_applied(lifecycle());
    let its = [("ns".to_owned(), "lc".to_owned())];
    assert_eq!(index.list_ends(*last).lifecycles, its);
    assert_eq!(index.lease_applied(&lease(2, |_| {})).lifecycles, its);
    assert_eq!(index.lease_applied(&lease(2, |_| {})).lifecycles, its, "its status may count another number now");
    // As at a takeover: nothing is new.
    assert_eq!(index.lead(Time::from_millis(NOW)).lifecycles, its, "whatever becomes of the lists");
    WRITTEN.into_iter().for_each(|source| index.list_begins(source));
    assert!(index.lease_applied(&lease(2, |_| {})).lifecycles.is_empty());
}

/// An index, and a byte for each line of its audit stream.
fn heard() -> (Index, Writer, Receiver<u8>) {
    struct Told(Sender<u8>);
    impl std::io::Write for Told {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            _ = line.iter().filter(|byte| **byte == b'\n').try_for_each(|byte| self.0.send(*byte));
            Ok(line.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (told, heard) = channel();
    let (audit, writer) = Audit::to(Told(told)).unwrap();
    (Index::new(audit, Settings { retention_millis: 1, require_policy: false }), writer, heard)
}

/// A lease with so many records.
fn recorded(version: u64, records: usize) -> CredentialLease {
    let record =
        |seq| json!({"seq": seq, "time": "2027-01-15T08:00:00Z", "event": "Requested", "actor": "ci", "detail": ""});
    let history = json!({"seed": "s", "head": "h", "records": (1..=records).map(record).collect::<Vec<_>>()});
    lease(version, |lease| lease["status"]["history"] = history)
}

#[tokio::test]
async fn what_a_watch_tells_of_is_told_once_everything_is_listed_and_from_then_on_as_it_comes() {
    let (index, writer, heard) = heard();
    let more = || heard.recv_timeout(Duration::from_millis(300)).is_ok();
    _ = index.lead(Time::from_millis(NOW + 1_000));
    _ = index.lease_applied(&recorded(7, 1));
    assert!(!more(), "ends go first");
    index.tell_everything().await;
    assert!(more());
    _ = index.lease_applied(&recorded(8, 2));
    assert!(more() && !more(), "each record once");
    drop(index);
    writer.finish().await;
}

#[tokio::test]
async fn a_lease_that_is_forgotten_before_everything_is_listed_takes_no_record_along() {
    let (index, writer, heard) = heard();
    _ = index.lead(Time::from_millis(NOW + 1_000));
    _ = index.lease_applied(&recorded(7, 2));
    index.forget(&uid());
    drop(index);
    writer.finish().await;
    assert_eq!(heard.iter().count(), 2);
}

#[test]
fn other_leases_are_counted_only_for_one_that_is_new_and_where_a_place_is_taken() {
    let index = synced();
    _ = index.lifecycle_applied(lifecycle());
    let apply = |n: u64, status: Option<serde_json::Value>| {
        let uid = format!("5f2c8a8e-0000-4000-8000-00000000000{n}");
        _ = index.lease_applied(&lease(n, |lease| {
            lease["metadata"]["uid"] = json!(uid);
            lease["metadata"]["name"] = json!(format!("lease-{n}"));
            if let Some(status) = status {
                lease["status"] = status;
            }
        }));
        LeaseUid::parse(&uid).unwrap()
    };
    let (issued, _) = (apply(1, None), apply(2, None));
    let new = apply(3, Some(json!({})));
    let request = json!({"requester": {"username": "ci"}, "lifecycle": {"name": "lc", "uid": "l"}, "grants": [], "ttl": "10m",
        "audiences": [], "delivery": {"type": "TokenRequest"}});
    let judged = apply(4, Some(json!({"request": request})));
    let live = |uid| index.observe(&uid).unwrap().live;
    assert_eq!((live(new), live(judged), live(issued)), (Some((2, 2)), None, None));
    assert!(matches!(index.reserve(&judged), Some(Refusal::TooManyActive { .. })));
}

#[test]
fn a_replica_that_stands_by_forgets_a_deleted_lease_of_which_nothing_is_left() {
    let (index, _, _) = heard();
    let account = ObjectId { namespace: names::ISSUING_NAMESPACE.into(), name: "a".into(), uid: "account".into() };
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = index.child_applied(Kind::Account, uid(), Child::Account, account, None);
    _ = index.lease_deleted(UID);
    let (begun, hours) = (Instant::now(), |n| Duration::from_hours(n));
    let later =
        |n| index.inner().departs(LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000009").unwrap(), begun + hours(n));
    later(2);
    assert!(index.observe(&uid()).is_some(), "its account is still there");
    _ = index.child_deleted(&uid(), "account");
    later(2);
    assert!(index.observe(&uid()).is_some(), "whoever leads may have to tell of it");
    later(4);
    assert!(index.observe(&uid()).is_none());
}

#[test]
fn a_deleted_lease_keeps_its_place_in_the_quotas_as_long_as_its_account() {
    let index = synced();
    let account = ObjectId { namespace: names::ISSUING_NAMESPACE.into(), name: "a".into(), uid: "account".into() };
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = index.child_applied(Kind::Account, uid(), Child::Account, account, None);
    _ = index.lease_deleted(UID);
    assert_eq!(index.counters("ns", "lc").0, 1);
    _ = index.child_deleted(&uid(), "account");
    assert_eq!(index.counters("ns", "lc").0, 0);
}

#[tokio::test]
async fn who_is_stopped_while_it_tells_everything_tells_the_rest() {
    let (index, writer, heard) = heard();
    _ = index.lead(Time::from_millis(NOW + 1_000));
    let leases = super::records::TOLD_IN_A_TURN + 1;
    for n in 0..leases {
        let mut one = recorded(7, 1);
        one.metadata.name = Some(format!("l{n}"));
        one.metadata.uid = Some(format!("{n:08x}-0000-4000-8000-000000000000"));
        _ = index.lease_applied(&one);
    }
    assert!(index.tell_everything().now_or_never().is_none(), "others have their turn");
    index.tell_everything().await;
    drop(index);
    writer.finish().await;
    assert_eq!(heard.iter().count(), leases);
}

#[tokio::test]
async fn a_replica_that_stands_by_tells_nothing_and_begins_with_the_ends_once_it_leads() {
    let (index, writer, heard) = heard();
    for source in SOURCES {
        index.list_begins(source);
        _ = index.list_ends(source);
    }
    _ = index.lease_applied(&recorded(7, 1));
    index.tell_everything().await;
    assert!(!index.leads() && index.unsynced().is_empty());

    let first = index.lead(Time::from_millis(NOW + 1_000));
    assert_eq!((first_end(&first), first.visits.len()), (Some(600_000), 1), "an end needs no list");
    assert_eq!(index.unsynced(), WRITTEN, "what the leader before has written is listed again");
    let end = |source| {
        index.list_begins(source);
        _ = index.lease_applied(&lease(7, |_| ()));
        index.list_ends(source).visits.len()
    };
    assert_eq!(WRITTEN.map(end), [0, 1], "only then everything is woken");
    index.tell_everything().await;
    index.tell_everything().await;
    drop(index);
    writer.finish().await;
    assert_eq!(heard.iter().count(), 1, "each record once, and none before it led");
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

fn binding(index: &Index, namespace: &str, object: &str, annotation: &str) -> Wishes {
    let id = ObjectId { namespace: namespace.into(), name: names::binding(&uid(), "a"), uid: object.into() };
    index.child_applied(Kind::Binding, uid(), Child::Binding("a".into()), id, Some(annotation))
}

fn seen(index: &Index) -> Known {
    index.observe(&uid()).unwrap().child(&Child::Binding("a".into())).clone()
}

#[test]
fn a_rolebinding_that_only_bears_our_name_is_looked_at_before_it_counts() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |l| l["status"] = json!({})));
    _ = binding(&index, "ns", "forged", "ns/lease");
    assert_eq!(seen(&index), Known::Absent, "not used unseen");
    let claims = index.observe(&uid()).unwrap().claims;
    assert_eq!(claims.len(), 1, "nor deleted unseen: {claims:?}");
    let id = ObjectId { namespace: "ns".into(), name: names::binding(&uid(), "a"), uid: "forged".into() };
    let call = Call::Create(Child::Binding("a".into()));
    index.note(&index.observe(&uid()).unwrap(), &call, &Answer::Present(id.clone()));
    _ = binding(&index, "ns", "forged", "ns/lease");
    assert_eq!(seen(&index), Known::Present(id), "our own call has compared it");
}

#[test]
fn a_rolebinding_of_another_namespace_is_no_part_of_a_lease() {
    let index = synced();
    // As a first list may have it, before the lease and before our own.
    _ = binding(&index, "attacker", "forged", "attacker/lease");
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = binding(&index, "ns", "ours", "ns/lease");
    _ = binding(&index, "attacker", "another", "attacker/lease");
    let observed = index.observe(&uid()).unwrap();
    assert!(matches!(&observed.children[&Child::Binding("a".into())], Known::Present(id) if id.uid == "ours"));
    assert_eq!(observed.strays, []);
    assert_eq!(observed.claims.len(), 2, "each is looked at before anything is done with it");
    for (child, id) in &observed.claims {
        let call = Call::Inspect { child: child.clone(), id: id.clone() };
        index.note(&observed, &call, &Answer::Stranger);
    }
    assert_eq!(index.observe(&uid()).unwrap().claims, [], "and left alone once it is known to be nobody's of ours");
    assert_eq!(binding(&index, "attacker", "another", "attacker/lease"), Wishes::default());
}

#[test]
fn a_rolebinding_in_the_place_of_ours_does_not_stand_for_it() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = binding(&index, "ns", "ours", "ns/lease");
    _ = index.child_deleted(&uid(), "ours");
    _ = binding(&index, "ns", "forged", "ns/lease");
    assert_eq!(seen(&index), Known::Absent);
}

#[test]
fn a_rolebinding_that_names_no_lease_of_its_namespace_starts_nothing() {
    for annotation in ["ns/?watch=true", "ns/../../x", "", "other/lease"] {
        let index = synced();
        assert_eq!(binding(&index, "ns", "forged", annotation), Wishes::default(), "{annotation}");
        assert!(index.observe(&uid()).is_none());
    }
}

#[test]
fn an_account_that_a_watch_told_of_during_a_visit_is_remembered() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |l| l["status"] = json!({})));
    let visit = index.observe(&uid()).unwrap();
    let name = names::account("ns", "lc", &uid(), 1_800_000_600);
    let id = ObjectId { namespace: names::ISSUING_NAMESPACE.into(), name, uid: "account".into() };
    _ = index.child_applied(Kind::Account, uid(), Child::Account, id.clone(), None);
    _ = index.child_deleted(&uid(), "account");
    index.remember(&visit);
    assert_eq!(index.observe(&uid()).unwrap().memory.account, Some(id));
}

#[test]
fn an_end_is_overdue_while_the_account_is_there_and_no_longer() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| ()));
    let overdue = |after| index.census(Time::from_millis(NOW + after)).overdue;
    assert_eq!(overdue(615_000), Waits::default(), "nothing is there that gives rights");
    let name = names::account("ns", "lc", &uid(), 1_800_000_600);
    let id = ObjectId { namespace: names::ISSUING_NAMESPACE.into(), name, uid: "account".into() };
    _ = index.child_applied(Kind::Account, uid(), Child::Account, id, None);
    assert_eq!(overdue(599_999), Waits::default(), "its time is not up");
    assert_eq!(overdue(615_000), Waits { count: 1, oldest_millis: 15_000 });
    // An end that came before its time counts from then.
    let ended = lease(8, |l| l["status"]["endTime"] = "2027-01-15T08:01:00Z".into());
    _ = index.lease_applied(&ended);
    assert_eq!(overdue(61_000), Waits { count: 1, oldest_millis: 1_000 });
    _ = index.child_deleted(&uid(), "account");
    assert_eq!(overdue(615_000), Waits::default());
}

#[test]
fn whoever_waits_for_people_is_counted_since_he_asked() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |l| l["status"] = json!({"phase": "AwaitingApproval"})));
    let census = index.census(Time::from_millis(NOW + 90_000));
    assert_eq!(census.asked, Waits { count: 1, oldest_millis: 90_000 });
    assert_eq!(census.phases[&Phase::AwaitingApproval], 1);
    assert_eq!(census.live.values().sum::<usize>(), 0, "it holds nothing");
}

#[test]
fn a_rolebinding_that_a_list_lacks_is_asked_for_and_known_again_if_it_is_there() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = binding(&index, "ns", "ours", "ns/lease");
    index.list_begins(Source::Children(Kind::Binding));
    assert_eq!(first_end(&index.list_ends(Source::Children(Kind::Binding))), Some(0));
    let visit = index.observe(&uid()).unwrap();
    let id = ObjectId { namespace: "ns".into(), name: names::binding(&uid(), "a"), uid: "ours".into() };
    let call = Call::Confirm { child: Child::Binding("a".into()), id: id.clone() };
    assert_eq!(crate::domain::recorded::questions(&visit), std::slice::from_ref(&call));
    index.note(&visit, &call, &Answer::Present(id.clone()));
    assert_eq!(seen(&index), Known::Present(id));
}

#[test]
fn an_unreadable_lease_that_a_new_list_lacks_is_asked_for() {
    let index = synced();
    _ = index.lease_unreadable("ns", "lease", UID);
    index.list_begins(Source::Leases);
    assert_eq!(first_end(&index.list_ends(Source::Leases)), Some(0));
    assert_eq!(index.observe(&uid()).unwrap().lease.presence, Presence::Unconfirmed);
}

#[test]
fn a_lease_counts_as_issued_whoever_tells_of_it_first_and_however_often() {
    let index = synced();
    let last = || index.counters("ns", "lc").1.map(|at| at.as_millis() - NOW);
    _ = index.lease_applied(&lease(7, |lease| lease["status"] = json!({"phase": "Issuing"})));
    assert_eq!(last(), None);
    // The watch overtakes the answer to the very write it tells of.
    let seen = index.observe(&uid()).unwrap();
    _ = index.lease_applied(&lease(8, |_| ()));
    let status = Box::new(lease(8, |_| ()).status.unwrap());
    index.note(&seen, &Call::WriteStatus(status), &Answer::Written("8".into()));
    assert_eq!(last(), Some(0));
    _ = index.lease_applied(&lease(9, |lease| lease["status"]["issueTime"] = json!("2027-01-15T07:59:00Z")));
    assert_eq!(last(), Some(0), "an older one does not take it back");
}

#[test]
fn leases_of_an_earlier_lifecycle_of_the_name_are_not_the_new_ones() {
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = index.lifecycle_applied(lifecycle());
    assert_eq!(index.counters("ns", "lc").1, None);
}

#[test]
fn a_standing_credential_is_looked_at_when_its_lease_is_deleted_and_not_before_everything_is_listed() {
    let standing = |index: &Index| {
        let lease: CredentialLease = serde_json::from_value(json!({
            "apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLease",
            "metadata": {"name": "standing-agent-1", "namespace": "ns", "uid": UID, "resourceVersion": "7"},
            "spec": {"lifecycleRef": {"name": "lc"}, "reason": "r", "delivery": {"type": "Secret"},
                "standingRef": {"name": "agent"}, "requestedBy": {"username": names::OPERATOR_USERNAME}},
        }))
        .unwrap();
        _ = index.lease_applied(&lease);
    };
    let index = started();
    standing(&index);
    assert!(index.with_standing("ns", "lc").is_none(), "nobody knows yet which leases live");
    let index = synced();
    standing(&index);
    let key = ("ns".to_owned(), "lc".to_owned());
    assert_eq!(index.standing_leases("ns", "lc", "agent").len(), 1);
    assert!(index.standing_leases("ns", "lc", "other").is_empty());
    assert_eq!(index.lease_deleted(UID).lifecycles, [key]);
    let left = index.standing_leases("ns", "lc", "agent");
    assert_eq!(left[0].state, crate::domain::standing::seen::State::Ended);
}

#[test]
fn what_was_recorded_of_a_lease_that_nobody_has_seen_is_kept() {
    let index = synced();
    let id = ObjectId {
        namespace: names::ISSUING_NAMESPACE.into(),
        name: names::account("ns", "lc", &uid(), NOW / 1000),
        uid: "account".into(),
    };
    _ = index.child_applied(crate::cluster::fence::Kind::Account, uid(), Child::Account, id.clone(), Some("ns/lease"));
    let settings = Settings { retention_millis: 1, require_policy: false };
    let mut now = Time::from_millis(NOW);
    for _ in 0..20 {
        let mut seen = index.inner().observe(&uid(), settings).unwrap();
        loop {
            crate::domain::ending::settle(&mut seen, now);
            match crate::domain::decide::decide(&seen, now) {
                crate::domain::call::Next::Forget => return,
                crate::domain::call::Next::Rest { .. } => break,
                crate::domain::call::Next::Do(_, calls) => {
                    for call in calls {
                        let answer = match &call {
                            Call::ConfirmGone | Call::Find(_) => Answer::Absent,
                            _ => Answer::Done,
                        };
                        index.note(&seen, &call, &answer);
                        crate::domain::learn::learn(&mut seen, call, answer, now);
                    }
                }
            }
        }
        index.remember(&seen);
        now = now.plus_millis(13_000);
    }
    panic!("it is visited for ever");
}

#[test]
fn an_older_version_in_a_list_raises_a_doubt_and_in_an_event_it_is_only_late() {
    let index = synced();
    _ = index.lease_applied(&lease(9, |_| ()));
    assert_eq!(index.newest_version(), 9);
    _ = index.lease_applied(&lease(7, |_| ()));
    assert_eq!(index.take_doubt(), None, "an event may be late");
    index.list_begins(Source::Leases);
    _ = index.lease_applied(&lease(7, |_| ()));
    _ = index.list_ends(Source::Leases);
    let doubt = Doubt { namespace: "ns".into(), name: "lease".into(), uid: UID.into(), version: 9 };
    assert_eq!((index.take_doubt(), index.take_doubt()), (Some(doubt), None));
}

#[test]
fn what_delivers_a_secret_is_counted_as_long_as_it_lives() {
    let index = synced();
    let delivers = |version: u64| {
        lease(version, |lease| {
            lease["status"]["credential"] = json!({"secret": {"name": "s", "uid": "u"}});
        })
    };
    let counted = |index: &Index| index.observe(&uid()).map(|seen| seen.delivered);
    _ = index.lease_applied(&lease(1, |_| {}));
    assert_eq!(counted(&index), Some(0));
    for version in [2, 3] {
        _ = index.lease_applied(&delivers(version));
        assert_eq!(counted(&index), Some(1));
    }
    let mut over = delivers(4);
    over.status.as_mut().unwrap().end_time = Some(Time::from_millis(NOW));
    _ = index.lease_applied(&over);
    assert_eq!(counted(&index), Some(0));
    _ = index.lease_applied(&delivers(5));
    index.forget(&uid());
    assert_eq!(index.inner().delivered, 0);
}

#[test]
fn a_lease_that_was_created_again_under_its_name_has_the_one_before_asked_for_and_ended() {
    const NEXT: &str = "5f2c8a8e-0000-4000-8000-000000000001";
    let index = synced();
    _ = index.lease_applied(&lease(7, |_| {}));
    let wishes = index.lease_applied(&lease(9, |lease| lease["metadata"]["uid"] = json!(NEXT)));
    let ends = |uid: &LeaseUid| wishes.visits.iter().any(|w| w.lease == *uid && w.lane == Lane::End && w.at.is_none());
    assert!(ends(&uid()), "{wishes:?}");
    assert_eq!(index.observe(&uid()).unwrap().lease.presence, Presence::Unconfirmed);
    assert_eq!(index.observe(&LeaseUid::parse(NEXT).unwrap()).unwrap().lease.presence, Presence::Exists);
}

#[test]
fn a_replica_has_led_since_it_took_over_and_not_since_it_began() {
    let (audit, _) = Audit::to(std::io::sink()).unwrap();
    let index = Index::new(audit, Settings { retention_millis: 1, require_policy: false });
    let at = |millis: i64| Time::from_millis(NOW + millis);
    assert_eq!(index.has_led(at(90_000)), 0, "it stands by");
    _ = index.lead(at(90_000));
    assert_eq!(index.has_led(at(91_000)), 1_000);
}
