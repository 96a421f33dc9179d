//! `leasehold drain`: before a removal, every live lease ends, and that is waited for until each is proven.
//!
//! It is one policy more, the emergency stop of everything under a name of its own, and a look until nothing is left. The
//! operator does the work. Where none runs, the authority is ended without it: the accounts are deleted, each by its UID. Nothing
//! is kept in between: killed and run again it does the same.
//!
//! - [`left`], [`signs`]: what is left, and whether an operator runs; pure
//! - [`reach`]: the API server

mod left;
mod reach;
mod signs;

use std::time::{Duration, Instant};

use clap::Args;

use crate::api::names;
use left::Left;
use reach::{Reach, Stop};
use signs::Signs;

/// Name of the policy that stops everything.
pub const POLICY: &str = "leasehold-drain";
/// After how long without a sign of life it is concluded that no operator runs: its own lease duration, and a little.
const SILENCE: Duration = Duration::from_secs(17);
/// For how long API servers may accept a token whose account is gone, by their caches.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How often it is looked, and how much longer the pause is for each thousand of leases.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the namespace is gone.
const LOOK_FOR_NAMESPACE: Duration = Duration::from_millis(500);

/// Ends every live lease and waits until each is proven to have ended; before Leasehold is removed.
///
/// It makes the policy leasehold-drain, which stops everything: the operator issues nothing more and ends what is live. Where no
/// operator runs, the accounts of leases are deleted here instead. Exits with 0 once nothing is left, with 1 if something is.
#[derive(Args, Clone, Debug)]
pub struct Drain {
    /// How long it may take, like 5m.
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = crate::runtime::settings::duration)]
    pub timeout: Duration,

    /// Takes the stop away again instead: after the removal, or to go on with Leasehold.
    #[arg(long)]
    pub finish: bool,

    /// With --finish: also deletes the namespace leasehold-leases, and waits until it is gone.
    #[arg(long, requires = "finish")]
    pub delete_namespace: bool,
}

/// Why it did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] crate::cluster::client::Error),
    #[error("{what}: {source}")]
    Api { what: &'static str, source: Box<kube::Error> },
    #[error(
        "{count} still there after {seconds} s:\n{lines}\nrun it again to wait longer; an undo that cannot be made needs its system to \
         answer (docs/troubleshooting.md). As the last resort, kubectl delete namespace leasehold-leases ends every token at once"
    )]
    Left { count: usize, seconds: u64, lines: String },
    #[error(
        "nothing is left, but after {0} s the operator has not taken in the policy {POLICY}, and until then it may issue: its log says \
         why; run it again to wait longer"
    )]
    NotTakenIn(u64),
    #[error(
        "namespace leasehold-leases is still there after {0} s: kubectl get namespace leasehold-leases -o yaml says what it waits for"
    )]
    Namespace(u64),
}

/// Drains, or finishes.
///
/// # Errors
/// What is left, or why nothing could be done.
pub async fn run(flags: &Drain) -> Result<(), Error> {
    let reach = Reach::connect().await?;
    if flags.finish { finish(&reach, flags).await } else { drain(&reach, flags.timeout).await }
}

async fn drain(reach: &Reach, timeout: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    let stop = reach.stop().await?;
    let mut course = Course { stop, signs: Signs::new(begun, stop == Stop::Made), said: String::new(), hand: None };
    tell(&format!("policy {POLICY} stops everything: nothing more is issued, and what is leased ends"));
    loop {
        let looked = course.step(reach).await;
        if matches!(looked, Ok(None)) {
            return Ok(());
        }
        if begun.elapsed() > timeout {
            let left = looked?.unwrap_or_default();
            if left.is_nothing() {
                return Err(Error::NotTakenIn(timeout.as_secs()));
            }
            let lines = left.lines().join("\n");
            return Err(Error::Left { count: left.count(), seconds: timeout.as_secs(), lines });
        }
        let leases = match &looked {
            Ok(left) => left.as_ref().map_or(0, Left::count),
            // It may pass, as a restart of the API server does.
            Err(error) => {
                tell(&format!("{error}; it is tried again"));
                0
            }
        };
        tokio::time::sleep(LOOK_EVERY + Duration::from_millis(u64::try_from(leases).unwrap_or_default())).await;
    }
}

/// How a drain goes on.
struct Course {
    stop: Stop,
    signs: Signs,
    /// The progress that was told last.
    said: String,
    /// Set once it is concluded that no operator runs.
    hand: Option<Hand>,
}

/// What is done where no operator runs.
#[derive(Default)]
struct Hand {
    /// Since when no account has been there.
    gone: Option<Instant>,
}

impl Course {
    /// One look, and what follows from it; what is left, `None`: it is over.
    async fn step(&mut self, reach: &Reach) -> Result<Option<Left>, Error> {
        // In this order: what was asked for before the operator had taken in the stop is among what is found.
        let (glance, found) = (reach.glance().await?, reach.found().await?);
        let left = Left::of(&found);
        let progress = left.progress();
        self.signs.saw(&glance, signs::written(&found.leases), Instant::now());
        let silent = self.signs.silent_for(Instant::now()) > SILENCE;
        if left.is_nothing() && (glance.taken_in || silent || self.stop == Stop::Needless) {
            tell("nothing is left: every lease has ended, that is proven, and what workflows did is taken back");
            return Ok(None);
        }
        if self.said != progress {
            tell(&progress);
            self.said = progress;
        }
        if self.hand.is_none() && silent {
            self.hand = Some(Hand::default());
            tell("no operator runs: the accounts of leases are deleted here, which ends every token of them");
        }
        let Some(hand) = &mut self.hand else { return Ok(Some(left)) };
        for account in &left.accounts {
            reach.delete_account(account).await?;
        }
        hand.gone = if left.accounts.is_empty() { hand.gone.or(Some(Instant::now())) } else { None };
        if hand.gone.is_some_and(|at| at.elapsed() > REMEMBERED) {
            tell(&by_hand_report(&left));
            return Ok(None);
        }
        Ok(Some(left))
    }
}

/// What a drain without an operator leaves behind, and why it harms nobody.
fn by_hand_report(left: &Left) -> String {
    let mut lines = vec![
        "every account of a lease is gone, and no API server accepts a token of one any more".to_owned(),
        "nobody has proven it in the statuses of these leases, taken back what their workflows did, or removed the RoleBindings, \
         which bind accounts that are gone:"
            .to_owned(),
    ];
    lines.extend(left.lines());
    lines.join("\n")
}

async fn finish(reach: &Reach, flags: &Drain) -> Result<(), Error> {
    reach.resume().await?;
    tell(&format!("policy {POLICY} is gone: nothing is stopped by it any more"));
    if !flags.delete_namespace {
        return Ok(());
    }
    let begun = Instant::now();
    reach.delete_namespace().await?;
    while reach.namespace_is_there().await? {
        if begun.elapsed() > flags.timeout {
            return Err(Error::Namespace(flags.timeout.as_secs()));
        }
        tokio::time::sleep(LOOK_FOR_NAMESPACE).await;
    }
    tell(&format!("namespace {} is gone, and with it every token of a lease", names::ISSUING_NAMESPACE));
    Ok(())
}

/// One line for whoever looks on: standard error, since this is no result.
fn tell(line: &str) {
    eprintln!("leasehold drain: {line}");
}
