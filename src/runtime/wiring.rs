//! What the operator is made of: what watches, which runs in every replica, and what writes, which runs in the one that leads.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    audit::Audit, clock::Clock, evaluator::Evaluator, health::Health, metrics::Metrics, run::Error, settings::Settings,
};
use crate::{
    cluster::{
        client::Cluster, exchange::Exchange, execute::Execute, lead::Lead, policies::Shipped, probe::Probe,
        render::Endpoint, standing::Keeper, token::Vault,
    },
    controllers::{
        ambient::Ambient,
        enforcement::Guard,
        engine::Engine,
        events::Events,
        feed::{self, Outlet},
        index::{Index, Wish},
        lifecycle_status::Writer,
        lifecycles, policies,
        rewind::{self, Rewound},
        standing, sweep, systems, tasks, visit,
        work::{Calls, With},
    },
    domain::{agenda::Widths, observed},
    systems::Systems,
};

/// Where an API server is reached from within a cluster.
const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// The longest that records from before the start wait to be told, listed or not.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

/// What everything shares.
pub(super) struct Parts {
    settings: Settings,
    clock: Clock,
    metrics: Arc<Metrics>,
    lead: Lead,
    cluster: Cluster,
    exchange: Exchange,
    index: Arc<Index>,
    outlet: Outlet,
    evaluator: Evaluator,
    ambient: Ambient,
    beat: Arc<AtomicI64>,
    policies_changed: Arc<Notify>,
    systems_changed: Arc<Notify>,
    stop: CancellationToken,
    /// The watches of what the leader itself writes.
    written: JoinSet<()>,
    /// Everything else that ends with the process.
    background: JoinSet<()>,
}

/// Where the wishes arrive that [`Outlet`] passes on.
pub(super) struct Inboxes {
    visits: mpsc::UnboundedReceiver<Wish>,
    lifecycles: mpsc::UnboundedReceiver<(String, String)>,
    standing: mpsc::UnboundedReceiver<(String, String)>,
}

/// What a process has before it has anything else.
pub(super) struct Basis {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lead: Lead,
    pub(super) cluster: Cluster,
    pub(super) stop: CancellationToken,
}

impl Parts {
    pub(super) fn new(settings: Settings, audit: Audit, basis: Basis) -> Result<(Self, Inboxes), Error> {
        let Basis { clock, metrics, lead, cluster, stop } = basis;
        let kept = observed::Settings {
            retention_millis: i64::try_from(settings.retention.as_millis()).unwrap_or(i64::MAX),
            require_policy: settings.require_policy,
        };
        let index = Arc::new(Index::new(audit, kept));
        let (visits, wishes) = mpsc::unbounded_channel();
        let (dirty, changed) = mpsc::unbounded_channel();
        let (moved, moving) = mpsc::unbounded_channel();
        let outlet =
            Outlet { index: index.clone(), visits, lifecycles: dirty, standing: moved, disturbed: Arc::default() };
        let parts = Self {
            exchange: Exchange::new(cluster.client.clone(), settings.call_timeout),
            evaluator: Evaluator::start().map_err(Error::Evaluator)?,
            settings,
            clock,
            metrics,
            lead,
            cluster,
            index,
            outlet,
            ambient: Ambient::default(),
            beat: Arc::default(),
            policies_changed: Arc::default(),
            systems_changed: Arc::default(),
            stop,
            written: JoinSet::new(),
            background: JoinSet::new(),
        };
        Ok((parts, Inboxes { visits: wishes, lifecycles: changed, standing: moving }))
    }

    /// What the endpoints report.
    pub(super) fn health(&self) -> Health {
        Health {
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            index: self.index.clone(),
            beat: self.beat.clone(),
            counted: Arc::default(),
        }
    }

    /// When the loop that matters last went round.
    pub(super) fn beat(&self) -> Arc<AtomicI64> {
        self.beat.clone()
    }

    /// Returns once the store has gone back in time.
    pub(super) fn rewound(&self) -> impl Future<Output = Rewound> + Send + 'static {
        rewind::noticed(self.index.clone(), self.exchange.clone(), self.outlet.disturbed.clone())
    }

    /// Runs until the process ends.
    pub(super) fn background(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(task);
    }

    /// Watches, in every replica, all but [`WRITTEN`](crate::controllers::index::WRITTEN).
    pub(super) fn watch(&mut self) -> Result<(), Error> {
        let guard = Guard {
            client: self.cluster.client.clone(),
            probe: Probe::new(self.exchange.clone()),
            shipped: Shipped::read()?,
            outlet: self.outlet.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
        };
        self.background.spawn(guard.run());
        let client = &self.cluster.client;
        for watch in feed::watches(client, &self.outlet, &self.ambient, &self.policies_changed, &self.systems_changed) {
            self.background.spawn(watch);
        }
        let look = self.outlet.clone();
        let changed = move |namespaces: Option<&BTreeSet<String>>| look.pass(look.index.lifecycles_in(namespaces));
        self.background.spawn(self.ambient.clone().run(client.clone(), changed));
        self.background.spawn(tasks::run(client.clone(), self.outlet.clone()));
        Ok(())
    }

    /// Watches the rest, too: who stands by knows what who leads knows, and reads it anew when it begins to lead.
    pub(super) fn watch_written(&mut self) {
        for watch in feed::written(&self.cluster.client, &self.outlet) {
            self.written.spawn(watch);
        }
    }

    /// Writes, in the replica that leads. The engine's own task is returned: it ends with the process, after its running calls.
    pub(super) async fn lead(&mut self, inboxes: Inboxes) -> JoinHandle<()> {
        self.written.shutdown().await;
        self.outlet.pass(self.index.lead(self.clock.now()));
        self.watch_written();
        let engine = self.write(inboxes);
        self.background.spawn(tell_everything(self.index.clone()));
        engine
    }

    fn write(&mut self, inboxes: Inboxes) -> JoinHandle<()> {
        let (clock, index, exchange) = (&self.clock, &self.index, &self.exchange);
        let policing = policies::Context {
            clock: clock.clone(),
            index: index.clone(),
            exchange: exchange.clone(),
            evaluator: self.evaluator.clone(),
        };
        self.background.spawn(policies::run(policing, self.policies_changed.clone()));
        let others = Systems::new(self.evaluator.clone(), exchange.clone(), self.metrics.clone(), self.lead.clone());
        let connected = systems::Context {
            clock: clock.clone(),
            index: index.clone(),
            exchange: exchange.clone(),
            evaluator: self.evaluator.clone(),
            systems: others.clone(),
        };
        self.background.spawn(systems::run(connected, self.systems_changed.clone()));
        let statuses = Writer::new(exchange.clone(), clock.clone());
        let reconcile = lifecycles::Context {
            clock: clock.clone(),
            index: index.clone(),
            exchange: exchange.clone(),
            statuses: statuses.clone(),
            evaluator: self.evaluator.clone(),
            ambient: self.ambient.clone(),
            require_policy: self.settings.require_policy,
        };
        self.background.spawn(lifecycles::run(reconcile, inboxes.lifecycles));
        let endpoint = self.endpoint();
        let standing = standing::Context {
            clock: clock.clone(),
            index: index.clone(),
            exchange: exchange.clone(),
            statuses,
            keeper: Keeper::new(exchange.clone(), endpoint.clone()),
            metrics: self.metrics.clone(),
        };
        self.background.spawn(standing::run(standing, inboxes.standing));

        let vault = Arc::new(Vault::default());
        let execute = Arc::new(Execute::new(exchange.clone(), vault.clone(), endpoint.clone()));
        self.background.spawn(sweep::run(index.clone(), execute.clone(), clock.clone()));
        let calls = Arc::new(Calls::new(With {
            index: index.clone(),
            execute: execute.clone(),
            vault: vault.clone(),
            systems: others,
            endpoint,
            clock: clock.clone(),
            visits: self.outlet.visits.clone(),
            stop: self.stop.clone(),
        }));
        let context = visit::Context {
            calls,
            clock: clock.clone(),
            index: index.clone(),
            execute,
            vault,
            evaluator: self.evaluator.clone(),
            metrics: self.metrics.clone(),
            events: Events::through(self.cluster.client.clone()),
            pace: Arc::default(),
        };
        let widths = Widths {
            issue: self.settings.issue_width.into(),
            end: self.settings.end_width.into(),
            retry: self.settings.retry_width.into(),
        };
        tokio::spawn(Engine::new(context, widths, inboxes.visits, self.beat.clone()).run(self.stop.clone()))
    }

    fn endpoint(&self) -> Endpoint {
        let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let known = || if in_cluster { IN_CLUSTER.into() } else { self.cluster.server.clone() };
        let server = self.settings.server_url.clone().unwrap_or_else(known);
        Endpoint { server, ca_pem: self.cluster.ca_pem.clone() }
    }

    /// Tells what has not been told yet of what was seen. Only who still leads may.
    pub(super) async fn tell_everything(&self) {
        self.index.tell_everything().await;
    }

    /// Ends every task at its next await.
    pub(super) async fn end(mut self) {
        self.written.shutdown().await;
        self.background.shutdown().await;
    }
}

/// Tells what is known of all leases once everything is listed: until then there is enough to do. What the operator itself records
/// meanwhile is told at once.
async fn tell_everything(index: Arc<Index>) {
    let begun = tokio::time::Instant::now();
    while !index.unsynced().is_empty() && begun.elapsed() < LISTED_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    index.tell_everything().await;
}
