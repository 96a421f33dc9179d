//! One call, whole: whether now, as whom, sent, judged. Nothing of one system waits for another.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio_rustls::rustls::ClientConfig;

use super::{
    answer::Answer,
    breaker::Pass,
    facts::Facts,
    judge::judge,
    login::logged_in,
    path,
    problem::Problem,
    proof::{Proof, Unproven},
    prover::Prover,
    render::{Renderer, is_reserved},
    request::Request,
    send::{NoAnswer, Sending, send},
    state::{State, States},
    trouble::Trouble,
    vault,
};
use crate::{
    api::{
        ConnectedSystem,
        system::{HttpSystem, Operation},
    },
    cluster::{exchange::Exchange, lead::Lead},
    domain::outcome::Outcome,
    runtime::{evaluator::Evaluator, metrics::Metrics},
};

/// How long a call waits for a place among those that run, and again for its turn in the minute.
const PATIENCE: Duration = Duration::from_secs(10);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Calls other systems. Clones share what is known about them.
#[derive(Clone)]
pub struct Systems(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) evaluator: Evaluator,
    pub(super) renderer: Renderer,
    prover: Prover,
    pub(super) states: States,
    metrics: Arc<Metrics>,
    lead: Lead,
}

impl Systems {
    /// `evaluator` runs the expressions; `exchange` is the API server, which holds what proves who we are; only who leads calls.
    #[must_use]
    pub fn new(evaluator: Evaluator, exchange: Exchange, metrics: Arc<Metrics>, lead: Lead) -> Self {
        Self(Arc::new(Inner {
            renderer: Renderer::new(evaluator.clone()),
            evaluator,
            prover: Prover::new(exchange),
            states: States::default(),
            metrics,
            lead,
        }))
    }

    /// The call as it would be sent.
    ///
    /// # Errors
    /// Why it cannot be rendered.
    pub async fn render(&self, operation: &Operation, facts: &Facts) -> Result<Request, Problem> {
        self.0.renderer.render(operation, facts).await
    }

    /// One call, with `key` as its Idempotency-Key. It takes at most the system's call timeout, after waiting for a place and
    /// for its turn, and before judging: each of these a few seconds at most.
    pub async fn call(&self, system: &ConnectedSystem, request: &Request, key: &str) -> Outcome {
        let begun = Instant::now();
        let outcome = match self.0.attempt(system, request, key).await {
            Ok(outcome) => outcome,
            Err(trouble) => trouble.outcome(),
        };
        self.0.metrics.system_call(system.spec.kind, &outcome, begun.elapsed());
        outcome
    }

    /// Forgets what was known about all other systems.
    pub fn retain(&self, systems: &[Arc<ConnectedSystem>]) {
        self.0.states.retain(systems);
        self.0.count_shut();
    }
}

/// A call that the breaker let through. One that is dropped before it has told anything makes way for the next.
struct Passage<'s> {
    state: &'s State,
    pass: Option<Pass>,
}

impl Passage<'_> {
    fn told(mut self, told: &Result<Answer, Trouble>) {
        let Some(pass) = self.pass.take() else { return };
        let mut breaker = self.state.breaker();
        match told {
            Ok(answer) if answer.status.is_server_error() => breaker.failed(pass, Instant::now()),
            Ok(_) => breaker.answered(),
            Err(Trouble::NoAnswer(why)) if why.is_the_systems() => breaker.failed(pass, Instant::now()),
            Err(_) => breaker.given_up(pass),
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass {
            self.state.breaker().given_up(pass);
        }
    }
}

impl Inner {
    pub(super) async fn attempt(
        &self,
        system: &ConnectedSystem,
        request: &Request,
        key: &str,
    ) -> Result<Outcome, Trouble> {
        let state = self.states.of(system);
        if let Some(pause) = state.breaker().shut_for(Instant::now()) {
            return Err(Trouble::Shut(pause));
        }
        let place = tokio::time::timeout(PATIENCE, state.places.acquire()).await;
        let _place = place.ok().and_then(Result::ok).ok_or(Trouble::NoPlace)?;
        let wait = state.pace().take(Instant::now(), PATIENCE).map_err(Trouble::TooSoon)?;
        tokio::time::sleep(wait).await;

        let pass = state.breaker().admit(Instant::now()).map_err(Trouble::Shut)?;
        let passage = Passage { state: &state, pass: Some(pass) };
        let answer = self.answer(&state, system, request, key).await;
        passage.told(&answer);
        self.count_shut();
        let answer = Arc::new(answer?);
        if system.spec.vault.is_some() && vault::was_gone(request, answer.status) {
            return Ok(Outcome::Done);
        }
        Ok(judge(&self.evaluator, request, &answer).await)
    }

    async fn answer(
        &self,
        state: &State,
        system: &ConnectedSystem,
        request: &Request,
        key: &str,
    ) -> Result<Answer, Trouble> {
        let until = Instant::now() + state.timeout;
        let answer = self.once(state, system, request, key, until).await?;
        if !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(answer);
        }
        // What proves who we are may have been replaced or revoked: the next call fetches it anew.
        // Whoever holds the lock for longer is fetching it right now.
        if let Ok(mut kept) = tokio::time::timeout(rest(until), state.proof.lock()).await {
            *kept = None;
        }
        // A Vault says 403 to a token that it no longer knows, and has not carried anything out.
        let login_ended = system.spec.vault.is_some() && answer.status == StatusCode::FORBIDDEN;
        if login_ended { self.once(state, system, request, key, until).await } else { Ok(answer) }
    }

    async fn once(
        &self,
        state: &State,
        system: &ConnectedSystem,
        request: &Request,
        key: &str,
        until: Instant,
    ) -> Result<Answer, Trouble> {
        let tls = state.tls.clone()?;
        let mut sending = match (&system.spec.http, &system.spec.vault) {
            (Some(http), None) => sending(http, request)?,
            (None, Some(vault)) => vault::sending(vault, request)?,
            _ => return Err(Trouble::Shape("the system's type does not go with what is written")),
        };
        let key = HeaderValue::from_str(key).map_err(|_| Trouble::Shape("its key cannot be in a header"))?;
        sending.headers.push((IDEMPOTENCY_KEY, key));
        if let Some(proof) = self.proof(state, system, &tls, until).await? {
            if sending.headers.iter().any(|(name, _)| *name == proof.name) {
                return Err(Trouble::Header(proof.name.to_string()));
            }
            sending.headers.push((proof.name, proof.value));
        }
        Ok(send(sending, &tls, &self.lead, rest(until)).await?)
    }

    /// What proves who we are, fetched if it is not kept.
    pub(super) async fn proof(
        &self,
        state: &State,
        system: &ConnectedSystem,
        tls: &Arc<ClientConfig>,
        until: Instant,
    ) -> Result<Option<Proof>, Trouble> {
        let auth = system.spec.http.as_ref().and_then(|http| http.auth.as_ref());
        if auth.is_none() && system.spec.vault.is_none() {
            return Ok(None);
        }
        let fetching = async {
            let mut kept = state.proof.lock().await;
            if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
                return Ok(kept.proof.clone());
            }
            let new = match (auth, &system.spec.vault) {
                (Some(auth), _) => self.prover.http(auth).await?,
                (None, Some(vault)) => {
                    let audience = system.spec.audience().ok_or(Trouble::Shape("auth does not say how to log in"))?;
                    let own = self.prover.own_token(audience).await?;
                    let login = vault::login(vault, &own)?;
                    logged_in(&send(login, tls, &self.lead, rest(until)).await?)?
                }
                (None, None) => return Err(Trouble::Shape("the system's type does not go with what is written")),
            };
            let proof = new.proof.clone();
            *kept = Some(new);
            Ok(proof)
        };
        match tokio::time::timeout(rest(until), fetching).await {
            Ok(proof) => proof.map(Some),
            // Of a Vault most of it is the login itself.
            Err(_) if auth.is_none() => Err(NoAnswer::TimedOut.into()),
            Err(_) => Err(Unproven::ApiServer.into()),
        }
    }

    fn count_shut(&self) {
        self.metrics.systems_unavailable(self.states.shut());
    }
}

fn rest(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

pub(super) fn sending(http: &HttpSystem, request: &Request) -> Result<Sending, Trouble> {
    let url = path::join(&http.url, &request.path)?;
    let mut headers = Vec::new();
    for (name, value) in &request.headers {
        let unusable = || Trouble::Header(name.clone());
        if is_reserved(name) {
            return Err(unusable());
        }
        let name: HeaderName = name.parse().map_err(|_| unusable())?;
        headers.push((name, super::proof::sensitive(value.as_bytes()).ok_or_else(unusable)?));
    }
    let body = request.body.as_ref();
    if let Some(body) = body
        && !headers.iter().any(|(name, _)| *name == header::CONTENT_TYPE)
    {
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static(body.content_type())));
    }
    let body = body.map(|body| Bytes::copy_from_slice(body.as_str().as_bytes())).unwrap_or_default();
    let method = request.method.as_str().parse().map_err(|_| Trouble::Shape("the method cannot be sent"))?;
    Ok(Sending { method, url, headers, body })
}
