//! A shipped system as the operator would call it: its expressions rendered, its Secret read under the Role that is shipped with it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use leasehold::{
    api::{ConnectedSystem, lease::Identity, lifecycle::Owner},
    cluster::{exchange::Exchange, lead::Lead, token::Token},
    domain::outcome::Outcome,
    runtime::{clock::Clock, evaluator::Evaluator, metrics::Metrics},
    systems::{
        Systems,
        facts::{CredentialFacts, Facts, LeaseFacts, LifecycleFacts, TokenFact},
    },
};
use serde_json::json;

use crate::support::Lab;

/// The Idempotency-Key of every call here.
pub const KEY: &str = "0b6cfc1e-4f3c-4f0f-8f0a-7d5f0f1e2d3c/step";
/// How often a call is made on a machine that is too busy.
const TRIES: usize = 20;
/// The token of the lease. Its characters are those of a JSON Web Token.
pub const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl_-canary";
/// What people may write, and vendors may take for something else.
pub const REASON: &str = "roll out 2.3 <!channel> *now* [here](https://example.com) \"quoted\"\nand on";

/// The text of a shipped file.
pub fn text(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systems").join(file);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A shipped file: the system, and the manifests that go with it.
pub fn parsed(text: &str) -> Result<(ConnectedSystem, Vec<String>)> {
    let mut documents = text.split("\n---\n").map(str::to_owned);
    let system = serde_saphyr::from_str(&documents.next().context("an empty file")?)?;
    Ok((system, documents.collect()))
}

/// A shipped system whose url leads to a server of ours.
pub struct Stage {
    pub system: ConnectedSystem,
    systems: Systems,
}

impl Stage {
    /// Points the system in `file` at `origin` (scheme, host and port), whatever path its url has after the host, and puts `data`
    /// into the Secret that it names. The Secret and the Role get names of their own, so that tests do not share them.
    pub async fn of(lab: &Lab, file: &str, origin: &str, data: &[(&str, &str)]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let text = text(file)?;
        let as_it_is = parsed(&text)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Where a Secret goes with it, it has the system's name.
        let (mut system, manifests) = match as_it_is.0.spec.secrets().first() {
            Some(name) => parsed(&text.replace(name, &format!("{name}-{number}")))?,
            None => as_it_is,
        };
        let url = match (&mut system.spec.http, &mut system.spec.vault) {
            (Some(http), None) => &mut http.url,
            (None, Some(vault)) => &mut vault.url,
            _ => anyhow::bail!("a system of two types"),
        };
        let after_host = url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        *url = format!("{origin}{after_host}");
        system.metadata.uid = Some(format!("uid-{number}"));
        system.metadata.generation = Some(1);

        for name in system.spec.secrets() {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "leasehold-system"},
                "stringData": data.iter().copied().collect::<BTreeMap<_, _>>()});
            lab.kubectl(&["apply", "-f", "-"], Some(&secret.to_string())).await?;
        }
        if !manifests.is_empty() {
            lab.kubectl(&["apply", "-f", "-"], Some(&manifests.join("\n---\n"))).await?;
        }
        let args = ["create", "token", "leasehold", "-n", "leasehold-system"];
        let token = lab.kubectl(&args, None).await?;
        let exchange = Exchange::new(lab.plane.token_client(token.trim())?, Duration::from_secs(10));
        let lead = Lead::always(Clock::system());
        let systems = Systems::new(Evaluator::start()?, exchange, Metrics::new(), lead);
        Ok(Self { system, systems })
    }

    /// Calls the operation once, which has to be done by that.
    pub async fn done(&self, operation: &str, facts: &Facts) -> Result<()> {
        let outcome = self.call(operation, facts).await?;
        ensure!(outcome == Outcome::Done, "{operation}: {outcome:?}");
        Ok(())
    }

    /// Renders the operation and calls it once; again where a machine that has much else to do did not let an expression end in
    /// its time, which says nothing about the system.
    pub async fn call(&self, operation: &str, facts: &Facts) -> Result<Outcome> {
        let operation = self.system.spec.operation(operation).context("the operation is shipped")?;
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = match self.systems.render(operation, facts).await {
                Ok(request) => self.systems.call(&self.system, &request, KEY).await,
                Err(problem) if problem.passes() && tries < TRIES => continue,
                Err(problem) => return Err(problem.into()),
            };
            match &outcome {
                Outcome::Again { message, .. } if message.contains("took too long") && tries < TRIES => {}
                _ => return Ok(outcome),
            }
        }
    }
}

/// Whether it is worth another try, and said without quoting what the other side answered.
pub fn is_again(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Again { .. })
}

pub fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { .. })
}

/// A lease that was just issued.
pub fn issued() -> Facts {
    Facts {
        credential: Some(CredentialFacts {
            token: TokenFact::Held(Arc::new(Token::new(TOKEN.to_owned()))),
            service_account: "payments.payments-deployer.0b6cfc1e4f3c4f0f8f0a7d5f0f1e2d3c.1795531500".to_owned(),
            expiration_time: "2026-11-24T14:45:00Z".parse().ok(),
            server: "https://api.example.com:6443".to_owned(),
            ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(),
        }),
        ..requested()
    }
}

/// A lease that is asked for: nothing is issued yet.
pub fn requested() -> Facts {
    Facts {
        params: [].into(),
        lease: LeaseFacts {
            name: "rollout-2-3".to_owned(),
            namespace: "payments".to_owned(),
            uid: "0b6cfc1e-4f3c-4f0f-8f0a-7d5f0f1e2d3c".to_owned(),
            reason: REASON.to_owned(),
            ticket: None,
            grants: vec!["deploy".to_owned()],
            ttl: "15m".parse().expect("a length of time"),
            request_digest: format!("sha256:{}", "ab".repeat(32)),
            end_reason: String::new(),
            end_time: None,
            evidence: String::new(),
            approvers: vec!["alice@example.com".to_owned()],
        },
        lifecycle: LifecycleFacts {
            name: "payments-deployer".to_owned(),
            namespace: "payments".to_owned(),
            class: "Pipeline".to_owned(),
            owner: Owner { team: "payments".to_owned(), contact: "#payments".to_owned() },
            purpose: "Deploys from CI".to_owned(),
        },
        requester: Identity { username: "system:serviceaccount:payments:ci".to_owned(), ..Identity::default() },
        credential: None,
        now: "2026-11-24T14:30:00Z".parse().expect("a time"),
    }
}

/// A lease that has ended, with proof.
pub fn ended() -> Facts {
    let mut facts = requested();
    facts.lease.end_reason = "Completed".to_owned();
    facts.lease.end_time = "2026-11-24T14:40:00Z".parse().ok();
    facts.lease.evidence = "TokenReviewRefused".to_owned();
    facts
}

/// With the ticket that the requester names.
pub fn ticket(mut facts: Facts, ticket: &str) -> Facts {
    facts.lease.ticket = Some(ticket.to_owned());
    facts
}

/// With what the workflow's step says.
pub fn with(mut facts: Facts, name: &str, value: &str) -> Facts {
    facts.params.insert(name.to_owned(), value.to_owned());
    facts
}
