//! /healthz, /readyz and /metrics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio_util::sync::CancellationToken;

use super::{clock::Clock, listener::Few, metrics::Metrics};
use crate::controllers::index::Index;

/// The engine's loop beats at least once a second; one that has not for so long is stuck, in milliseconds.
const STUCK_MILLIS: i64 = 30_000;
/// How often everything is counted at the most, in milliseconds: it holds up whoever works on a lease for as long as it takes,
/// and anybody in the cluster may ask for it.
const COUNT_MILLIS: i64 = 250;

/// What the endpoints report.
#[derive(Clone)]
pub struct Health {
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub index: Arc<Index>,
    /// When the engine's loop last went round, on the clock's monotonic milliseconds.
    pub beat: Arc<AtomicI64>,
    /// When everything was counted last, on the same clock.
    pub counted: Arc<AtomicI64>,
}

impl Health {
    /// Whether it is time to count, which only one is told.
    fn counts(&self, now: i64) -> bool {
        let last = self.counted.load(Ordering::Relaxed);
        let due = last == 0 || now - last >= COUNT_MILLIS;
        due && self.counted.compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Why the endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; choose another address with --listen")]
pub struct CannotListen {
    address: SocketAddr,
    source: std::io::Error,
}

/// Listens; the address that was bound, and the serving itself.
///
/// # Errors
/// If the address is taken or not ours.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = std::io::Result<()>>), CannotListen> {
    let cannot = |source| CannotListen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    let serving =
        async move { axum::serve(Few::new(listener), routes).with_graceful_shutdown(stop.cancelled_owned()).await };
    Ok((bound, serving))
}

async fn healthz(State(health): State<Health>) -> impl IntoResponse {
    let silent = health.clock.since_start() - health.beat.load(Ordering::Relaxed);
    if silent > STUCK_MILLIS {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the engine has not moved for {} s\n", silent / 1000))
    } else {
        (StatusCode::OK, "ok\n".into())
    }
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let missing = health.index.unsynced();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("first lists are missing: {missing:?}\n"))
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    if health.counts(health.clock.since_start()) {
        health.metrics.counted(&health.index.census(health.clock.now()));
    }
    match health.metrics.render() {
        Ok(text) => {
            (StatusCode::OK, [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::observed::Settings, runtime::audit::Audit};

    #[test]
    fn whoever_asks_again_and_again_has_everything_counted_four_times_a_second() {
        let (audit, _) = Audit::to(std::io::sink()).unwrap();
        let settings = Settings { retention_millis: 0, require_policy: false };
        let health = Health {
            clock: Clock::system(),
            metrics: Metrics::new(),
            index: Arc::new(Index::new(audit, settings)),
            beat: Arc::default(),
            counted: Arc::default(),
        };
        let counted = (0..2_000).filter(|at| health.counts(*at)).count();
        assert_eq!(counted, 8);
    }
}
