//! The fence: whether this process may change anything. The election moves it, and whoever sends something asks it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use http::{Method, Uri};

use crate::runtime::clock::Clock;

/// Whether this replica leads. Clones are the same.
#[derive(Clone, Debug)]
pub struct Lead {
    clock: Clock,
    /// On the clock's monotonic milliseconds.
    until: Arc<AtomicI64>,
}

impl Lead {
    /// It does not lead yet.
    #[must_use]
    pub fn none(clock: Clock) -> Self {
        Self { clock, until: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// It leads for ever: there is no election.
    #[must_use]
    pub fn always(clock: Clock) -> Self {
        Self { clock, until: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// It leads until then at the most.
    pub fn until(&self, until: i64) {
        self.until.store(until, Ordering::SeqCst);
    }

    /// It does not lead any more.
    pub fn end(&self) {
        self.until(i64::MIN);
    }

    /// Whether it leads now. A process that was paused finds out here, before anything else has noticed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.clock.since_start() < self.until.load(Ordering::SeqCst)
    }
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead: nothing was sent")]
pub struct NotLeading;

/// Whether a request may change something that only the leader changes. Questions change nothing: reads, reviews, dry runs. The
/// Lease of the election is what is asked for before anybody leads.
#[must_use]
pub fn changes(method: &Method, uri: &Uri) -> bool {
    let reviews = ["/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/"]
        .iter()
        .any(|group| uri.path().starts_with(group));
    let dry = uri.query().is_some_and(|query| query.split('&').any(|part| part == "dryRun=All"));
    let election = uri.path().starts_with("/apis/coordination.k8s.io/");
    !(method == Method::GET || reviews || dry || election)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_nothing_may_be_sent_by_who_does_not_lead() {
        let table = [
            ("GET", "/api/v1/namespaces/i/serviceaccounts?watch=true", false),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", false),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false),
            ("POST", "/apis/batch/v1/namespaces/leasehold-leases/jobs?dryRun=All", false),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/leasehold-system/leases/leasehold", false),
            ("POST", "/apis/batch/v1/namespaces/leasehold-leases/jobs", true),
            ("POST", "/apis/batch/v1/namespaces/leasehold-leases/jobs?fieldManager=dryRun=All", true),
            ("POST", "/api/v1/namespaces/leasehold-leases/serviceaccounts/a.b/token", true),
            ("PUT", "/apis/leasehold.dev/v1alpha1/namespaces/n/credentialleases/l/status", true),
            ("PATCH", "/api/v1/namespaces/n/secrets/s", true),
            ("DELETE", "/api/v1/namespaces/leasehold-leases/serviceaccounts/a", true),
            ("POST", "/apis/events.k8s.io/v1/namespaces/n/events", true),
        ];
        for (method, uri, expected) in table {
            assert_eq!(changes(&method.parse().unwrap(), &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }

    #[test]
    fn a_lead_holds_until_its_time_and_no_longer() {
        assert!(Lead::always(Clock::system()).holds());
        let lead = Lead::none(Clock::system());
        assert!(!lead.holds());
        lead.until(i64::MAX);
        assert!(lead.clone().holds());
        lead.until(-1);
        assert!(!lead.holds());
        lead.until(i64::MAX);
        lead.end();
        assert!(!lead.clone().holds());
    }
}
