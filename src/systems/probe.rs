//! Whether a system can be called, for its status.

use std::{collections::BTreeMap, time::Instant};

use super::{
    caller::{Inner, Systems},
    connect::connect,
    facts::{Facts, LeaseFacts, LifecycleFacts},
    proof::Unproven,
    send::NoAnswer,
    trouble::Trouble,
};
use crate::{
    api::{ConnectedSystem, Duration, Time, lease::Identity, lifecycle::Owner, system::Operation},
    domain::{outcome::Outcome, system::Health},
};

impl Systems {
    /// How a system is found: by the operation that its spec names as probe; otherwise by connecting to it, and getting what
    /// proves who we are (of a Vault, by logging in).
    pub async fn probe(&self, system: &ConnectedSystem, now: Time) -> Health {
        let named = system.spec.probe.as_ref().and_then(|probe| system.spec.operation(&probe.operation));
        let found = match named {
            Some(operation) => self.0.ask(system, operation, now).await,
            None => self.0.reach(system).await.map(|()| Health::Reachable),
        };
        found.unwrap_or_else(|trouble| health(&trouble))
    }
}

impl Inner {
    async fn ask(&self, system: &ConnectedSystem, operation: &Operation, now: Time) -> Result<Health, Trouble> {
        let request = match self.renderer.render(operation, &nobody(now)).await {
            Ok(request) => request,
            Err(problem) if problem.passes() => return Ok(Health::Unreachable(problem.to_string())),
            Err(problem) => return Ok(Health::ExpressionInvalid(format!("the probe {}: {problem}", operation.name))),
        };
        let key = format!("probe-{}", now.as_millis());
        Ok(match self.attempt(system, &request, &key).await? {
            Outcome::Done => Health::Reachable,
            Outcome::Again { message, .. } | Outcome::Refused { message } => Health::Unreachable(message),
        })
    }

    async fn reach(&self, system: &ConnectedSystem) -> Result<(), Trouble> {
        let state = self.states.of(system);
        let tls = state.tls.clone()?;
        let http = system.spec.http.as_ref().map(|http| http.url.as_str());
        let url = http.or(system.spec.vault.as_ref().map(|vault| vault.url.as_str())).unwrap_or_default();
        let url = url.parse().map_err(|_| NoAnswer::Url)?;
        let until = Instant::now() + state.timeout;
        match tokio::time::timeout(state.timeout, connect(&url, &tls)).await {
            Ok(connected) => drop(connected?),
            Err(_) => return Err(NoAnswer::TimedOut.into()),
        }
        self.proof(&state, system, &tls, until).await.map(drop)
    }
}

/// What a call that came to nothing says about the system.
fn health(trouble: &Trouble) -> Health {
    let message = trouble.to_string();
    match trouble {
        Trouble::Unproven(
            Unproven::SecretForbidden(secret) | Unproven::SecretMissing(secret) | Unproven::SecretKey(secret, _),
        ) => Health::SecretUnreadable { secret: secret.clone(), message },
        Trouble::Unproven(Unproven::Audience) | Trouble::NoAnswer(NoAnswer::Forbidden | NoAnswer::Url) => {
            Health::Forbidden(message)
        }
        _ => Health::Unreachable(message),
    }
}

/// Facts of no lease: a probe is not about one, and its expressions find empty texts.
fn nobody(now: Time) -> Facts {
    let nothing = String::new;
    Facts {
        params: BTreeMap::new(),
        lease: LeaseFacts {
            name: nothing(),
            namespace: nothing(),
            uid: nothing(),
            reason: nothing(),
            ticket: None,
            grants: vec![],
            ttl: Duration::from_secs(0),
            request_digest: nothing(),
            end_reason: nothing(),
            end_time: None,
            evidence: nothing(),
            approvers: vec![],
        },
        lifecycle: LifecycleFacts {
            name: nothing(),
            namespace: nothing(),
            class: nothing(),
            owner: Owner { team: nothing(), contact: nothing() },
            purpose: nothing(),
        },
        requester: Identity::default(),
        credential: None,
        now,
    }
}
