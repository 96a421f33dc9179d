//! What a no of the API server tells: it has more than one reason.

use std::{
    convert::Infallible,
    future,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::{
    api::reasons::EndReason,
    domain::{
        ending::End,
        observed::Memory,
        world::{START, World},
    },
};

/// What an API server answers to each path that has this text in it.
type Answers = &'static [(&'static str, u16, &'static str)];

/// Asks an API server that answers like this; what it was asked for, too.
async fn ask(answers: Answers, end: bool, call: Call) -> (Answer, Vec<String>) {
    let asked = Arc::new(Mutex::new(vec![]));
    let log = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let (_, code, message) = answers.iter().find(|(part, ..)| path.contains(part)).expect("nobody asks for this");
        log.lock().unwrap().push(path);
        let body = json!({"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "metadata": {}});
        let response = Response::builder().status(*code).body(Body::from(body.to_string().into_bytes())).unwrap();
        future::ready(Ok::<_, Infallible>(response))
    });
    let exchange = Exchange::new(kube::Client::new(service, "default"), Duration::from_secs(5));
    let endpoint = Endpoint { server: "https://api.example".into(), ca_pem: String::new() };
    let mut seen = World::new("Secret").observe(&Memory::default());
    if end {
        seen.memory.end =
            Some(End { at: Time::from_millis(START), reason: EndReason::Expired, message: String::new() });
    }
    let answer = Execute::new(exchange, Arc::default(), endpoint).perform(&seen, &call, Time::from_millis(START)).await;
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    (answer, asked)
}

const NO_RIGHT: &str = r#"secrets "lease-lease" is forbidden: User "system:serviceaccount:leasehold-system:leasehold" cannot patch resource "secrets" in API group "" in the namespace "ns""#;

#[tokio::test]
async fn where_the_operator_may_not_write_secrets_an_ended_lease_has_none() {
    let look = || Call::Find(Child::Secret);
    let class = |answer: Answer| match answer {
        Answer::Failed(failure) => failure.class,
        other => panic!("{other:?}"),
    };
    let (answer, asked) = ask(&[("/secrets/", 403, NO_RIGHT), ("/readyz", 200, "ok")], true, look()).await;
    assert!(matches!(answer, Answer::Absent) && asked.len() == 2, "{answer:?} {asked:?}");
    // An API server that has just begun says no to everybody.
    let (answer, _) = ask(&[("/secrets/", 403, NO_RIGHT), ("/readyz", 500, "informer-sync")], true, look()).await;
    assert_eq!(class(answer), Class::Transient);
    // A webhook says nothing about whether one was made.
    const DENIED: &str = r#"admission webhook "w.example" denied the request: no"#;
    let (answer, asked) = ask(&[("/secrets/", 403, DENIED)], true, look()).await;
    assert_eq!((class(answer), asked.len()), (Class::Forbidden, 1));
    // Of a live lease nothing is concluded.
    let (answer, asked) = ask(&[("/secrets/", 403, NO_RIGHT)], false, look()).await;
    assert_eq!((class(answer), asked.len()), (Class::Forbidden, 1));
}

#[tokio::test]
async fn what_may_not_be_asked_for_is_gone_only_with_its_namespace() {
    let id = ObjectId { namespace: "leasehold-leases".into(), name: "lease-a".into(), uid: "uid".into() };
    let confirm = || Call::Confirm { child: Child::Account, id: id.clone() };
    let (answer, _) =
        ask(&[("/serviceaccounts/", 403, "no"), ("/namespaces/leasehold-leases", 404, "gone")], false, confirm()).await;
    assert!(matches!(answer, Answer::Absent), "{answer:?}");
    let (answer, _) =
        ask(&[("/serviceaccounts/", 403, "no"), ("/namespaces/leasehold-leases", 200, "")], false, confirm()).await;
    assert!(matches!(answer, Answer::Failed(Failure { class: Class::Forbidden, .. })), "{answer:?}");
}
