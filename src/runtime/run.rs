//! From settings to a running operator, and back to nothing.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    audit::Audit,
    clock::Clock,
    evaluator::Evaluator,
    health::{self, Health},
    metrics::Metrics,
    settings::Settings,
};
use crate::{
    cluster::{
        client,
        exchange::Exchange,
        execute::Execute,
        policies::{Probe, Shipped},
        render::Endpoint,
        standing::Keeper,
        token::Vault,
    },
    controllers::{
        ambient::Ambient,
        enforcement::Guard,
        engine::Engine,
        events::Events,
        feed::{self, Outlet},
        index::Index,
        lifecycles, policies, standing, sweep, systems, tasks, visit,
        work::{Calls, With},
    },
    domain::{agenda::Widths, observed},
    systems::Systems,
    version,
};

/// Where an API server is reached from within a cluster.
const IN_CLUSTER: &str = "https://kubernetes.default.svc";
/// How long running visits may take to end after a stop, each after its current call.
const GRACE: Duration = Duration::from_secs(15);

/// Why the operator does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Policies(#[from] crate::cluster::policies::Unreadable),
    #[error(transparent)]
    Listen(#[from] health::CannotListen),
    #[error("the threads that evaluate rules cannot be started: {0}")]
    Evaluator(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If something that it needs at the start is not there. Later faults are retried, never returned.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let stop = stop_on_signals()?;
    let (clock, metrics) = (Clock::system(), Metrics::new());
    let cluster = client::connect(&clock, &metrics).await?;
    let exchange = Exchange::new(cluster.client.clone(), settings.call_timeout);
    let (audit, writer) = Audit::to(std::io::stdout());
    let kept = observed::Settings {
        retention_millis: i64::try_from(settings.retention.as_millis()).unwrap_or(i64::MAX),
        require_policy: settings.require_policy,
    };
    let index = Arc::new(Index::new(audit, kept, clock.now()));
    let vault = Arc::new(Vault::default());
    let evaluator = Evaluator::start().map_err(Error::Evaluator)?;
    let server = settings.server_url.clone().unwrap_or_else(|| {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() { IN_CLUSTER.into() } else { cluster.server.clone() }
    });
    let endpoint = Endpoint { server, ca_pem: cluster.ca_pem.clone() };
    let (visits, wishes) = mpsc::unbounded_channel();
    let (dirty, changed) = mpsc::unbounded_channel();
    let (moved, moving) = mpsc::unbounded_channel();
    let outlet = Outlet { index: index.clone(), visits, lifecycles: dirty, standing: moved };
    let beat = Arc::new(AtomicI64::new(0));

    let (bound, serving) = health::serve(
        settings.listen,
        Health { clock: clock.clone(), metrics: metrics.clone(), index: index.clone(), beat: beat.clone() },
        stop.clone(),
    )
    .await?;
    tracing::info!(version = version::VERSION, commit = version::COMMIT, listen = %bound, server = %cluster.server, "leasehold starts");

    let mut background = JoinSet::new();
    background.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the endpoints are no longer served");
        }
    });
    let guard = Guard {
        client: cluster.client.clone(),
        probe: Probe::new(exchange.clone()),
        shipped: Shipped::read()?,
        outlet: outlet.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
    };
    background.spawn(guard.run());
    let policies_changed = Arc::new(Notify::new());
    let systems_changed = Arc::new(Notify::new());
    for watch in feed::watches(&cluster.client, &outlet, &policies_changed, &systems_changed) {
        background.spawn(watch);
    }
    let policing = policies::Context {
        clock: clock.clone(),
        index: index.clone(),
        exchange: exchange.clone(),
        evaluator: evaluator.clone(),
    };
    background.spawn(policies::run(policing, policies_changed));
    let others = Systems::new(evaluator.clone(), exchange.clone(), metrics.clone());
    let connected = systems::Context {
        clock: clock.clone(),
        index: index.clone(),
        exchange: exchange.clone(),
        evaluator: evaluator.clone(),
        systems: others.clone(),
    };
    background.spawn(systems::run(connected, systems_changed));
    let ambient = Ambient::default();
    let look = outlet.clone();
    background.spawn(ambient.clone().run(cluster.client.clone(), move || look.pass(look.index.every_lifecycle())));
    let reconcile = lifecycles::Context {
        clock: clock.clone(),
        index: index.clone(),
        exchange: exchange.clone(),
        evaluator: evaluator.clone(),
        ambient,
        require_policy: settings.require_policy,
    };
    background.spawn(lifecycles::run(reconcile, changed));
    let standing = standing::Context {
        clock: clock.clone(),
        index: index.clone(),
        exchange: exchange.clone(),
        keeper: Keeper::new(exchange.clone(), endpoint.clone()),
        metrics: metrics.clone(),
    };
    background.spawn(standing::run(standing, moving));

    let execute = Arc::new(Execute::new(exchange, vault.clone(), endpoint.clone()));
    background.spawn(sweep::run(index.clone(), execute.clone(), clock.clone()));
    background.spawn(tasks::run(cluster.client.clone(), outlet.clone()));
    let calls = Arc::new(Calls::new(With {
        index: index.clone(),
        execute: execute.clone(),
        vault: vault.clone(),
        systems: others,
        endpoint,
        clock: clock.clone(),
        visits: outlet.visits.clone(),
        stop: stop.clone(),
    }));
    let context = visit::Context {
        calls,
        clock,
        index: index.clone(),
        execute,
        vault,
        evaluator,
        metrics,
        events: Events::through(cluster.client.clone()),
    };
    let widths = Widths {
        issue: settings.issue_width.into(),
        end: settings.end_width.into(),
        retry: settings.retry_width.into(),
    };
    let engine = tokio::spawn(Engine::new(context, widths, wishes, beat).run(stop.clone()));
    stop.cancelled().await;
    tracing::info!("leasehold stops: running calls are finished");
    if tokio::time::timeout(GRACE, engine).await.is_err() {
        tracing::warn!("some calls were still running and are left to the next start");
    }
    background.shutdown().await;
    drop((outlet, index));
    tokio::task::spawn_blocking(move || writer.finish())
        .await
        .unwrap_or_else(|error| tracing::error!(%error, "the audit stream may have lost its last lines"));
    Ok(())
}

fn stop_on_signals() -> Result<CancellationToken, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (
        signal(SignalKind::terminate()).map_err(Error::Signals)?,
        signal(SignalKind::interrupt()).map_err(Error::Signals)?,
    );
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        token.cancel();
    });
    Ok(stop)
}
