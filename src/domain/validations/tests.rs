use std::time::{Duration as StdDuration, Instant};

use serde_json::json;

use super::*;
use crate::api::{CredentialLease, ServiceAccountLifecycle};

fn lifecycle() -> ServiceAccountLifecycle {
    serde_json::from_value(json!({
        "apiVersion": "leasehold.dev/v1alpha1",
        "kind": "ServiceAccountLifecycle",
        "metadata": { "name": "nightly", "namespace": "payments" },
        "spec": {
            "owner": { "team": "payments", "contact": "#payments" },
            "purpose": "moves money",
            "class": "Pipeline",
            "grants": [
                { "name": "deploy", "roleRef": { "kind": "Role", "name": "deployer" } },
                { "name": "read", "roleRef": { "kind": "ClusterRole", "name": "view" } },
            ],
            "terms": {
                "ttl": { "default": "15m", "max": "1h" },
                "delivery": ["TokenRequest", "Secret"],
                "audiences": ["vault"],
                "approval": { "type": "NotRequired" },
            },
        },
    }))
    .unwrap()
}

fn lease() -> CredentialLease {
    serde_json::from_value(json!({
        "apiVersion": "leasehold.dev/v1alpha1",
        "kind": "CredentialLease",
        "metadata": { "name": "tonight", "namespace": "payments" },
        "spec": {
            "lifecycleRef": { "name": "nightly" },
            "grants": ["deploy"],
            "ttl": "30m",
            "reason": "release 7",
            "ticket": "CHG-42",
            "delivery": { "type": "Secret" },
            "requestedBy": { "username": "alice", "groups": ["sre", "team-payments"] },
        },
    }))
    .unwrap()
}

fn asked(lease: &CredentialLease, now: Time) -> Input {
    let lifecycle = lifecycle();
    let terms = Effective::of(&lifecycle.spec.terms, &[]);
    let asked = Asked {
        namespace: "payments",
        name: "tonight",
        spec: &lease.spec,
        ttl: lease.spec.ttl.unwrap_or(terms.ttl_default),
        outlives: &[Outlives::Exec],
    };
    Input::of(&asked, &lifecycle.spec, &terms, now)
}

/// 2026-11-25, a Wednesday, 13:37 UTC.
fn input() -> Input {
    asked(&lease(), "2026-11-25T13:37:00Z".parse().unwrap())
}

fn sample_input() -> Input {
    let lifecycle = lifecycle();
    sample("payments", "nightly", &lifecycle.spec, &Effective::of(&lifecycle.spec.terms, &[]))
}

fn run(expression: &str, input: &Input) -> Result<bool, Problem> {
    evaluate(&compile(expression)?, input)
}

#[test]
fn everything_documented_can_be_asked_for() {
    for expression in [
        "lease.name == 'tonight' && lease.namespace == 'payments'",
        "lease.ttl <= duration('30m') && lease.ttl > duration('29m59s') && lease.ttl.getMinutes() == 30",
        "lease.reason.contains('release') && lease.reason != ''",
        "lease.ticket.matches('^CHG-[0-9]+$')",
        "matches(lease.ticket, '^CHG-[0-9]+$')",
        "lease.grants.all(g, g in ['deploy', 'read']) && size(lease.grants) == 1",
        "'deploy' in lease.grants && !('read' in lease.grants)",
        "lease.audiences == [] && lease.audiences.size() == 0",
        "lease.delivery == 'Secret'",
        "lifecycle.name == 'nightly' && lifecycle.namespace == lease.namespace",
        "lifecycle.class == 'Pipeline' && lifecycle.owner.team == 'payments' && lifecycle.owner.contact.startsWith('#')",
        "lifecycle.purpose.endsWith('money')",
        "requester.username == 'alice' && requester.uid == '' && requester.podName == ''",
        "'sre' in requester.groups",
        "requester.groups.exists(g, g == 'team-' + lifecycle.owner.team)",
        "requester.groups.exists_one(g, g.startsWith('team-'))",
        "requester.groups.filter(g, g.startsWith('team-')).size() == 1",
        "requester.groups.map(g, size(g)).exists(s, s > 5)",
        "requester.groups.exists(g, g.matches('^team-[a-z-]+$'))",
        "now.getHours() >= 8 && now.getHours() < 18 && now.getDayOfWeek() in [1, 2, 3, 4, 5]",
        "now.getHours('Europe/Berlin') == 14 && now.getMinutes() == 37",
        "now < timestamp('2027-01-01T00:00:00Z') && now + lease.ttl > now",
        "lease.ttl <= (lifecycle.class == 'BreakGlass' ? duration('1h') : duration('30m'))",
        "has(lease.ticket) && lease['ticket'] == 'CHG-42'",
        "approval.type == 'NotRequired' && approval.count == 0",
        "approval.type == 'Required' || 'Exec' in lease.outlives || !lease.outlives.exists(o, o == 'Watch')",
        "lease.ticket.matches('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$') || lease.ticket.size() < 10",
    ] {
        assert_eq!(run(expression, &input()), Ok(true), "{expression}");
        assert!(run(expression, &sample_input()).is_ok(), "{expression} on the sample");
    }
}

#[test]
fn what_a_lease_leaves_out_has_a_value() {
    let mut lease = lease();
    (lease.spec.ttl, lease.spec.ticket) = (None, None);
    let input = asked(&lease, Time::from_millis(0));
    assert_eq!(run("lease.ttl == duration('15m') && lease.ticket == ''", &input), Ok(true));
    assert_eq!(run("lease.ticket.matches('^CHG-[0-9]+$')", &input), Ok(false));
}

#[test]
fn what_cannot_be_bounded_or_known_is_refused_before_it_runs() {
    let long = format!("lease.reason == '{}'", "x".repeat(1024));
    let parentheses = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    let sums = format!("{}1 == 1", "1 + ".repeat(60));
    let entries = format!("1 in [{}]", "1, ".repeat(65));
    let groups = |n| vec!["requester.groups"; n].join(" + ");
    type Expected = fn(&Problem) -> bool;
    let table: Vec<(&str, Expected)> = vec![
        (&long, |p| *p == Problem::TooLong),
        ("", |p| matches!(p, Problem::Unparsable(_))),
        ("lease.ttl <=", |p| matches!(p, Problem::Unparsable(_))),
        ("lease.?ttl == 1", |p| matches!(p, Problem::Unparsable(_))),
        (&parentheses, |p| *p == Problem::TooDeep),
        (&sums, |p| *p == Problem::TooDeep),
        (&entries, |p| *p == Problem::TooManyEntries),
        ("requester.groups.all(a, lease.grants.all(b, a != b))", |p| *p == Problem::NestedMacros),
        ("lease.grants.map(a, lease.grants.map(b, lease.grants.map(c, 1))) == []", |p| *p == Problem::NestedMacros),
        ("[1].all(a, true) && [1].all(a, true) && [1].all(a, true) && [1].all(a, true) && [1].all(a, true)", |p| {
            *p == Problem::TooManyMacros
        }),
        ("lease.reason.matches(lease.ticket)", |p| *p == Problem::PatternNotLiteral),
        ("lease.reason.matches('a' + 'b')", |p| *p == Problem::PatternNotLiteral),
        ("lease.nmae == ''", |p| *p == Problem::UnknownName("lease.nmae".into())),
        ("false && leese.name == ''", |p| *p == Problem::UnknownName("leese.name".into())),
        ("lease.name.x == ''", |p| *p == Problem::UnknownName("lease.name.x".into())),
        ("lease.grants.all(g, h == '')", |p| *p == Problem::UnknownName("h".into())),
        ("lease.grants.all(g, true) && g == ''", |p| *p == Problem::UnknownName("g".into())),
        ("lease.name.lowerAscii() == ''", |p| *p == Problem::UnknownFunction("lowerAscii".into())),
        ("optional.of(1).hasValue()", |p| matches!(p, Problem::UnknownFunction(_) | Problem::UnknownName(_))),
        ("type(now) == type(now)", |p| *p == Problem::UnknownFunction("type".into())),
        ("google.protobuf.Duration{seconds: 1} == lease.ttl", |p| *p == Problem::Structure),
        // Cheap to write, dear to run.
        ("requester.groups.all(g, g in requester.groups + requester.groups)", |p| *p == Problem::TooExpensive),
        ("requester.groups.map(g, requester.groups).size() == 0", |p| *p == Problem::TooExpensive),
        ("requester.groups.map(g, [g, g, g, g]).map(g, g + g + g + g).map(g, g + g + g + g) == []", |p| {
            *p == Problem::TooExpensive
        }),
        (r"lease.reason.matches('(\\w{100}){100}')", |p| *p == Problem::TooExpensive),
        (r"lease.reason.matches('((a{100}){100}){100}')", |p| *p == Problem::TooExpensive),
        (r"requester.groups.exists(g, g.matches('\\w{50}'))", |p| *p == Problem::TooExpensive),
    ];
    for (expression, expected) in table {
        let problem = compile(expression).unwrap_err();
        assert!(expected(&problem), "{expression}: {problem:?}");
    }
    assert_eq!(compile(&format!("({}).all(g, g in {})", groups(20), groups(20))).unwrap_err(), Problem::TooExpensive);
}

#[test]
fn whatever_is_not_true_or_false_is_a_problem() {
    for (expression, expected) in [
        ("lease.name", Problem::NotBool("string".into())),
        ("1", Problem::NotBool("int".into())),
        ("lease.grants", Problem::NotBool("list".into())),
        ("1 / 0 == 1", Problem::Failed(String::new())),
        ("lease.grants[7] == ''", Problem::Failed(String::new())),
        ("lease.ttl < 3", Problem::Failed(String::new())),
        ("lease.ticket.matches('(')", Problem::Failed(String::new())),
        ("duration('x') == lease.ttl", Problem::Failed(String::new())),
        ("9223372036854775807 + 1 > 0", Problem::Failed(String::new())),
        ("timestamp('9999-12-31T23:59:59Z') + duration('2s') > now", Problem::Failed(String::new())),
    ] {
        match run(expression, &input()).unwrap_err() {
            Problem::Failed(text) => {
                assert!(matches!(expected, Problem::Failed(_)), "{expression}");
                assert!(!text.is_empty() && text.len() <= MAX_DETAIL);
            }
            other => assert_eq!(other, expected, "{expression}"),
        }
    }
}

#[test]
fn odd_expressions_never_make_the_interpreter_panic() {
    let nested = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
    let mut odd: Vec<String> = [
        "\0",
        "\u{feff}true",
        "'",
        "\"\"\"",
        "r'",
        "b'\\xff' == b''",
        "'\\u12'",
        "'\\ud800' == ''",
        "0x",
        "1e999999 > 0.0",
        "1u - 2u == 0u",
        "-9223372036854775808 == 0",
        "-(-9223372036854775808) == 0",
        "-9223372036854775808 / -1 == 0",
        "-9223372036854775808 % -1 == 0",
        "9223372036854775808 == 0",
        "1 % 0 == 0",
        "1.0 / 0.0 > 0.0",
        "int(1e300) == 0",
        "int('9223372036854775808') == 0",
        "uint(-1) == 0u",
        "double('NaN') == double('NaN')",
        "[1][-1] == 1",
        "[1][9223372036854775807] == 1",
        "{1: 2}[1.5] == 2",
        "{1: 1, 1: 2}[1] == 2",
        "{[]: 1} == {}",
        "{1.5: 1} == {}",
        "duration('9999999999999999h') == lease.ttl",
        "duration('-1.5h') == lease.ttl",
        "-lease.ttl < lease.ttl",
        "timestamp('0000-00-00T00:00:00Z') == now",
        "timestamp(9223372036854775807) == now",
        "timestamp(-9223372036854775807) == now",
        "timestamp('9999-12-31T23:59:59Z').getHours('+23:59') == 1",
        "timestamp('0001-01-01T00:00:00Z').getHours('-23:59') == 1",
        "now.getHours('') == 1",
        "now.getHours(':') == 1",
        "now.getHours('+') == 1",
        "now.getHours('é:00') == 1",
        "now.getHours('1:é') == 1",
        "now.getHours('99999999999999:00') == 1",
        "now.getHours('-9223372036854775808:00') == 1",
        "now - timestamp(0) == lease.ttl",
        "string(b'\\xff') == ''",
        "size('\u{1f600}') == 1",
        "has(lease.name.x)",
        "has(lease)",
        "has(1)",
        "[].all(x, x)",
        "[1].all(1, true)",
        "[1].all(x, y, true)",
        "{}.all(x, x)",
        "lease.all(k, k != '')",
        "'abc'.all(c, true)",
        "1.all(c, true)",
        "null == null",
        "null.x",
        "true ? 1 : 'a'",
        "in",
        "1 in 1",
        "lease in lease",
        "a.b.c.d",
        ".lease.name == ''",
        "lease.`name` == ''",
        "[1, ?2] == []",
        "true && 1",
        "1 || false",
        "!1",
        "'a' < 1",
        "b'' < ''",
        "[] < []",
        "lease < lease",
        "now < lease.ttl",
        "bytes('a') == b'a'",
        "string(now) != string(lease.ttl)",
        "@result",
        "__result__",
        "lease.grants.map(@result, 1) == []",
        "lease.grants.map(lease, lease.size() > 0)[0]",
        "lease.name.matches('[')",
        "lease.name.matches('\\\\')",
        "lease.name.matches('(?i)(?-u:\\\\xff)')",
        "lease.name.matches('a{999999999}')",
        "lease.name.matches('a{5,1}')",
        "lease.name.matches()",
        "matches('a')",
        "size()",
        "lease.size() > 0",
        "getHours()",
        "duration() == 1",
        "if",
        "var x = 1",
        "true; false",
        "// comment",
        "true // comment",
        "\n\n\ntrue\n",
    ]
    .map(str::to_owned)
    .into();
    for n in [5, 31, 32, 33, 64, 95, 96, 97, 300] {
        odd.extend([
            nested("(", ")", n),
            nested("[", "]", n),
            nested("{1:", "}", n),
            nested("!", "", n),
            nested("-", "", n),
            nested("size(", ")", n),
            nested("true ? ", " : 2", n),
            nested("1 ? 2 : ", "", n),
            format!("lease{}", ".a".repeat(n)),
            format!("lease{}", "[0]".repeat(n)),
            format!("true{}", " && true".repeat(n)),
            format!("1{}", " + 1".repeat(n)),
            format!("1{}", " == 1".repeat(n)),
            format!("[1]{}", ".map(x, x)".repeat(n)),
            nested("[1].map(x, ", ")", n),
            "(".repeat(n),
            "[".repeat(n),
            "{".repeat(n),
            "!".repeat(n),
        ]);
    }
    // As much as fits, of what the parser takes in a loop and the visitor of its tree then recurses into.
    for (first, more) in [
        ("1", "+1"),
        ("1", "*1"),
        ("1", "<1"),
        ("1", "==1"),
        ("1", "&&1"),
        ("1", "||1"),
        ("a", ".a"),
        ("a", "[0]"),
        ("a", ".a()"),
        ("", "!"),
        ("", "-"),
        ("", "1?"),
        ("1", "?1:1"),
        ("1", "in 1 "),
        ("a", "{}"),
        ("[1", ",1"),
        ("", "("),
        ("", "a("),
        ("", "["),
        ("", "{"),
        ("", "a{a:"),
        ("", "a.map(a,"),
    ] {
        odd.push(format!("{first}{}", more.repeat((MAX_EXPRESSION - first.len()) / more.len())));
    }
    let mut slowest = (StdDuration::ZERO, String::new());
    for expression in odd {
        let start = Instant::now();
        let input = input();
        let outcome = std::panic::catch_unwind(|| _ = run(&expression, &input));
        assert!(outcome.is_ok(), "{expression}");
        slowest = slowest.max((start.elapsed(), expression));
    }
    println!("the slowest: {slowest:?}");
    assert!(slowest.0 < StdDuration::from_secs(5), "{slowest:?}");
}

/// The largest lease that the schemas allow.
fn largest() -> Input {
    let texts = |count: usize, length: usize| {
        (0..count).map(|n| format!("{n:0>4}{}", "\u{10ffff}".repeat(length - 4))).collect::<Vec<_>>()
    };
    let mut input = input();
    input.requester.groups = texts(256, 256);
    input.requester.username = texts(1, 512).concat();
    input.lease.grants = texts(16, 63);
    input.lease.audiences = texts(4, 253);
    input.lease.reason = texts(1, 512).concat();
    input.lease.ticket = Some(texts(1, 128).concat());
    input.lifecycle.purpose = texts(1, 512).concat();
    input
}

#[test]
fn the_largest_lease_is_evaluated_and_a_larger_one_refused() {
    assert_eq!(run("size(requester.groups) == 256", &largest()), Ok(true));
    let larger: [fn(&mut Input); 5] = [
        |input| input.requester.groups.push(String::new()),
        |input| input.requester.groups[0].push_str(&"x".repeat(100)),
        |input| input.requester.username.push_str(&"x".repeat(100)),
        |input| input.lease.grants.push(String::new()),
        |input| input.lease.ticket = Some("x".repeat(1000)),
    ];
    for enlarge in larger {
        let mut input = largest();
        enlarge(&mut input);
        assert!(matches!(run("true", &input), Err(Problem::InputTooLarge(_))));
    }
}

/// The dearest expressions that are let through: 40 ms at most in a release build on the machine where the charges were measured,
/// and `runtime::evaluator` waits 100 ms. One that exploded would not come to an end here.
#[test]
fn whatever_is_let_through_comes_to_an_end() {
    let doubled = |n: usize| vec!["requester.groups"; n].join(" + ");
    let mut tried = 0;
    let mut candidates = vec![];
    for n in 1..32 {
        candidates.extend([
            format!("requester.groups.map(g, [{}]).size() == 1", vec!["g"; n].join(", ")),
            format!("requester.groups.map(g, {}).size() == 1", vec!["g"; n].join(" + ")),
            format!("requester.groups.map(g, [g]).map(g, {}).map(g, {0}).size() == 1", vec!["g"; n].join(" + ")),
            format!("size({}) == 1", doubled(n)),
            format!("({}).all(g, g != '' {})", doubled(n.min(16)), "&& g != lease.reason ".repeat(n)),
            format!("({}).map(g, g).map(g, g).map(g, g).map(g, g) == []", doubled(n)),
            format!("requester.groups.exists(g, {})", vec!["g in lease.grants"; n].join(" && !") + " && false"),
            format!("requester.groups.exists(g, {})", vec!["g.contains(lease.ticket)"; n].join(" || ")),
            format!("requester.groups.exists(g, g.matches('{}$'))", "[a-z]*".repeat(n)),
            format!("requester.groups.exists(g, g.matches('{}$'))", ".*a".repeat(n)),
            format!(r"requester.groups.exists(g, g.matches('{}$'))", r"\\w*".repeat(n)),
            format!(r"lease.reason.matches('{}$')", r"\\w+".repeat(n * 8)),
            format!(r"lease.reason.matches('\\pL{{{}}}$')", n * 50),
            format!(r"lease.reason.matches('(?i)([^a]{{{n}}}){{{n}}}$')"),
            format!(r"lease.reason.matches('(.{{{n}}}x?){{{n}}}$')"),
            format!(r"lease.reason.matches('(x*y*){{{}}}$')", n * n * 4),
            format!(r"lease.reason.matches('(?i)[a-z\u00e9-\uffff]{{{n}}}$')"),
            format!(r"lease.reason.matches('[\pL&&[^a]]{{{n}}}{{{n}}}$')"),
            format!(r"requester.groups.exists(g, g.matches('\d{{{n}}}$'))"),
            format!(r"requester.groups.exists(g, g.matches('^[a-z]{{{n}}}-[0-9]+$'))"),
        ]);
    }
    let input = largest();
    let mut slowest = (StdDuration::ZERO, String::new());
    for expression in candidates {
        let Ok(rule) = compile(&expression) else { continue };
        let start = Instant::now();
        _ = evaluate(&rule, &input);
        slowest = slowest.max((start.elapsed(), expression));
        tried += 1;
    }
    println!("{tried} let through, the slowest {slowest:?}");
    assert!(tried > 100, "{tried}");
}
