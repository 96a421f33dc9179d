//! What the tools that sync manifests make of every kind in every state that it can be in: kstatus (which Flux and Helm read by
//! default), Flux by the expressions of the sample, Argo CD by the scripts of `config/argocd`.
//!
//! Each is asked by its own library or interpreter (`tests/gitops-health`), about objects of a real API server as the operator
//! left them:
//!
//! - [`readers`]: the three readers, and what is expected of them;
//! - [`leases`]: every phase;
//! - [`lifecycles`]: every condition that makes a difference;
//! - [`others`]: policies, systems, decisions.

mod leases;
mod lifecycles;
mod others;
mod readers;

use anyhow::ensure;
use leasehold::api::reasons::Phase;
use leasehold_harness::Options;

use self::readers::Sheet;
use crate::support::{Lab, run};

#[test]
fn every_kind_in_every_state_is_read_as_it_is_meant() {
    run(async {
        let lab = Lab::start(Options::default(), &[]).await?;
        let mut sheet = Sheet::default();
        leases::fill(&lab, &mut sheet).await?;
        lifecycles::fill(&lab, &mut sheet).await?;
        others::fill(&lab, &mut sheet).await?;
        for phase in Phase::ALL {
            ensure!(sheet.phases().contains(phase.as_str()), "no lease was seen in phase {phase}");
        }
        sheet.check(&lab).await?;
        lab.stop().await
    });
}
