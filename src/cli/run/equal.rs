//! Whether a lease that is there already will do.

use crate::{
    api::{
        CredentialLease, Duration, Time,
        names::{ANNOTATION_ENDS_WITH, WITH_COMMAND},
        reasons::Phase,
    },
    cli::view::lease,
};

/// How much life a lease must have left if nothing is said: a minute, or a tenth of its whole life if that is less.
const MIN_LEFT_SECONDS: i64 = 60;

/// Of these leases the one that will do in place of `wanted` and lives longest.
#[must_use]
pub fn best(
    there: Vec<CredentialLease>,
    wanted: &CredentialLease,
    min_left: Option<Duration>,
    now: Time,
) -> Option<CredentialLease> {
    let will_do = there.into_iter().filter(|lease| will_do(lease, wanted, min_left, now));
    will_do.max_by_key(lease::expires)
}

/// Whether a lease is the caller's own, active for long enough, and holds exactly what is wanted. Why it was asked for may
/// differ; a ticket that is named may not. One that ends with another command will not do, nor one that ends with another job or
/// owner: it would end under this one. One that ends with none will do for a pod, since the pod asked for no end but its own command's.
fn will_do(there: &CredentialLease, wanted: &CredentialLease, min_left: Option<Duration>, now: Time) -> bool {
    let (has, wants) = (&there.spec, &wanted.spec);
    let ends_with = there.metadata.annotations.as_ref().and_then(|a| a.get(ANNOTATION_ENDS_WITH));
    has.lifecycle_ref == wants.lifecycle_ref
        && has.requested_by.username == wants.requested_by.username
        && same(&has.grants, &wants.grants)
        && same(&has.audiences, &wants.audiences)
        && has.delivery == wants.delivery
        && (wants.ticket.is_none() || has.ticket == wants.ticket)
        && (has.completion_ref == wants.completion_ref || (has.completion_ref.is_none() && wants.ends_with_own_pod()))
        && there.metadata.owner_references.as_deref().unwrap_or_default()
            == wanted.metadata.owner_references.as_deref().unwrap_or_default()
        && ends_with.is_none_or(|with| with != WITH_COMMAND)
        && there.metadata.deletion_timestamp.is_none()
        && lease::phase(there) == Phase::Active
        && lives_long_enough(there, min_left, now)
}

fn lives_long_enough(there: &CredentialLease, min_left: Option<Duration>, now: Time) -> bool {
    let Some(end) = lease::expires(there) else { return false };
    let least = min_left.map_or_else(
        || {
            let life = lease::request(there).map_or(MIN_LEFT_SECONDS, |request| request.ttl.as_secs());
            MIN_LEFT_SECONDS.min(life / 10)
        },
        Duration::as_secs,
    );
    end.since(now) >= least.saturating_mul(1000)
}

/// Whether two lists hold the same, in whatever order.
fn same(a: &[String], b: &[String]) -> bool {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list.dedup();
        list
    };
    sorted(a) == sorted(b)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::view::lease::tests::waiting;

    const NOON: &str = "2026-11-24T12:00:00Z";

    fn active(change: impl FnOnce(&mut Value)) -> CredentialLease {
        waiting(|l| {
            l["status"]["phase"] = json!("Active");
            l["status"]["expirationTime"] = json!("2026-11-24T12:10:00Z");
            l["spec"]["grants"] = json!(["deploy", "close"]);
            change(l);
        })
    }

    fn wanted(change: impl FnOnce(&mut Value)) -> CredentialLease {
        active(|l| {
            l["metadata"]["name"] = json!("new");
            l["spec"]["grants"] = json!(["close", "deploy"]);
            l["spec"]["reason"] = json!("another one");
            l["spec"].as_object_mut().unwrap().remove("ticket");
            change(l);
        })
    }

    fn found(there: CredentialLease, wanted: &CredentialLease, min_left: Option<&str>) -> bool {
        best(vec![there], wanted, min_left.map(|d| d.parse().unwrap()), NOON.parse().unwrap()).is_some()
    }

    #[test]
    fn a_lease_that_holds_the_same_will_do_whatever_it_was_asked_for() {
        assert!(found(active(|_| {}), &wanted(|_| {}), None));
        assert!(found(active(|_| {}), &wanted(|l| l["spec"]["ticket"] = json!("CHG-1234")), None));
    }

    #[test]
    fn one_that_differs_in_anything_else_will_not() {
        type Change = fn(&mut Value);
        let table: [(&str, Change); 10] = [
            ("lifecycle", |l| l["spec"]["lifecycleRef"]["name"] = json!("other")),
            ("requester", |l| l["spec"]["requestedBy"]["username"] = json!("somebody")),
            ("fewer grants", |l| l["spec"]["grants"] = json!(["deploy"])),
            ("more grants", |l| l["spec"]["grants"] = json!(["deploy", "close", "x"])),
            ("audiences", |l| l["spec"]["audiences"] = json!(["sts"])),
            ("delivery", |l| l["spec"]["delivery"] = json!({"type": "Secret"})),
            ("phase", |l| l["status"]["phase"] = json!("Scheduled")),
            ("another command's", |l| l["metadata"]["annotations"] = json!({"leasehold.dev/ends-with": "command"})),
            ("another owner", |l| {
                l["metadata"]["ownerReferences"] =
                    json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "other", "uid": "0a-1"}]);
            }),
            ("being deleted", |l| l["metadata"]["deletionTimestamp"] = json!(NOON)),
        ];
        for (what, change) in table {
            assert!(!found(active(change), &wanted(|_| {}), None), "{what}");
        }
        assert!(!found(active(|_| {}), &wanted(|l| l["spec"]["ticket"] = json!("CHG-9")), None), "another ticket");
    }

    #[test]
    fn one_that_ends_with_something_else_will_not_do_and_one_that_ends_with_nothing_does_for_a_pod() {
        let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "runner-1"});
        for (has, wants, expected) in [
            (None, Some(pod("runner-1")), true),
            (Some(pod("runner-1")), Some(pod("runner-1")), true),
            (Some(pod("runner-1")), None, false),
            (Some(pod("runner-2")), Some(pod("runner-1")), false),
            (None, Some(pod("worker-0")), false),
            (None, Some(job.clone()), false),
            (Some(job.clone()), Some(job.clone()), true),
        ] {
            let with = |completion: &Option<Value>| {
                let completion = completion.clone();
                move |l: &mut Value| {
                    completion.into_iter().for_each(|it| l["spec"]["completionRef"] = it);
                }
            };
            assert_eq!(found(active(with(&has)), &wanted(with(&wants)), None), expected, "{has:?} {wants:?}");
        }
    }

    #[test]
    fn enough_life_is_a_minute_or_a_tenth_or_what_is_said() {
        let left = |ttl: &str, end: &str| {
            active(|l| {
                l["status"]["request"]["ttl"] = json!(ttl);
                l["status"]["expirationTime"] = json!(format!("2026-11-24T{end}Z"));
            })
        };
        for (ttl, end, min_left, expected) in [
            ("8h", "12:01:00", None, true),
            ("8h", "12:00:59", None, false),
            ("1m", "12:00:06", None, true),
            ("1m", "12:00:05", None, false),
            ("8h", "12:04:59", Some("5m"), false),
            ("8h", "12:00:01", Some("0s"), true),
            ("8h", "11:59:59", Some("0s"), false),
        ] {
            assert_eq!(found(left(ttl, end), &wanted(|_| {}), min_left), expected, "{ttl} {end} {min_left:?}");
        }
    }

    #[test]
    fn of_several_the_one_that_lives_longest_is_taken() {
        let ends = |name: &str, end: &str| {
            active(|l| {
                l["metadata"]["name"] = json!(name);
                l["status"]["expirationTime"] = json!(end);
            })
        };
        let there = vec![
            ends("a", "2026-11-24T12:10:00Z"),
            ends("b", "2026-11-24T12:30:00Z"),
            ends("c", "2026-11-24T12:20:00Z"),
        ];
        let best = best(there, &wanted(|_| {}), None, NOON.parse().unwrap()).unwrap();
        assert_eq!(lease::name(&best), "b");
    }
}
