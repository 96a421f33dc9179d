//! How soon a watch that failed is opened again, that none begins with the past, and that none brings what nobody reads.

use std::time::Duration;

use http::Uri;
use kube::runtime::utils::Backoff;
use rand::RngExt;
use tokio::time::Instant;

use crate::api::names;

/// The first pause after a failure, and the longest. What decisions, deadlines and revoked approvals wait for when a connection is
/// lost: a token must not outlive its end by more than the seconds that the documentation names.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// A watch that stood so long was no failure when it broke off.
const STOOD: Duration = Duration::from_secs(5);

/// What kube (as of 5.0) asks for when a watch shall begin with all there is: version "0", that is whatever the API server that
/// answers happens to know.
const ANY_VERSION: &str = "resourceVersion=0";

/// The same watch beginning with what the store has now: without a version, the API server waits until its cache is as new as the
/// store is when it is asked (Kubernetes API concepts, "Streaming lists"). `None` for every other request.
#[must_use]
pub fn fresh(uri: &Uri) -> Option<Uri> {
    let (path, query) = (uri.path(), uri.query()?);
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    if !pairs().any(|pair| pair == "sendInitialEvents=true") || !pairs().any(|pair| pair == ANY_VERSION) {
        return None;
    }
    let rest: Vec<&str> = pairs().filter(|pair| *pair != ANY_VERSION).collect();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}?{}", rest.join("&")).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether of a stream nothing but metadata is read ([`super::read::Sparse`]): of all that is made for leases in the issuing
/// namespace. The API server writes out the rest of ten thousands of objects for nobody otherwise, and we skip it.
#[must_use]
pub fn is_of_metadata(stream: &Uri) -> bool {
    let mut path = stream.path().split('/').skip_while(|part| *part != "namespaces");
    path.nth(1) == Some(names::ISSUING_NAMESPACE)
}

/// Pauses that double up to the longest, and begin anew when a watch has stood for a while: with the defaults of kube (as of 5.0,
/// after client-go's: up to 30 s, and anew after 120 s without a failure) a watch on which nothing happens is deaf for half a minute
/// once its connection has been cut a few times in a row.
#[derive(Debug)]
pub struct Pauses {
    failures: u32,
    opened: Instant,
}

impl Pauses {
    /// For a watch that is about to be opened.
    #[must_use]
    pub fn new() -> Self {
        Self { failures: 0, opened: Instant::now() }
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.opened.elapsed() >= STOOD {
            self.failures = 0;
        }
        let full = PAUSE.0.saturating_mul(1 << self.failures.min(8)).min(PAUSE.1);
        self.failures = self.failures.saturating_add(1);
        // Spread, so that what was cut off together does not come back together.
        let pause = rand::rng().random_range(full / 2..=full);
        self.opened = Instant::now() + pause;
        Some(pause)
    }
}

impl Backoff for Pauses {
    /// Asked for whenever a watch tells something, and it tells that a list begins before that is even asked for: no reason to call a
    /// struggling API server more often.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_begins_with_what_there_is_asks_for_what_there_is_now() {
        let watch = "/api/v1/namespaces/n/serviceaccounts?watch=true&labelSelector=a%3Db&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        for server in ["", "https://10.0.0.1:6443"] {
            let asked: Uri = format!("{server}{watch}&resourceVersion=0").parse().unwrap();
            assert_eq!(fresh(&asked).unwrap().to_string(), format!("{server}{watch}"));
        }
        for other in [
            "/api/v1/pods",
            "/api/v1/pods?watch=true&resourceVersion=0",
            "/api/v1/pods?sendInitialEvents=true&resourceVersion=07",
        ] {
            assert_eq!(fresh(&other.parse().unwrap()), None, "{other}");
        }
    }

    async fn failed_after(pauses: &mut Pauses, stood: Duration) -> Duration {
        tokio::time::advance(stood).await;
        let pause = pauses.next().unwrap();
        tokio::time::advance(pause).await;
        pause
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_at_once_is_tried_less_and_less_often_up_to_the_longest_pause() {
        let mut pauses = Pauses::new();
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            longest = longest.max(failed_after(&mut pauses, Duration::from_millis(1)).await);
        }
        assert!((PAUSE.1 / 2..=PAUSE.1).contains(&longest), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watch_that_is_cut_again_and_again_is_opened_again_at_once() {
        let mut pauses = Pauses::new();
        for n in 0..100 {
            let pause = failed_after(&mut pauses, STOOD).await;
            assert!(pause <= PAUSE.0, "cut {n}: {pause:?}");
        }
    }

    /// As kube's watcher does it: each try tells first that a list begins.
    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_again_and_again_is_asked_for_less_and_less_often() {
        use futures::StreamExt;
        use kube::runtime::WatchStreamExt;
        let tries = futures::stream::iter((0..200).map(|n| if n % 2 == 0 { Ok(()) } else { Err(()) }));
        let begun = Instant::now();
        let failed = tries.backoff(Pauses::new()).filter(|told| std::future::ready(told.is_err())).count().await;
        assert_eq!(failed, 100);
        assert!(begun.elapsed() >= PAUSE.1 / 2 * 95, "{:?}", begun.elapsed());
    }
}
