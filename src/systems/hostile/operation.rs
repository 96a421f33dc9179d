//! What the author of a system writes, with what whoever asks for a lease writes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{SECRET, assert_tellable, waited};
use crate::{
    api::{ConnectedSystemSpec, Duration, Time, lease::Identity, lifecycle::Owner, system::Operation},
    systems::{
        check::check_system,
        facts::{CredentialFacts, Facts, LeaseFacts, LifecycleFacts, TokenFact},
        path,
        problem::{MAX_BODY, Problem},
        render::{Renderer, is_reserved},
        request::Request,
    },
};

/// A system, the params of its operations, and a text that stands for every fact.
#[derive(Deserialize)]
struct Document {
    system: ConnectedSystemSpec,
    #[serde(default)]
    with: BTreeMap<String, String>,
    #[serde(default)]
    text: String,
}

/// A system's operations, checked and rendered.
pub(super) fn operation(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Document>(data) else { return };
    if document.text.contains(SECRET) || document.with.values().any(|value| value.contains(SECRET)) {
        return;
    }
    let checked = check_system(&document.system);
    if let Err(why) = &checked {
        assert!(why.len() <= 100_000, "{}", why.len());
    }
    let url = document.system.http.as_ref().map(|http| http.url.as_str()).unwrap_or_default();
    for operation in document.system.operations.iter().take(8) {
        match waited(async |evaluator| Renderer::new(evaluator.clone()).render(operation, &facts(&document)).await) {
            Ok(request) => confined(url, operation, &request),
            Err(Problem::Expression { .. } | Problem::Params(_)) => {}
            Err(why) => assert_tellable(&why.to_string()),
        }
    }
}

/// Whether a document is one, and all of its operations can be sent; if not, why.
#[cfg(test)]
pub(super) fn is_whole(data: &[u8]) -> Result<(), String> {
    let document: Document = serde_json::from_slice(data).map_err(|why| why.to_string())?;
    check_system(&document.system)?;
    for operation in &document.system.operations {
        waited(async |evaluator| Renderer::new(evaluator.clone()).render(operation, &facts(&document)).await)
            .map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// What would be sent goes where the system's url says, and is bounded.
fn confined(url: &str, operation: &Operation, request: &Request) {
    assert!(request.body.as_ref().is_none_or(|body| body.as_str().len() <= MAX_BODY));
    // Servers log paths; what judging knows is stored with an undo request.
    assert!(operation.path.contains(SECRET) || !request.path.contains(SECRET), "the token is in the path");
    assert!(!serde_json::to_string(&request.known).is_ok_and(|known| known.contains(SECRET)), "the token is kept");
    for (name, value) in &request.headers {
        assert!(!is_reserved(name), "{name}");
        assert!(value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)), "{name}: {value:?}");
    }
    let Ok(joined) = path::join(url, &request.path) else { return };
    let base: http::Uri = url.parse().expect("it was joined to");
    assert_eq!((joined.scheme(), joined.authority()), (base.scheme(), base.authority()), "{}", operation.path);
    let prefix = base.path().trim_end_matches('/');
    assert!(joined.path().starts_with(prefix), "{joined} is not below {url}");
    let below = &joined.path()[prefix.len()..];
    let plain = below.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/");
    assert!(!plain.split('/').any(|segment| segment == ".."), "{joined} leads out of {url}");
}

fn facts(document: &Document) -> Facts {
    let text = || document.text.clone();
    Facts {
        params: document.with.clone(),
        lease: LeaseFacts {
            name: text(),
            namespace: text(),
            uid: text(),
            reason: text(),
            ticket: Some(text()),
            grants: vec![text()],
            ttl: Duration::from_secs(900),
            request_digest: text(),
            end_reason: text(),
            end_time: Some(Time::from_millis(0)),
            evidence: text(),
            approvers: vec![text()],
        },
        lifecycle: LifecycleFacts {
            name: text(),
            namespace: text(),
            class: text(),
            owner: Owner { team: text(), contact: text() },
            purpose: text(),
        },
        requester: Identity { username: text(), groups: vec![text()], ..Identity::default() },
        credential: Some(CredentialFacts {
            token: TokenFact::Held(std::sync::Arc::new(crate::cluster::token::Token::new(SECRET.to_owned()))),
            service_account: text(),
            expiration_time: Some(Time::from_millis(0)),
            server: text(),
            ca: text(),
        }),
        now: Time::from_millis(0),
    }
}
