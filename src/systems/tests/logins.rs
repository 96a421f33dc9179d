//! What proves who the operator is: fetched, kept, dropped, and never sent where it must not be.

use super::{
    server::{Act, ApiServer, Server},
    *,
};

const SECRET_PATH: &str = "GET /api/v1/namespaces/leasehold-system/secrets/ci";
const MINT: &str = "POST /api/v1/namespaces/leasehold-system/serviceaccounts/leasehold/token";

fn ok() -> Act {
    Act::Answer(200, "", "{}".into())
}

fn secret(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ci"}, "data": data})
}

fn with_auth(server: &Server, auth: Value) -> ConnectedSystem {
    let mut http = server.http();
    http["auth"] = auth;
    system(json!({"http": http}))
}

fn by_header() -> Value {
    json!({"type": "Header", "header": {"name": "X-Key", "prefix": "Key ", "secretRef": {"name": "ci", "key": "k"}}})
}

fn by_token(audience: &str) -> Value {
    json!({"type": "ServiceAccountToken", "serviceAccountToken": {"audience": audience}})
}

fn has(request: &str, line: &str) -> bool {
    request.lines().any(|l| l.eq_ignore_ascii_case(line))
}

#[tokio::test]
async fn what_is_in_a_secret_is_sent_and_fetched_once() {
    let server = Server::always(ok()).await;
    // "v4lue\n", as files made by hand end.
    let api = ApiServer::default().answering(SECRET_PATH, 200, secret(json!({"k": "djRsdWUK"})));
    let (systems, _) = systems_with(api.clone());
    for _ in 0..3 {
        assert_eq!(call(&systems, &with_auth(&server, by_header()), json!({})).await, Outcome::Done);
    }
    assert!(server.seen().iter().all(|request| has(request, "x-key: Key v4lue")), "{:?}", server.seen());
    assert_eq!(api.times_asked(SECRET_PATH), 1);

    let basic = json!({"type": "Basic", "basic": {"secretRef": {"name": "ci"}}});
    let api = ApiServer::default().answering(SECRET_PATH, 200, secret(json!({"username": "YQ==", "password": "Yg=="})));
    assert_eq!(call(&systems_with(api).0, &with_auth(&server, basic), json!({})).await, Outcome::Done);
    assert!(has(&server.seen()[3], "authorization: Basic YTpi"));
}

#[tokio::test]
async fn a_refusal_makes_the_next_call_fetch_the_secret_anew() {
    let server = Server::start(|n, _| if n == 0 { Act::Answer(401, "", String::new()) } else { ok() }).await;
    let api = ApiServer::default().answering(SECRET_PATH, 200, secret(json!({"k": "eA=="})));
    let (systems, _) = systems_with(api.clone());
    let system = with_auth(&server, by_header());
    assert!(matches!(call(&systems, &system, json!({})).await, Outcome::Refused { .. }));
    assert_eq!(call(&systems, &system, json!({})).await, Outcome::Done);
    assert_eq!(api.times_asked(SECRET_PATH), 2);
}

#[tokio::test]
async fn without_a_proof_nothing_is_sent() {
    let server = Server::always(ok()).await;
    for (status, body, told) in [
        (403, json!({"kind": "Status", "message": "x"}), "may not read Secret ci in leasehold-system"),
        (404, json!({"kind": "Status"}), "there is no Secret ci in leasehold-system"),
        (200, secret(json!({"other": "eA=="})), "Secret ci in leasehold-system has no key k"),
        (200, secret(json!({"k": "YQpi"})), "or one that a header cannot hold"),
        (500, json!({}), "the API server does not answer"),
    ] {
        let (systems, _) = systems_with(ApiServer::default().answering(SECRET_PATH, status, body));
        let outcome = call(&systems, &with_auth(&server, by_header()), json!({})).await;
        assert!(matches!(&outcome, Outcome::Again { message, .. } if message.contains(told)), "{told}: {outcome:?}");
    }
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn an_operation_never_takes_the_place_of_the_proof() {
    let server = Server::always(ok()).await;
    let (systems, _) = systems_with(ApiServer::default().minting("own"));
    let spec = json!({"headers": [{"name": "authorization", "value": "'Bearer ' + credential.token"}]});
    let outcome = call(&systems, &with_auth(&server, by_token("ci")), spec.clone()).await;
    assert!(
        matches!(&outcome, Outcome::Refused { message } if message.contains("the operator's own to set")),
        "{outcome:?}"
    );
    assert_eq!(server.seen().len(), 0);
    // Where the operator proves nothing, the lease's credential may.
    assert_eq!(call(&systems, &system(json!({"http": server.http()})), spec).await, Outcome::Done);
}

#[tokio::test]
async fn a_token_of_the_operators_own_is_minted_for_the_audience_and_kept() {
    let server = Server::always(ok()).await;
    let api = ApiServer::default().minting("own-token");
    let (systems, _) = systems_with(api.clone());
    for _ in 0..2 {
        assert_eq!(call(&systems, &with_auth(&server, by_token("ci")), json!({})).await, Outcome::Done);
    }
    assert!(server.seen().iter().all(|request| has(request, "authorization: Bearer own-token")));
    assert_eq!(api.times_asked(MINT), 1);
    let asked = api.asked.lock().unwrap().clone();
    let minted = asked.iter().find(|asked| asked.starts_with(MINT)).unwrap();
    assert!(minted.contains(r#""audiences":["ci"]"#) && minted.contains(r#""expirationSeconds":600"#), "{minted}");
}

#[tokio::test]
async fn no_token_for_the_api_server_itself_ever_leaves() {
    let server = Server::always(ok()).await;
    let own = ApiServer::default().minting("own");
    let (systems, _) = systems_with(own.clone());
    let outcome = call(&systems, &with_auth(&server, by_token("api")), json!({})).await;
    assert!(
        matches!(&outcome, Outcome::Refused { message } if message.contains("the API server's own")),
        "{outcome:?}"
    );
    // Nor one of which nobody knows whether it is.
    let unknown = ApiServer::default().answering(MINT, 201, json!({"status": {"token": "own"}}));
    let outcome = call(&systems_with(unknown.clone()).0, &with_auth(&server, by_token("ci")), json!({})).await;
    assert!(matches!(&outcome, Outcome::Again { .. }), "{outcome:?}");
    assert_eq!((own.times_asked(MINT), unknown.times_asked(MINT), server.seen().len()), (0, 0, 0));
}

fn vault(server: &Server) -> ConnectedSystem {
    system(json!({"type": "Vault", "vault": {
        "url": format!("https://localhost:{}", server.port), "caBundle": server.ca, "namespace": "team-a", "mount": "secret",
        "auth": {"type": "Kubernetes", "kubernetes": {"role": "leasehold", "audience": "vault"}},
    }}))
}

fn vault_answers(seen: &str, logins: &str) -> Act {
    if seen.starts_with("POST /v1/auth/kubernetes/login ") {
        Act::Answer(200, "", format!(r#"{{"auth": {{"client_token": "{logins}", "lease_duration": 3600}}}}"#))
    } else {
        Act::Answer(200, "content-type: application/json\r\n", r#"{"data": {"data": {"a": "b"}}}"#.into())
    }
}

#[tokio::test]
async fn a_vault_is_logged_in_to_once_and_its_secrets_are_written_read_and_deleted() {
    let server = Server::start(|_, seen| vault_answers(seen, "client")).await;
    let (systems, _) = systems_with(ApiServer::default().minting("own"));
    let system = vault(&server);
    let path = "'apps/' + urlquery(lease.name)";
    let write = json!({"method": "PUT", "path": path, "body": "{'token': credential.token}"});
    assert_eq!(call(&systems, &system, write).await, Outcome::Done);
    let read = json!({"method": "GET", "path": path, "success": "response.body.data.data.a == 'b'"});
    assert_eq!(call(&systems, &system, read).await, Outcome::Done);
    assert_eq!(call(&systems, &system, json!({"method": "DELETE", "path": path})).await, Outcome::Done);

    let seen = server.seen();
    let first: Vec<_> = seen.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(
        first,
        [
            "POST /v1/auth/kubernetes/login HTTP/1.1",
            "POST /v1/secret/data/apps/tonight HTTP/1.1",
            "GET /v1/secret/data/apps/tonight HTTP/1.1",
            "DELETE /v1/secret/metadata/apps/tonight HTTP/1.1",
        ]
    );
    assert!(seen[0].ends_with(r#"{"jwt":"own","role":"leasehold"}"#), "{}", seen[0]);
    assert!(seen[1].ends_with(&format!(r#"{{"data":{{"token":"{SECRET}"}}}}"#)), "{}", seen[1]);
    assert!(seen.iter().all(|request| has(request, "x-vault-namespace: team-a")));
    assert!(seen[1..].iter().all(|request| has(request, "x-vault-token: client")));
}

#[tokio::test]
async fn a_login_that_ended_is_renewed_once_within_the_call() {
    let server = Server::start(|n, seen| match n {
        // The token of the first login is not known any more.
        1 => Act::Answer(403, "", r#"{"errors": ["permission denied"]}"#.into()),
        0 => vault_answers(seen, "old"),
        _ => vault_answers(seen, "new"),
    })
    .await;
    let (systems, _) = systems_with(ApiServer::default().minting("own"));
    let read = json!({"method": "GET", "path": "'a'"});
    assert_eq!(call(&systems, &vault(&server), read).await, Outcome::Done);
    assert!(has(&server.seen()[1], "x-vault-token: old") && has(&server.seen()[3], "x-vault-token: new"));

    let denies = Server::start(|_, seen| {
        if seen.contains("/login ") { vault_answers(seen, "c") } else { Act::Answer(403, "", String::new()) }
    })
    .await;
    let outcome = call(
        &systems_with(ApiServer::default().minting("own")).0,
        &vault(&denies),
        json!({"method": "GET", "path": "'a'"}),
    )
    .await;
    assert_eq!(outcome, Outcome::Refused { message: "it answered 403".into() });
    assert_eq!(denies.seen().len(), 4, "logged in twice, asked twice, and no more");
}

#[tokio::test]
async fn deleting_what_is_gone_is_done_and_other_absences_are_not() {
    let server = Server::start(|_, seen| {
        if seen.contains("/login ") { vault_answers(seen, "c") } else { Act::Answer(404, "", String::new()) }
    })
    .await;
    let (systems, _) = systems_with(ApiServer::default().minting("own"));
    let deleted = call(&systems, &vault(&server), json!({"method": "DELETE", "path": "'a'"})).await;
    assert_eq!(deleted, Outcome::Done);
    let read = call(&systems, &vault(&server), json!({"method": "GET", "path": "'a'"})).await;
    assert_eq!(read, Outcome::Refused { message: "it answered 404".into() });
}

#[tokio::test]
async fn what_a_vault_cannot_do_is_refused_before_anything_is_sent() {
    let server = Server::start(|_, seen| vault_answers(seen, "c")).await;
    let (systems, _) = systems_with(ApiServer::default().minting("own"));
    for spec in [
        json!({"method": "POST", "path": "'a'", "body": "{'a': 'b'}"}),
        json!({"method": "PUT", "path": "'a'", "body": "'text'"}),
        json!({"method": "PUT", "path": "'a'", "body": "['a']"}),
        json!({"method": "PUT", "path": "'a'"}),
        json!({"method": "GET", "path": "'a?list=true'"}),
        json!({"method": "GET", "path": "''"}),
    ] {
        let outcome = call(&systems, &vault(&server), spec.clone()).await;
        assert!(matches!(outcome, Outcome::Refused { .. }), "{spec}: {outcome:?}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_by_its_status_alone() {
    let server = Server::always(Act::Answer(400, "", r#"{"errors": ["own is no good"]}"#.into())).await;
    let (systems, _) = systems_with(ApiServer::default().minting("own"));
    let outcome = call(&systems, &vault(&server), json!({"method": "GET", "path": "'a'"})).await;
    let message = "the operator cannot prove who it is: the login was answered 400";
    assert_eq!(outcome, Outcome::Again { message: message.into(), after: None });
}
