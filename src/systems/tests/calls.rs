//! What answers, and what is none, come to.

use std::time::{Duration, Instant};

use super::{
    server::{Act, ApiServer, Server},
    *,
};

fn ok(body: &str) -> Act {
    Act::Answer(200, "content-type: application/json\r\n", body.to_owned())
}

async fn came_to(act: Act, spec: Value) -> Outcome {
    let server = Server::always(act).await;
    call(&systems(), &system(json!({"http": server.http()})), spec).await
}

#[tokio::test]
async fn a_call_is_sent_as_it_is_written_and_told_who_calls() {
    let server = Server::always(ok("{}")).await;
    let (systems, metrics) = systems_with(ApiServer::default());
    let mut http = server.http();
    http["url"] = format!("{}/base/", http["url"].as_str().unwrap()).into();
    let spec = json!({
        "method": "PUT", "path": "'/items/' + urlquery(lease.reason) + '?q=' + urlquery('a/b')",
        "headers": [{"name": "X-Team", "value": "lifecycle.owner.team"}],
        "body": "{'token': credential.token, 'grants': lease.grants, 'ttl': lease.ttl, 'at': now}",
    });
    assert_eq!(call(&systems, &system(json!({"http": http})), spec).await, Outcome::Done);
    let seen = server.seen().remove(0);
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("PUT /base/items/release%207?q=a%2Fb HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: localhost:{}", server.port),
        "idempotency-key: uid/op".into(),
        "x-team: payments".into(),
        "content-type: application/json".into(),
        concat!("user-agent: leasehold/", env!("CARGO_PKG_VERSION")).into(),
    ] {
        assert!(head.to_ascii_lowercase().lines().any(|l| l == line), "{line} is not in\n{head}");
    }
    let expected = json!({"token": SECRET, "grants": ["deploy", "read"], "ttl": "900s", "at": "2026-01-01T12:00:00Z"});
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
    let served = metrics.render().unwrap();
    assert!(served.contains("leasehold_system_calls_total{type=\"HTTP\",outcome=\"done\"} 1"), "{served}");
}

#[tokio::test]
async fn a_status_says_what_a_call_came_to_if_nothing_else_is_said() {
    for (status, expected) in [
        (200, "done"),
        (204, "done"),
        (400, "refused"),
        (401, "refused"),
        (404, "refused"),
        (409, "refused"),
        (408, "again"),
        (425, "again"),
        (429, "again"),
        (500, "again"),
        (503, "again"),
    ] {
        let outcome = came_to(Act::Answer(status, "", String::new()), json!({})).await;
        let got = match &outcome {
            Outcome::Done => "done",
            Outcome::Again { .. } => "again",
            Outcome::Refused { .. } => "refused",
        };
        assert_eq!(got, expected, "{status}: {outcome:?}");
        assert!(outcome == Outcome::Done || message(&outcome) == format!("it answered {status}"), "{outcome:?}");
    }
}

#[tokio::test]
async fn another_side_makes_nobody_wait_longer_than_two_minutes() {
    for (told, after) in [("30", Some(30)), ("86400", Some(120)), ("soon", None), ("-1", None)] {
        let raw = format!("HTTP/1.1 429 X\r\nretry-after: {told}\r\ncontent-length: 0\r\n\r\n");
        let outcome = came_to(Act::Raw(raw), json!({})).await;
        let after = after.map(Duration::from_secs);
        assert_eq!(outcome, Outcome::Again { message: "it answered 429".into(), after }, "{told}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(|_, _| Act::Answer(307, "location: /elsewhere\r\n", String::new())).await;
    let outcome = call(&systems(), &system(json!({"http": server.http()})), json!({})).await;
    assert!(
        matches!(&outcome, Outcome::Refused { message } if message.contains("redirects are not followed")),
        "{outcome:?}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn what_is_no_answer_is_tried_again_and_within_the_time() {
    for (act, told) in [
        (Act::Hang, "did not answer in time"),
        (Act::Drip, "did not answer in time"),
        (Act::Reset, "broke off"),
        (Act::Raw("SSH-2.0-x\r\n".into()), "broke off"),
        (Act::Raw("HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc".into()), "broke off"),
        (Act::Raw(format!("HTTP/1.1 200 X\r\nx: {}\r\n\r\n", "y".repeat(200_000))), "broke off"),
        (Act::Huge(10 << 20), "larger than 256 KiB"),
    ] {
        let server = Server::always(act).await;
        let spec = json!({"http": server.http(), "limits": {"callTimeout": "1s"}});
        let begun = Instant::now();
        let outcome = call(&systems(), &system(spec), json!({})).await;
        assert!(matches!(&outcome, Outcome::Again { message, .. } if message.contains(told)), "{told}: {outcome:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_to_be_trusted_is_told_of_and_nothing_is_sent() {
    let (expired, other) = (
        Server::with("localhost", true, |_, _| ok("{}")).await,
        Server::with("example.com", false, |_, _| ok("{}")).await,
    );
    let (stranger, plain) = (Server::always(ok("{}")).await, Server::always(ok("{}")).await);
    let mut wrong_ca = stranger.http();
    wrong_ca["caBundle"] = plain.ca.clone().into();
    for (http, told) in [
        (expired.http(), "no answer: its certificate has expired"),
        (other.http(), "no answer: its certificate is for another name"),
        (wrong_ca, "no answer: its certificate is not from a CA that it is trusted by"),
    ] {
        let outcome = call(&systems(), &system(json!({"http": http})), json!({})).await;
        assert_eq!(outcome, Outcome::Again { message: told.into(), after: None });
    }
    assert!(expired.seen().is_empty() && other.seen().is_empty() && stranger.seen().is_empty());
}

#[tokio::test]
async fn a_bundle_that_is_none_trusts_nobody() {
    let server = Server::always(ok("{}")).await;
    for bundle in ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let mut http = server.http();
        http["caBundle"] = bundle.into();
        let outcome = call(&systems(), &system(json!({"http": http})), json!({})).await;
        assert!(matches!(&outcome, Outcome::Refused { message } if message.contains("caBundle")), "{outcome:?}");
    }
}

#[tokio::test]
async fn success_and_retryable_judge_by_the_answer_and_by_what_was_known() {
    let open = ok(r#"{"state": "open", "n": 3, "items": [{"id": "tonight"}, {"id": "x"}]}"#);
    let done = |success: &str| json!({"success": success});
    for success in [
        "response.status == 200",
        "response.body.state == 'open' && response.body.n == 3",
        "response.body.items.exists(i, i.id == lease.name)",
        "response.body.items[0].id == lease.name && requester.username == 'bob'",
        "response.headers['content-type'] == 'application/json' && !has(response.body.absent)",
        "now < timestamp('2027-01-01T00:00:00Z') && credential.serviceAccount != ''",
    ] {
        assert_eq!(came_to(open.clone(), done(success)).await, Outcome::Done, "{success}");
    }
    let again = json!({"success": "response.body.state == 'closed'", "retryable": "response.body.state == 'open'"});
    let outcome = came_to(open.clone(), again).await;
    assert_eq!(outcome, Outcome::Again { message: "it answered 200, and success does not hold".into(), after: None });
    // A 500 that says it is done is done; a 200 that does not is not.
    assert_eq!(came_to(Act::Answer(500, "", String::new()), done("response.status == 500")).await, Outcome::Done);
    assert!(matches!(came_to(open, done("false")).await, Outcome::Refused { .. }));
}

#[tokio::test]
async fn what_cannot_be_judged_is_refused_and_says_why_without_the_answer() {
    let echo = format!(r#"{{"you-sent": "{SECRET}", "n": "{SECRET}"}}"#);
    for (spec, told) in [
        (
            json!({"success": "response.body.state == 'open'"}),
            "success: the expression failed: a field that is looked for is not there",
        ),
        (
            json!({"success": "response.body.n > 3"}),
            "success: the expression failed: an operator or function is used on a value of a type",
        ),
        (json!({"success": "timestamp(response.body.n) > now"}), "success: the expression failed"),
        (
            json!({"success": "response.body.n"}),
            "success: the expression gives a value of type string, not true or false",
        ),
        (json!({"success": "false", "retryable": "response.body.x"}), "retryable: the expression failed"),
    ] {
        let outcome = came_to(ok(&echo), spec.clone()).await;
        assert!(matches!(&outcome, Outcome::Refused { message } if message.contains(told)), "{spec}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains(SECRET), "{outcome:?}");
    }
    for status in [200, 400, 500] {
        let outcome = came_to(Act::Answer(status, "", echo.clone()), json!({"success": "false"})).await;
        assert!(!format!("{outcome:?}").contains(SECRET), "{outcome:?}");
    }
}

#[tokio::test]
async fn json_that_is_none_is_a_text_and_so_is_what_says_it_is_one() {
    let is_text = json!({"success": "response.body.startsWith('{')"});
    assert_eq!(came_to(ok("{\"a\": "), is_text.clone()).await, Outcome::Done);
    let plain = Act::Answer(200, "content-type: text/plain\r\n", "{}".into());
    assert_eq!(came_to(plain, is_text.clone()).await, Outcome::Done);
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(came_to(ok(&deep), is_text).await, Outcome::Done);
}

#[tokio::test]
async fn an_answer_with_too_many_values_cannot_be_looked_at_but_its_status_can() {
    let many = format!("[{}1]", "1,".repeat(9_000));
    let looking = came_to(ok(&many), json!({"success": "response.body[0] == 1"})).await;
    assert!(message(&looking).contains("more values than an expression may look at"), "{looking:?}");
    assert_eq!(came_to(ok(&many), json!({"success": "response.status == 200"})).await, Outcome::Done);
}

#[tokio::test]
async fn addresses_that_trust_by_place_are_never_connected_to() {
    for url in
        ["https://169.254.169.254/latest", "https://[fe80::1]", "https://0.0.0.0", "https://[::ffff:169.254.169.254]"]
    {
        let outcome = call(&systems(), &system(json!({"http": {"url": url}})), json!({})).await;
        let told = "an address that the operator never sends anything to";
        assert!(matches!(&outcome, Outcome::Refused { message } if message.contains(told)), "{url}: {outcome:?}");
    }
    // Not encrypted only where the url itself says loopback.
    let outcome = call(&systems(), &system(json!({"http": {"url": "http://10.0.0.1"}})), json!({})).await;
    assert!(
        matches!(&outcome, Outcome::Refused { message } if message.contains("its url cannot be called")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_dead_system_is_left_alone_and_holds_up_no_other() {
    let (dead, live) = (Server::always(Act::Hang).await, Server::always(ok("{}")).await);
    let (systems, metrics) = systems_with(ApiServer::default());
    let limits = json!({"concurrency": 1, "callTimeout": "1s"});
    let gone = system(json!({"http": dead.http(), "limits": limits}));
    let mut other = system(json!({"http": live.http()}));
    other.metadata.uid = Some("u-2".into());
    let request = systems.render(&operation(json!({})), &facts()).await.unwrap();

    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (systems, gone, request) = (systems.clone(), gone.clone(), request.clone());
            tokio::spawn(async move { systems.call(&gone, &request, "k").await })
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(systems.call(&other, &request, "k").await, Outcome::Done);
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    for call in waiting {
        assert!(message(&call.await.unwrap()).contains("in time"));
    }
    for _ in 0..2 {
        systems.call(&gone, &request, "k").await;
    }
    let begun = Instant::now();
    let outcome = systems.call(&gone, &request, "k").await;
    let after = Some(Duration::from_secs(5));
    assert_eq!(outcome, Outcome::Again { message: "it does not answer; it is asked again in 5 s".into(), after });
    assert!(begun.elapsed() < Duration::from_millis(200));
    assert_eq!(dead.seen().len(), 5, "one place, so one call at a time, and none after the fifth");
    assert!(metrics.render().unwrap().contains("leasehold_systems_unavailable 1"));
    systems.retain(&[]);
    assert!(metrics.render().unwrap().contains("leasehold_systems_unavailable 0"));
}

#[tokio::test]
async fn an_undo_that_was_stored_is_judged_by_what_was_known_when_it_was_rendered() {
    let server = Server::always(ok(r#"{"team": "payments", "id": "7"}"#)).await;
    let spec = json!({
        "method": "DELETE", "path": "'/items/' + urlquery(params.id)", "params": ["id", "unused"],
        "success": "response.body.team == lifecycle.owner.team && response.body.id == params.id",
    });
    let rendered = renderer().render(&operation(spec), &with(&[("id", "7"), ("unused", "private")])).await.unwrap();
    let stored = serde_json::to_string(&rendered).unwrap();
    assert!(!stored.contains("private") && !stored.contains(SECRET), "{stored}");
    let request: Request = serde_json::from_str(&stored).unwrap();
    assert_eq!(systems().call(&system(json!({"http": server.http()})), &request, "k").await, Outcome::Done);
}

/// A leader that is paused while it connects, and wakes up when another one leads: its next one may have taken the step back.
#[tokio::test]
async fn whoever_loses_the_lead_while_it_connects_sends_nothing() {
    let server = Server::always(ok("{}")).await;
    let clock = Clock::system();
    let lead = Lead::none(clock);
    lead.until(i64::MAX);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (slow, behind, paused) = (listener.local_addr().unwrap().port(), server.port, lead.clone());
    tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.unwrap();
        paused.end();
        let mut to = tokio::net::TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
        _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    });
    let mut http = server.http();
    http["url"] = format!("https://localhost:{slow}").into();
    let (systems, _) = systems_of(ApiServer::default(), lead);
    let outcome = call(&systems, &system(json!({"http": http})), json!({})).await;
    assert!(matches!(&outcome, Outcome::Again { message, .. } if message.contains("does not lead")), "{outcome:?}");
    assert_eq!(server.seen().len(), 0);
}
