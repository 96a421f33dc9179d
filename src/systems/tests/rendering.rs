//! What an operation becomes, and what it must not become.

use proptest::prelude::*;

use super::*;
use crate::{
    domain::expression::{self, urlquery},
    systems::{
        Body, Part, Problem, check_operation,
        path::{self, Unsafe},
    },
};

async fn rendered(spec: Value, facts: &Facts) -> Result<Request, Problem> {
    renderer().render(&operation(spec), facts).await
}

#[tokio::test]
async fn a_body_is_json_or_text_and_nothing_else() {
    for (body, expected) in [
        ("{'a': [1, 2u, 1.5, true, null, 'x']}", Ok(Body::Json(r#"{"a":[1,2,1.5,true,null,"x"]}"#.to_owned().into()))),
        ("{'b': 1, 'a': 2}", Ok(Body::Json(r#"{"a":2,"b":1}"#.to_owned().into()))),
        ("'plain ' + lease.name", Ok(Body::Text("plain tonight".to_owned().into()))),
        ("lease", Err("")),
        ("1", Err("value of type int")),
        ("true", Err("value of type bool")),
        ("{1: 2}", Err("a key in it is not a text")),
        ("{'a': b'x'}", Err("has no JSON form")),
        ("[double('NaN')]", Err("not finite")),
    ] {
        match (rendered(json!({"body": body}), &facts()).await, expected) {
            (Ok(request), Ok(expected)) => {
                assert!(request.body == Some(expected), "{body}: {:?}", request.body.unwrap().as_str())
            }
            (Ok(request), Err("")) => assert!(request.body.unwrap().as_str().contains(r#""ttl":"900s""#)),
            (Err(problem), Err(told)) => {
                assert!(problem.to_string().contains(told) && !told.is_empty(), "{body}: {problem}")
            }
            (got, _) => panic!("{body}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn params_are_exactly_those_that_are_declared() {
    let spec = json!({"params": ["a", "b"], "body": "params.a + params.b"});
    assert!(rendered(spec.clone(), &with(&[("a", "1"), ("b", "2")])).await.is_ok());
    for given in [vec![], vec![("a", "1")], vec![("a", "1"), ("b", "2"), ("c", "3")], vec![("a", "1"), ("c", "3")]] {
        assert_eq!(rendered(spec.clone(), &with(&given)).await, Err(Problem::Params("a, b".into())), "{given:?}");
    }
    assert!(matches!(
        rendered(json!({"body": "params.a"}), &facts()).await,
        Err(Problem::Expression { part: Part::Body, why: expression::Problem::UnknownName(_) })
    ));
}

#[tokio::test]
async fn the_token_is_where_it_is_sent_and_nowhere_else() {
    let spec = json!({"body": "{'t': credential.token}", "headers": [{"name": "X-T", "value": "credential.token"}]});
    let request = rendered(spec.clone(), &facts()).await.unwrap();
    assert!(request.body.as_ref().unwrap().as_str().contains(SECRET) && request.headers[0].1 == SECRET);
    assert!(!format!("{request:?}").contains(SECRET));

    let mut masked = facts();
    masked.credential.as_mut().unwrap().token = TokenFact::Masked;
    assert_eq!(rendered(spec.clone(), &masked).await.unwrap().body.unwrap().as_str(), r#"{"t":"***"}"#);
    let mut absent = facts();
    absent.credential.as_mut().unwrap().token = TokenFact::Absent;
    assert_eq!(rendered(spec.clone(), &absent).await, Err(Problem::TokenNotHeld(Part::Header("X-T".into()))));
    assert!(rendered(json!({"body": "credential.serviceAccount"}), &absent).await.is_ok());
    for whole in ["{'c': credential}", "{'t': credential['token']}"] {
        assert_eq!(rendered(json!({"body": whole}), &absent).await, Err(Problem::TokenNotHeld(Part::Body)), "{whole}");
    }
    let before = Facts { credential: None, ..facts() };
    assert_eq!(rendered(json!({"body": "credential.server"}), &before).await, Err(Problem::NothingIssued(Part::Body)));
    let judged = json!({"success": "credential.server == ''"});
    assert_eq!(rendered(judged, &before).await, Err(Problem::NothingIssued(Part::Success)));
}

#[test]
fn what_an_operation_uses_is_seen_however_it_is_written() {
    let uses = |spec: Value| check_operation(&operation(spec)).map(|c| (c.uses_token, c.uses_credential));
    for body in [
        "credential.token",
        "{'a': credential['token']}",
        "{'a': credential}",
        "[1].map(x, credential.token)",
        "has(credential.token) ? 'a' : 'b'",
    ] {
        assert_eq!(uses(json!({"body": body})), Ok((true, true)), "{body}");
    }
    assert_eq!(uses(json!({"headers": [{"name": "a", "value": "credential.token"}]})), Ok((true, true)));
    assert_eq!(uses(json!({"body": "credential.server"})), Ok((false, true)));
    assert_eq!(uses(json!({"success": "credential.server == ''"})), Ok((false, true)));
    assert_eq!(uses(json!({"body": "lease.name + 'credential.token'"})), Ok((false, false)));
    // A macro's own variable of that name is not ours.
    assert_eq!(uses(json!({"body": "[lease].map(credential, credential.name)"})), Ok((false, false)));
    assert!(uses(json!({"success": "credential.token == ''"})).is_err(), "the judge never knows the token");
}

#[test]
fn a_path_is_made_of_written_text_and_encoded_values_only() {
    let check = |path: &str| check_operation(&operation(json!({"path": path, "params": ["id"]})));
    for path in [
        "'/a'",
        "'/a/' + urlquery(params.id)",
        "'/a' + (lease.ticket == '' ? '' : '?t=' + urlquery(lease.ticket))",
        "'/a/' + urlquery(lease.grants[0] + lease.name)",
        "'/a/' + urlquery(string(lease.grants.size()))",
    ] {
        assert!(check(path).is_ok(), "{path}: {:?}", check(path));
    }
    for path in [
        "params.id",
        "'/a/' + params.id",
        "'/a/' + (urlquery(params.id) + params.id)",
        "'/a/' + string(params.id)",
        "lease.grants[0]",
        "['/a', params.id][1]",
        "{'a': params.id}.a",
        "lease.ticket == '' ? '/a' : params.id",
        "lease.grants.map(g, g)[0]",
    ] {
        assert_eq!(check(path), Err(Problem::NotEncoded), "{path}");
    }
    assert_eq!(check("'/a/' + urlquery(credential.token)"), Err(Problem::TokenInPath));
    assert!(check("'/a/' + params.id.urlquery()").is_err());
    let elsewhere = check_operation(&operation(json!({"success": "urlquery('a') == 'a'"})));
    assert!(elsewhere.is_err(), "only what is sent needs it");
}

#[tokio::test]
async fn no_value_leads_a_path_elsewhere() {
    let render = async |value: &str| {
        let spec = json!({"path": "'/v1/' + urlquery(params.id) + '/keys'", "params": ["id"]});
        rendered(spec, &with(&[("id", value)])).await.map(|request| request.path)
    };
    for value in [
        ".",
        "..",
        "../admin",
        "..\\admin",
        "a/../b",
        "%2e%2e",
        "%2E%2E/x",
        "%252e%252e",
        "a\nb",
        "a\r\nHost: x",
        "\0",
        "a/./b",
    ] {
        assert!(matches!(render(value).await, Err(Problem::Path(_))), "{value:?}: {:?}", render(value).await);
    }
    for (value, path) in [
        ("a b", "/v1/a%20b/keys"),
        ("a/b", "/v1/a%2Fb/keys"),
        ("?x=1#y", "/v1/%3Fx%3D1%23y/keys"),
        ("@evil.example", "/v1/%40evil.example/keys"),
        ("//evil.example", "/v1/%2F%2Fevil.example/keys"),
        ("50%", "/v1/50%25/keys"),
        ("é…", "/v1/%C3%A9%E2%80%A6/keys"),
        ("..a", "/v1/..a/keys"),
    ] {
        assert_eq!(render(value).await.as_deref(), Ok(path));
    }
}

#[tokio::test]
async fn no_path_that_is_written_out_leaves_the_system() {
    for (path, told) in [
        ("'//evil.example/x'", Unsafe::Host),
        ("'/a/../b'", Unsafe::Dots),
        ("'/a/%2e%2e/b'", Unsafe::Dots),
        ("'/a/..;/b#c'", Unsafe::Character),
        ("'/a b'", Unsafe::Character),
        ("'/a\\\\b'", Unsafe::Character),
        ("'/a%zz'", Unsafe::Encoding),
        ("'/a?x=%z'", Unsafe::Encoding),
        ("'/é'", Unsafe::Character),
    ] {
        assert_eq!(rendered(json!({"path": path}), &facts()).await, Err(Problem::Path(told)), "{path}");
    }
    for (path, told) in
        [(".evil.example/x", Unsafe::Relative), ("@evil.example/", Unsafe::Relative), (":8443/", Unsafe::Relative)]
    {
        assert_eq!(path::join("https://good.example", path), Err(told), "{path}");
    }
    assert_eq!(path::join("https://good.example/base/", "/x?y").unwrap(), "https://good.example/base/x?y");
    assert_eq!(path::join("https://good.example", "").unwrap(), "https://good.example/");
    assert_eq!(path::join("https://good.example/base", "?y").unwrap(), "https://good.example/base?y");
}

#[tokio::test]
async fn a_header_holds_one_line_and_is_not_the_operators_own() {
    let header = |name: &str, value: &str| json!({"headers": [{"name": name, "value": value}], "params": ["v"]});
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\0b", "é"] {
        let got = rendered(header("X-A", "params.v"), &with(&[("v", value)])).await;
        assert_eq!(got, Err(Problem::HeaderValue("X-A".into())), "{value:?}");
    }
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "IDEMPOTENCY-KEY",
        "Proxy-Authorization",
        "User-Agent",
        "X-Forwarded-For",
    ] {
        assert_eq!(check_operation(&operation(header(name, "'a'"))), Err(Problem::HeaderReserved(name.into())));
        assert!(rendered(header(name, "'a'"), &with(&[("v", "")])).await.is_err());
    }
    assert!(matches!(rendered(header("X-A", "1"), &with(&[("v", "")])).await, Err(Problem::Type { .. })));
    // As no schema allows it.
    let endless = "x".repeat(140_000);
    for (name, value) in [(endless.clone(), "1"), (endless.clone(), "'é'"), (format!("x-forwarded-{endless}"), "'a'")]
    {
        let told = rendered(header(&name, value), &with(&[("v", "")])).await.unwrap_err().to_string();
        assert!(told.len() < 400, "{value}: {} bytes", told.len());
    }
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_any_value() {
    let secret = "s3cr3t-value";
    let table = [
        "timestamp(params.v)",
        "duration(params.v)",
        "string(int(params.v))",
        "{'a': 1}[params.v]",
        "params.v.x",
        "params.v + 1",
        "[1][int(size(params.v))]",
        "{params.v: 1, params.v: 2}",
        "params.v.matches('(')",
        "params.v < 1 ? 'a' : 'b'",
        "params.v.getHours()",
        "{'t': credential.token}[params.v]",
    ];
    for body in table {
        let problem = rendered(json!({"body": body, "params": ["v"]}), &with(&[("v", secret)])).await.unwrap_err();
        let told = format!("{problem} {problem:?}");
        assert!(!told.contains(secret) && !told.contains(SECRET), "{body}: {told}");
    }
}

#[tokio::test]
async fn what_is_larger_than_its_schema_allows_is_refused() {
    let spec = json!({"params": ["v"], "body": "params.v"});
    let problem = rendered(spec.clone(), &with(&[("v", &"x".repeat(5000))])).await.unwrap_err();
    assert!(problem.to_string().contains("`params.v` is larger"), "{problem}");
    assert!(rendered(spec, &with(&[("v", &"\u{10ffff}".repeat(1024))])).await.is_ok());
}

proptest! {
    #[test]
    fn an_encoded_value_stays_one_segment_and_decodes_to_itself(value in "\\PC*|.*") {
        let encoded = urlquery(&value);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        let mut bytes = vec![];
        let mut rest = encoded.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(if byte == b'%' {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            } else { byte });
        }
        prop_assert_eq!(String::from_utf8(bytes).unwrap(), value);
    }

    #[test]
    fn a_path_that_is_let_through_is_a_path_below_the_url(path in "[/.%2eEfF\\\\?#@:a-c]{0,24}|/.{0,24}") {
        if let Ok(url) = path::join("https://good.example:8443/base", &path) {
            prop_assert_eq!(url.authority().unwrap().as_str(), "good.example:8443");
            prop_assert_eq!(url.scheme_str(), Some("https"));
            let text = url.path();
            prop_assert!(text == "/base" || text.starts_with("/base/"), "{}", text);
            let normal = text.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/").replace("%5c", "/").replace("%5C", "/");
            prop_assert!(normal.split(['/', '\\']).all(|s| s != "." && s != ".."), "{}", normal);
        }
    }
}
