//! What tools that wait for objects read off a lease.

use anyhow::{Context, Result, ensure};
use leasehold::api::{Condition, ConditionStatus, CredentialLease, condition, reasons::Phase};

/// A condition of a lease.
pub fn condition_of<'a>(lease: &'a CredentialLease, kind: &str) -> Result<&'a Condition> {
    let status = lease.status.as_ref().context("no status")?;
    condition::find(&status.conditions, kind).with_context(|| format!("no condition {kind}"))
}

/// As kstatus reads it: in progress while Reconciling is True, failed while Stalled is, current otherwise; never both, and
/// no condition Ready, whose False would read as in progress for ever.
pub fn is_conform(lease: &CredentialLease) -> Result<()> {
    let status = lease.status.as_ref().context("no status")?;
    ensure!(
        status.observed_generation == lease.metadata.generation,
        "observedGeneration: {:?}",
        status.observed_generation
    );
    let says = |kind: &str| condition::find(&status.conditions, kind);
    let is_true = |kind: &str| says(kind).is_some_and(|c| c.status == ConditionStatus::True);
    let (reconciling, stalled) = (is_true("Reconciling"), is_true("Stalled"));
    let phase = status.phase.context("no phase")?;
    ensure!(says("Ready").is_none(), "a lease has no condition Ready");
    ensure!(
        reconciling
            == matches!(
                phase,
                Phase::Pending | Phase::AwaitingApproval | Phase::Scheduled | Phase::Issuing | Phase::Ending
            ),
        "{phase}: Reconciling {reconciling}"
    );
    ensure!(stalled == matches!(phase, Phase::Denied | Phase::Failed), "{phase}: Stalled {stalled}");
    let active = says("Active").context("no condition Active")?;
    ensure!(active.reason == phase.as_str(), "phase is a copy of Active's reason: {phase}, {}", active.reason);
    ensure!((active.status == ConditionStatus::True) == (phase == Phase::Active), "{active:?}");
    Ok(())
}
