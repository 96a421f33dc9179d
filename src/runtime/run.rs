//! From settings to a running operator, and back to nothing.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    audit::Audit,
    clock::Clock,
    health,
    metrics::Metrics,
    seat::Seat,
    settings::Settings,
    wiring::{Basis, Inboxes, Parts},
};
use crate::{
    cluster::{client, election::Elector, lead::Lead},
    controllers::rewind::Rewound,
    domain::election::{Lost, Unfit},
    version,
};

/// How long running visits may take to end after a stop, each after its current call.
const GRACE: Duration = Duration::from_secs(15);

/// How long who starts may take to win the lead before it stands by. Who leads reads again what the leader before has written: who
/// wins at once reads it once, instead of having the API server tell of it twice.
const WINS_WITHIN: Duration = Duration::from_secs(2);

/// Why the operator does not run, or does not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Policies(#[from] crate::cluster::policies::Unreadable),
    #[error(transparent)]
    Listen(#[from] health::CannotListen),
    #[error(transparent)]
    Election(#[from] Unfit),
    #[error("the threads that evaluate rules cannot be started: {0}")]
    Evaluator(std::io::Error),
    #[error("the thread that writes the audit stream cannot be started: {0}")]
    Audit(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// Another replica leads, or may: this one stops at once, and stands by after its restart.
    #[error("the lead is lost: {0}")]
    Lost(#[from] Lost),
    /// Everything that is known is of a time that has not come yet.
    #[error(transparent)]
    Rewound(#[from] Rewound),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If something that it needs at the start is not there, or if it led and does not any more. Other faults are retried, never
/// returned.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let terms = settings.election()?;
    let stop = stop_on_signals()?;
    let (clock, metrics) = (Clock::system(), Metrics::new());
    let lead = if terms.is_some() { Lead::none(clock.clone()) } else { Lead::always(clock.clone()) };
    let cluster = client::connect(&clock, &metrics, &lead).await?;
    let (audit, writer) = Audit::to(std::io::stdout()).map_err(Error::Audit)?;
    let (listen, identity, server) = (settings.listen, settings.identity(), cluster.server.clone());
    let basis = Basis {
        clock: clock.clone(),
        metrics: metrics.clone(),
        lead: lead.clone(),
        cluster: cluster.clone(),
        stop: stop.clone(),
    };
    let (mut parts, inboxes) = Parts::new(settings, audit, basis)?;
    let (bound, serving) = health::serve(listen, parts.health(), stop.clone()).await?;
    tracing::info!(version = version::VERSION, commit = version::COMMIT, listen = %bound, %server, "leasehold starts");
    parts.background(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the endpoints are no longer served");
        }
    });
    parts.watch()?;
    let beat = parts.beat();
    if terms.is_none() {
        metrics.leading(true);
    }
    let elector = terms.map(|terms| Elector::new(identity, terms, cluster.client, lead, (clock, metrics, beat)));
    let mut seat = Seat::seek(elector);
    let undone = Undone { stop: stop.clone(), rewound: Box::pin(parts.rewound()) };
    let ended = serve(&mut parts, inboxes, &mut seat, undone).await;
    // Whatever calls other systems listens to this, too.
    stop.cancel();
    parts.end().await;
    if ended.is_ok() {
        // Nothing writes any more.
        seat.give_back().await;
    }
    writer.finish().await;
    ended
}

/// What ends the operator besides a lost lead.
struct Undone {
    stop: CancellationToken,
    rewound: BoxFuture<'static, Rewound>,
}

/// Stands by, and leads once it may; until a stop, until the lead is lost, or until the store has gone back in time.
async fn serve(parts: &mut Parts, inboxes: Inboxes, seat: &mut Seat, mut undone: Undone) -> Result<(), Error> {
    tokio::select! {
        biased;
        () = undone.stop.cancelled() => return Ok(()),
        rewound = &mut undone.rewound => return Err(rewound.into()),
        held = stand_by(parts, seat) => held?,
    }
    let mut engine = parts.lead(inboxes).await;
    tokio::select! {
        biased;
        lost = seat.lost() => abandon(engine, lost).await,
        rewound = &mut undone.rewound => abandon(engine, rewound).await,
        () = undone.stop.cancelled() => {
            tracing::info!("leasehold stops: running calls are finished");
            tokio::select! {
                biased;
                lost = seat.lost() => abandon(engine, lost).await,
                ended = tokio::time::timeout(GRACE, &mut engine) => {
                    if ended.is_err() {
                        tracing::warn!("some calls were still running and are left to the next start");
                        engine.abort();
                    }
                    parts.tell_everything().await;
                    Ok(())
                }
            }
        }
    }
}

/// Returns once it leads. Until then it takes in what who leads writes.
async fn stand_by(parts: &mut Parts, seat: &mut Seat) -> Result<(), Lost> {
    if let Ok(held) = tokio::time::timeout(WINS_WITHIN, seat.held()).await {
        return held;
    }
    parts.watch_written();
    seat.held().await
}

/// Drops every running visit, with the calls that it waits for.
async fn abandon(engine: JoinHandle<()>, why: impl Into<Error>) -> Result<(), Error> {
    let why = why.into();
    tracing::error!(%why, "leasehold stops at once");
    engine.abort();
    // It was aborted, or had ended.
    _ = engine.await;
    Err(why)
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
