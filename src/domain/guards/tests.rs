use serde_json::{Value, json};

use super::*;
use crate::api::lifecycle::RoleKind;

fn policy(name: &str, spec: Value) -> Arc<PolicySeen> {
    Arc::new(PolicySeen { name: name.into(), spec: serde_json::from_value(spec).unwrap() })
}

fn terms(spec: Value) -> Terms {
    serde_json::from_value(spec).unwrap()
}

fn labels(text: &str) -> Labels {
    text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

/// A lifecycle in `home` that grants role `deploy` into `prod`, and `view` at home.
struct Ground {
    namespaces: BTreeMap<String, Labels>,
    deploy: RoleRef,
    view: RoleRef,
    rules: Vec<PolicyRule>,
}

impl Ground {
    fn new() -> Self {
        let role = |name: &str| RoleRef { kind: RoleKind::ClusterRole, name: name.into() };
        let rule = |verbs: &[&str], resource: &str| PolicyRule {
            verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
            api_groups: vec![String::new()],
            resources: vec![resource.into()],
            ..PolicyRule::default()
        };
        Self {
            namespaces: [("home", "team=a env=dev"), ("prod", "team=a env=prod")]
                .map(|(name, text)| (name.to_owned(), labels(text)))
                .into(),
            deploy: role("deploy"),
            view: role("view"),
            rules: vec![rule(&["get", "list"], "secrets"), rule(&["get"], "pods")],
        }
    }

    fn scope(&self) -> Scope<'_> {
        let grant = |name, namespace, role| GrantSeen { name, namespace, role, rules: Some(self.rules.as_slice()) };
        Scope {
            home: "home",
            grants: vec![grant("deploy", "prod", &self.deploy), grant("view", "home", &self.view)],
            namespaces: &self.namespaces,
        }
    }

    fn guarding(&self, policies: &[Arc<PolicySeen>]) -> Vec<(String, Vec<String>)> {
        let scope = self.scope();
        guarding(policies, &scope)
            .into_iter()
            .map(|g| (g.policy.name.clone(), g.grants.iter().map(|g| g.name.to_owned()).collect()))
            .collect()
    }

    fn forbidden(&self, policies: &[Arc<PolicySeen>]) -> Vec<String> {
        let scope = self.scope();
        let guards = guarding(policies, &scope);
        violations(&scope, &guards).into_iter().map(|(_, refusal)| refusal.to_string()).collect()
    }

    fn effective(&self, own: Value, policies: &[Arc<PolicySeen>]) -> Effective {
        let scope = self.scope();
        Effective::of(&terms(own), &guarding(policies, &scope))
    }
}

#[test]
fn selectors_mean_what_they_mean_everywhere_in_kubernetes() {
    let table = [
        (json!({}), true),
        (json!({"matchLabels": {"env": "prod"}}), true),
        (json!({"matchLabels": {"env": "dev"}}), false),
        (json!({"matchLabels": {"env": "prod", "x": "y"}}), false),
        (json!({"matchExpressions": [{"key": "env", "operator": "In", "values": ["dev", "prod"]}]}), true),
        (json!({"matchExpressions": [{"key": "x", "operator": "In", "values": [""]}]}), false),
        (json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}), false),
        (json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["prod"]}]}), true),
        (json!({"matchExpressions": [{"key": "env", "operator": "Exists"}]}), true),
        (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true),
        (json!({"matchLabels": {"env": "prod"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
    ];
    for (selector, expected) in table {
        let read: Selector = serde_json::from_value(selector.clone()).unwrap();
        assert_eq!(selects(&read, &labels("env=prod team=a")), expected, "{selector}");
    }
}

#[test]
fn a_policy_guards_what_is_granted_into_the_namespaces_it_selects_wherever_the_lifecycle_is() {
    let ground = Ground::new();
    let prod = json!({"matchLabels": {"env": "prod"}});
    let dev = json!({"matchLabels": {"env": "dev"}});
    let guarding = |spec: Value| ground.guarding(&[policy("p", spec)]);
    let all = vec![("p".to_owned(), vec!["deploy".to_owned(), "view".to_owned()])];
    assert_eq!(guarding(json!({})), all);
    assert_eq!(guarding(json!({"match": {"lifecycleNamespaces": dev}})), all);
    assert_eq!(guarding(json!({"match": {"grantNamespaces": prod}})), [("p".to_owned(), vec!["deploy".to_owned()])]);
    assert_eq!(guarding(json!({"match": {"grantNamespaces": prod, "lifecycleNamespaces": prod}})), []);
    assert_eq!(guarding(json!({"match": {"grantNamespaces": {"matchLabels": {"env": "test"}}}})), []);
}

#[test]
fn the_stricter_wins_in_every_term() {
    let ground = Ground::new();
    let own = json!({
        "ttl": {"default": "4h", "max": "8h"}, "maxActive": 5, "delivery": ["TokenRequest", "Secret"],
        "audiences": ["a", "b"], "secretNames": ["x"], "backstop": "None", "onRoleChange": "Report",
        "approval": {"type": "NotRequired"},
        "validations": [{"expression": "true", "message": "own"}],
    });
    let policies = [
        policy(
            "loose",
            json!({"terms": {"ttl": {"max": "24h"}, "maxActive": 9, "backstop": "None", "onRoleChange": "Report"}}),
        ),
        policy(
            "tight",
            json!({"terms": {
                "ttl": {"max": "1h"}, "maxActive": 2, "maxActivePerRequester": 1, "delivery": ["TokenRequest"],
                "audiences": ["b", "c"], "secretNames": [], "backstop": "Job", "onRoleChange": "RevokeIfWidened",
                "approval": {"type": "Required", "count": 2, "timeout": "10m", "maxRepeat": "1h"},
                "validations": [{"expression": "false", "message": "theirs"}],
            }}),
        ),
    ];
    let loose = ground.effective(own.clone(), &policies[..1]);
    assert_eq!((loose.backstop, loose.on_role_change), (Backstop::None, OnRoleChange::Report));
    let all = ground.effective(own, &policies);
    let by = |value: i32| Some(Bound { value, by: Some("tight".to_owned()) });
    assert_eq!(all.ttl_max, Bound { value: Duration::from_secs(3600), by: Some("tight".into()) });
    assert_eq!(all.ttl_default, Duration::from_secs(3600), "a default is never above the most");
    assert_eq!((all.max_active, all.max_active_per_requester), (by(2), by(1)));
    assert_eq!((all.delivery, all.audiences), (vec![DeliveryType::TokenRequest], vec!["b".to_owned()]));
    assert!(all.secret_names.is_empty());
    assert_eq!(all.narrowed_by, ["tight"]);
    assert_eq!((all.backstop, all.on_role_change), (Backstop::Job, OnRoleChange::RevokeIfWidened));
    assert_eq!(all.validations.iter().map(|v| v.message.as_str()).collect::<Vec<_>>(), ["own", "theirs"]);
    assert_eq!(all.policies, ["loose", "tight"]);
    let approval = all.approval;
    assert_eq!((approval.kind.value, approval.count), (ApprovalType::Required, 2));
    assert_eq!((approval.timeout.as_secs(), approval.max_repeat.map(Duration::as_secs)), (600, Some(3600)));
    assert_eq!(approval.independence, Independence::Required);
}

#[test]
fn approvals_merge_to_the_stricter_one() {
    let ground = Ground::new();
    let merged = |own: Value, theirs: &[Value]| {
        let base = json!({"ttl": {"max": "1h"}, "delivery": ["Secret"]});
        let mut own_terms = base;
        if !own.is_null() {
            own_terms["approval"] = own;
        }
        let policies: Vec<_> = theirs.iter().map(|a| policy("p", json!({"terms": {"approval": a}}))).collect();
        let a = ground.effective(own_terms, &policies).approval;
        (a.kind.value, a.count, a.timeout.as_secs(), a.max_repeat.map(Duration::as_secs), a.independence)
    };
    let (required, retro, none) = (ApprovalType::Required, ApprovalType::Retrospective, ApprovalType::NotRequired);
    let (strict, recorded) = (Independence::Required, Independence::Recorded);
    // Absent means that one person must.
    assert_eq!(merged(Value::Null, &[]), (required, 1, 3600, None, strict));
    assert_eq!(merged(json!({"type": "NotRequired"}), &[]), (none, 0, 3600, None, strict));
    // A policy that asks nobody loosens nothing.
    assert_eq!(merged(json!({"count": 2}), &[json!({"type": "NotRequired"})]), (required, 2, 3600, None, strict));
    assert_eq!(
        merged(json!({"type": "NotRequired"}), &[json!({"type": "Retrospective"})]),
        (retro, 1, 3600, None, strict)
    );
    assert_eq!(merged(json!({"type": "Retrospective"}), &[json!({})]).0, required);
    // A lifecycle that asks and does not speak of repeats wants none; the shorter of two wins.
    assert_eq!(merged(json!({}), &[json!({"maxRepeat": "1h"})]).3, None);
    assert_eq!(merged(json!({"maxRepeat": "2h"}), &[json!({"maxRepeat": "1h"})]).3, Some(3600));
    assert_eq!(merged(json!({"maxRepeat": "2h"}), &[json!({})]).3, Some(7200));
    // Independence.
    assert_eq!(merged(json!({"independence": "Recorded"}), &[]).4, recorded);
    assert_eq!(merged(json!({"independence": "Recorded"}), &[json!({})]).4, recorded);
    assert_eq!(merged(json!({"independence": "Recorded"}), &[json!({"independence": "Required"})]).4, strict);
    assert_eq!(merged(json!({}), &[json!({"independence": "Recorded"})]).4, strict);
}

#[test]
fn roles_and_rules_are_forbidden_where_the_policy_guards() {
    let ground = Ground::new();
    let open = policy("open", json!({"grants": {"crossNamespace": {"type": "Allow"}}}));
    let prod = json!({"grantNamespaces": {"matchLabels": {"env": "prod"}}});
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]);
    let by_rule = policy("p", json!({"match": prod, "grants": {"forbidRules": secrets}}));
    let found = ground.forbidden(&[open.clone(), by_rule]);
    assert_eq!(
        found,
        [
            "policy p forbids what ClusterRole deploy of grant deploy allows (get,list on secrets of core): grant a role without that"
        ]
    );
    let by_name = policy("p", json!({"grants": {"forbidRoles": [{"kind": "ClusterRole", "name": "view"}]}}));
    let found = ground.forbidden(&[open.clone(), by_name]);
    assert_eq!(found, ["policy p forbids granting ClusterRole view (grant view): grant another role"]);
    assert_eq!(ground.forbidden(&[open]), [""; 0]);
}

#[test]
fn grants_into_other_namespaces_need_consent_and_the_stricter_wins() {
    let ground = Ground::new();
    let said = |kind: Value| json!({"grants": {"crossNamespace": kind}});
    let (allow, forbid) = (said(json!({"type": "Allow"})), said(json!({"type": "Forbid"})));
    let same = |label: &str| said(json!({"type": "SameLabel", "label": label}));
    let refused = |specs: &[Value]| {
        let policies: Vec<_> = specs.iter().enumerate().map(|(n, s)| policy(&format!("p{n}"), s.clone())).collect();
        ground.forbidden(&policies).len()
    };
    assert_eq!(refused(&[]), 1, "forbidden unless opened");
    assert_eq!(
        refused(&[json!({"terms": {"ttl": {"max": "1h"}}})]),
        1,
        "a policy that does not speak of it opens nothing"
    );
    assert_eq!(refused(std::slice::from_ref(&allow)), 0);
    assert_eq!(refused(&[same("team")]), 0);
    assert_eq!(refused(&[same("env")]), 1, "different values");
    assert_eq!(refused(&[same("absent")]), 1, "a label that both lack is shared by nobody");
    assert_eq!(refused(&[allow.clone(), forbid.clone()]), 1);
    assert_eq!(refused(&[allow.clone(), same("env")]), 1);
    let elsewhere = json!({"match": {"grantNamespaces": {"matchLabels": {"env": "dev"}}}, "grants": {"crossNamespace": {"type": "Allow"}}});
    assert_eq!(refused(&[elsewhere]), 1, "consent is given where the policy guards");
    let everywhere_forbidden = policy("p", forbid);
    let open = policy("open", allow);
    assert_eq!(
        ground.forbidden(&[open, everywhere_forbidden]),
        ["policy p refuses grant deploy into namespace prod: it forbids them"]
    );
}

#[test]
fn the_strongest_stop_wins() {
    let ground = Ground::new();
    let scope = ground.scope();
    let policies = [
        policy("a", json!({"stopPolicy": "Hold"})),
        policy("b", json!({"stopPolicy": "HoldAndRevoke"})),
        policy("c", json!({"stopPolicy": "None"})),
    ];
    assert_eq!(stop(&guarding(&policies, &scope)), Some((StopPolicy::HoldAndRevoke, "b".into())));
    assert_eq!(stop(&guarding(&policies[2..], &scope)), None);
}

#[test]
fn a_policy_that_selects_no_granted_namespaces_guards_what_grants_nothing_and_another_does_not() {
    let ground = Ground::new();
    let scope = Scope { grants: vec![], ..ground.scope() };
    let into = json!({"match": {"grantNamespaces": {"matchLabels": {"team": "a"}}}});
    let policies = [policy("everything", json!({})), policy("granted", into)];
    let names: Vec<&str> = guarding(&policies, &scope).iter().map(|g| g.policy.name.as_str()).collect();
    assert_eq!(names, ["everything"]);
}

#[test]
fn a_label_without_a_value_is_no_label_that_two_namespaces_share() {
    let mut ground = Ground::new();
    let terms = json!({"grants": {"crossNamespace": {"type": "SameLabel", "label": "team"}}});
    let refused = |ground: &Ground| {
        let scope = ground.scope();
        let policies = [policy("opens", terms.clone())];
        !violations(&scope, &guarding(&policies, &scope)).is_empty()
    };
    assert!(!refused(&ground));
    for labels in ground.namespaces.values_mut() {
        labels.insert("team".into(), String::new());
    }
    assert!(refused(&ground));
}
