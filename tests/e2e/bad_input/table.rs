//! Specs that the API server refuses, and what it says.

use serde_json::{Value, json};

/// Where a table wants a null that reaches the API server: in a merge patch null means "leave it out".
pub const NULL: &str = "<null>";

const TTL: &str = "write a ttl from 30s to 8760h, as one to three numbers of at most five digits, each with h, m or s, like 90s, 15m or 1h30m";

/// One way to get it wrong.
pub struct Bad {
    /// In words, for whoever reads a failure.
    pub what: &'static str,
    /// A merge patch (RFC 7386) on a good object.
    pub patch: Value,
    /// What the API server says, without the sentence that names the object. `{namespace}` and `{requester}` are the test's.
    pub says: String,
}

fn bad(what: &'static str, patch: Value, says: impl Into<String>) -> Bad {
    Bad { what, patch, says: says.into() }
}

fn spec(what: &'static str, patch: Value, says: impl Into<String>) -> Bad {
    bad(what, json!({ "spec": patch }), says)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("g{n}")).collect()
}

/// What the API server says about bad leases.
pub fn leases() -> Vec<Bad> {
    let delivery = |delivery: Value| json!({ "delivery": delivery });
    let requested_by = |by: Value| json!({ "requestedBy": by });
    let mut all = vec![
        bad("a name of 64 characters", json!({"metadata": {"name": "a".repeat(64)}}), "<nil>: Invalid value: name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it"),
        bad("a name of 253 characters", json!({"metadata": {"name": "a".repeat(253)}}), "<nil>: Invalid value: name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it"),
        bad("a name of 254 characters", json!({"metadata": {"name": "a".repeat(254)}}), r#"[metadata.name: Invalid value: "<254>": must be no more than 253 characters, <nil>: Invalid value: name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it]"#.replace("<254>", &"a".repeat(254))),
        bad("a dot in the name", json!({"metadata": {"name": "a.b"}}), "<nil>: Invalid value: name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it"),
        bad("upper case in the name", json!({"metadata": {"name": "Nightly"}}), r#"[metadata.name: Invalid value: "Nightly": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), <nil>: Invalid value: name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it]"#),
        bad("unicode in the name", json!({"metadata": {"name": "nächtlich"}}), r#"[metadata.name: Invalid value: "nächtlich": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), <nil>: Invalid value: name the lease with at most 63 lower-case letters, digits and dashes, without dots: other names are made from it]"#),
        bad("no name", json!({"metadata": {"name": null}}), "metadata.name: Required value: name or generateName is required"),
        bad("an unknown field beside spec", json!({"sepc": {}}), r#"unknown field "sepc""#),
        bad("a null spec", json!({"spec": NULL}), "spec: Required value"),
        bad("no spec", json!({"spec": null}), "spec: Required value"),
        bad("annotations beyond 256 KiB", json!({"metadata": {"annotations": {"a": "x".repeat(262_144)}}}), "metadata.annotations: Too long: may not be more than 262144 bytes"),
        spec("an unknown field", json!({"tlt": "30s"}), r#"unknown field "spec.tlt""#),
        spec("an unknown field further in", json!({"delivery": {"secretName": "x"}}), r#"unknown field "spec.delivery.secretName""#),
        spec("a null object", json!({"delivery": NULL}), "spec.delivery: Required value"),
        spec("no lifecycleRef", json!({"lifecycleRef": null}), "spec.lifecycleRef: Required value"),
        spec("an empty lifecycle name", json!({"lifecycleRef": {"name": ""}}), r#"spec.lifecycleRef.name: Invalid value: "": spec.lifecycleRef.name in body should be at least 1 chars long"#),
        spec("a lifecycle name of 64 characters", json!({"lifecycleRef": {"name": "a".repeat(64)}}), "spec.lifecycleRef.name: Too long: may not be more than 63 bytes"),
        spec("a dot in the lifecycle name", json!({"lifecycleRef": {"name": "a.b"}}), r#"spec.lifecycleRef.name: Invalid value: "a.b": spec.lifecycleRef.name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"#),
        spec("17 grants", json!({"grants": names(17)}), "spec.grants: Too many: 17: must have at most 16 items"),
        spec("the same grant twice", json!({"grants": ["read", "read"]}), r#"spec.grants[1]: Duplicate value: "read""#),
        spec("an empty grant", json!({"grants": [""]}), r#"spec.grants[0]: Invalid value: "": spec.grants[0] in body should be at least 1 chars long"#),
        spec("a grant of 64 characters", json!({"grants": ["a".repeat(64)]}), "spec.grants[0]: Too long: may not be more than 63 bytes"),
        spec("unicode in a grant", json!({"grants": ["läse"]}), r#"spec.grants[0]: Invalid value: "läse": spec.grants[0] in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"#),
        spec("grants that are no list", json!({"grants": "read"}), r#"spec.grants: Invalid value: "string": spec.grants in body must be of type array: "string""#),
        spec("a ttl that is a number", json!({"ttl": 30}), r#"spec.ttl: Invalid value: "integer": spec.ttl in body must be of type string: "integer""#),
        spec("no reason", json!({"reason": null}), "spec.reason: Required value"),
        spec("an empty reason", json!({"reason": ""}), r#"spec.reason: Invalid value: "": spec.reason in body should be at least 1 chars long"#),
        spec("a reason of 513 characters", json!({"reason": "x".repeat(513)}), "spec.reason: Too long: may not be more than 512 bytes"),
        spec("a reason of 2 MB", json!({"reason": "x".repeat(2_000_000)}), "spec.reason: Too long: may not be more than 512 bytes"),
        spec("an empty ticket", json!({"ticket": ""}), r#"spec.ticket: Invalid value: "": spec.ticket in body should be at least 1 chars long"#),
        spec("a ticket of 129 characters", json!({"ticket": "x".repeat(129)}), "spec.ticket: Too long: may not be more than 128 bytes"),
        spec("5 audiences", json!({"audiences": names(5)}), "spec.audiences: Too many: 5: must have at most 4 items"),
        spec("the same audience twice", json!({"audiences": ["a", "a"]}), r#"spec.audiences[1]: Duplicate value: "a""#),
        spec("an empty audience", json!({"audiences": [""]}), r#"spec.audiences[0]: Invalid value: "": spec.audiences[0] in body should be at least 1 chars long"#),
        spec("an audience of 254 characters", json!({"audiences": ["a".repeat(254)]}), "spec.audiences[0]: Too long: may not be more than 253 bytes"),
        spec("no delivery", json!({"delivery": null}), "spec.delivery: Required value"),
        spec("a delivery without type", delivery(json!({"type": null})), "spec.delivery.type: Required value"),
        spec("an unknown delivery", delivery(json!({"type": "Mail"})), r#"spec.delivery.type: Unsupported value: "Mail": supported values: "TokenRequest", "Secret""#),
        spec("a Secret with TokenRequest", delivery(json!({"secret": {"name": "mine"}})), "spec.delivery.secret: Invalid value: delivery.secret goes with type Secret: set type to Secret, or leave secret out"),
        spec("a Secret without name", delivery(json!({"type": "Secret", "secret": {}})), "spec.delivery.secret.name: Required value"),
        spec("an empty Secret name", delivery(json!({"type": "Secret", "secret": {"name": ""}})), r#"spec.delivery.secret.name: Invalid value: "": spec.delivery.secret.name in body should be at least 1 chars long"#),
        spec("upper case in a Secret name", delivery(json!({"type": "Secret", "secret": {"name": "Mine"}})), r#"spec.delivery.secret.name: Invalid value: "Mine": spec.delivery.secret.name in body should match '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"#),
        spec(
            "a Secret name of 254 characters",
            delivery(json!({"type": "Secret", "secret": {"name": "a".repeat(254)}})),
            "spec.delivery.secret.name: Too long: may not be more than 253 bytes",
        ),
        spec("no requestedBy", json!({"requestedBy": null}), "spec.requestedBy: Required value"),
        spec("requestedBy without username", requested_by(json!({"username": null})), "spec.requestedBy.username: Required value"),
        spec("an empty username", requested_by(json!({"username": ""})), r#"spec.requestedBy.username: Invalid value: "": spec.requestedBy.username in body should be at least 1 chars long"#),
        spec("somebody else's username", requested_by(json!({"username": "mallory"})), "requestedBy.username must be you: write '{requester}'"),
        spec("a username of 513 characters", requested_by(json!({"username": "x".repeat(513)})), "spec.requestedBy.username: Too long: may not be more than 512 bytes"),
        spec("somebody else's groups", requested_by(json!({"groups": ["ci", "admins"]})), "requestedBy.groups must be exactly your groups, without those that begin with system: write [ci]"),
        spec("somebody else's UID", requested_by(json!({"uid": "1"})), "requestedBy.uid is not yours: leave it out, or write ''"),
        spec("a pod that is not the requester", requested_by(json!({"podName": "x"})), "requestedBy.podName is not the pod your token is bound to; leave it out, or take it from `kubectl auth whoami -o yaml`"),
        spec("a credential that is not the requester's", requested_by(json!({"credentialID": "JTI=1"})), "requestedBy.credentialID is not the credential of this request; leave it out, or take it from `kubectl auth whoami -o yaml`"),
        spec("257 groups", requested_by(json!({"groups": names(257)})), "spec.requestedBy.groups: Too many: 257: must have at most 256 items"),
        spec(
            "a lifecycle that the requester may not lease, everything else wrong too",
            json!({
            "ttl": "29s", "grants": names(17), "reason": "", "delivery": {"type": "Mail"}}),
            r#"spec.reason: Invalid value: "": spec.reason in body should be at least 1 chars long, spec.delivery.type: Unsupported value: "Mail": supported values: "TokenRequest", "Secret", spec.grants: Too many: 17: must have at most 16 items"#,
        ),
    ];
    for (what, ttl) in bad_ttls() {
        all.push(spec(what, json!({"ttl": ttl}), format!("spec.ttl: Invalid value: \"{ttl}\": {TTL}")));
    }
    all
}

fn bad_ttls() -> [(&'static str, &'static str); 14] {
    [
        ("a ttl of nothing", "0s"),
        ("a ttl just too short", "29s"),
        ("a ttl of ten years", "87600h"),
        ("a ttl just too long", "8761h"),
        ("a ttl one second too long", "8760h1s"),
        ("a ttl in days", "90d"),
        ("an empty ttl", ""),
        ("a negative ttl", "-5m"),
        ("a ttl in unicode digits", "５m"),
        ("a ttl of four parts", "1s1s1s1s"),
        ("a ttl without unit", "90"),
        ("a ttl with a fraction", "1.5h"),
        ("a ttl with a blank", "1h 30m"),
        ("a ttl with too many digits", "999999s"),
    ]
}

/// What the API server says about bad lifecycles.
pub fn lifecycles() -> Vec<Bad> {
    let terms = |what, patch: Value, says: &str| spec(what, json!({ "terms": patch }), says);
    let grant = |name: &str, role: Value| json!({"grants": [{"name": name, "roleRef": role}]});
    let reader = || json!({"kind": "Role", "name": "reader"});
    let many: Vec<Value> = names(17).iter().map(|name| json!({"name": name, "roleRef": reader()})).collect();
    let rule =
        |expression: &str, message: &str| json!({"validations": [{"expression": expression, "message": message}]});
    let rules: Vec<Value> = (0..17).map(|_| json!({"expression": "true", "message": "m"})).collect();
    let mut all = vec![
        bad(
            "a name of 64 characters",
            json!({"metadata": {"name": "a".repeat(64)}}),
            "<nil>: Invalid value: name the lifecycle with at most 63 lower-case letters, digits and dashes, without dots: it becomes a part of its accounts' names",
        ),
        bad(
            "a name of 253 characters",
            json!({"metadata": {"name": "a".repeat(253)}}),
            "<nil>: Invalid value: name the lifecycle with at most 63 lower-case letters, digits and dashes, without dots: it becomes a part of its accounts' names",
        ),
        bad(
            "a dot in the name",
            json!({"metadata": {"name": "a.b"}}),
            "<nil>: Invalid value: name the lifecycle with at most 63 lower-case letters, digits and dashes, without dots: it becomes a part of its accounts' names",
        ),
        bad(
            "upper case in the name",
            json!({"metadata": {"name": "Nightly"}}),
            r#"[metadata.name: Invalid value: "Nightly": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), <nil>: Invalid value: name the lifecycle with at most 63 lower-case letters, digits and dashes, without dots: it becomes a part of its accounts' names]"#,
        ),
        bad(
            "unicode in the name",
            json!({"metadata": {"name": "nächtlich"}}),
            r#"[metadata.name: Invalid value: "nächtlich": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), <nil>: Invalid value: name the lifecycle with at most 63 lower-case letters, digits and dashes, without dots: it becomes a part of its accounts' names]"#,
        ),
        spec("an unknown field", json!({"stopPolcy": "Hold"}), r#"unknown field "spec.stopPolcy""#),
        spec(
            "an unknown field in the terms",
            json!({"terms": {"maxTtl": "1h"}}),
            r#"unknown field "spec.terms.maxTtl""#,
        ),
        spec("no owner", json!({"owner": null}), "spec.owner: Required value"),
        spec(
            "an empty team",
            json!({"owner": {"team": ""}}),
            r#"spec.owner.team: Invalid value: "": spec.owner.team in body should be at least 1 chars long"#,
        ),
        spec(
            "a team of 129 characters",
            json!({"owner": {"team": "x".repeat(129)}}),
            "spec.owner.team: Too long: may not be more than 128 bytes",
        ),
        spec("no contact", json!({"owner": {"contact": null}}), "spec.owner.contact: Required value"),
        spec(
            "a contact of 257 characters",
            json!({"owner": {"contact": "x".repeat(257)}}),
            "spec.owner.contact: Too long: may not be more than 256 bytes",
        ),
        spec(
            "an empty purpose",
            json!({"purpose": ""}),
            r#"spec.purpose: Invalid value: "": spec.purpose in body should be at least 1 chars long"#,
        ),
        spec(
            "a purpose of 513 characters",
            json!({"purpose": "x".repeat(513)}),
            "spec.purpose: Too long: may not be more than 512 bytes",
        ),
        spec("no class", json!({"class": null}), "spec.class: Required value"),
        spec(
            "an unknown class",
            json!({"class": "Robot"}),
            r#"spec.class: Unsupported value: "Robot": supported values: "Workload", "Pipeline", "Agent", "ThirdParty", "BreakGlass""#,
        ),
        spec(
            "an unknown stopPolicy",
            json!({"stopPolicy": "Pause"}),
            r#"spec.stopPolicy: Unsupported value: "Pause": supported values: "None", "Hold", "HoldAndRevoke""#,
        ),
        spec(
            "an expirationTime that is none",
            json!({"expirationTime": "tomorrow"}),
            r#"spec.expirationTime: Invalid value: "tomorrow": spec.expirationTime in body must be of type date-time: "tomorrow""#,
        ),
        spec("17 grants", json!({ "grants": many }), "spec.grants: Too many: 17: must have at most 16 items"),
        spec(
            "two grants of one name",
            json!({"grants": [many[0], many[0]]}),
            r#"spec.grants[1]: Duplicate value: {"name":"g0"}"#,
        ),
        spec("a grant without role", json!({"grants": [{"name": "read"}]}), "spec.grants[0].roleRef: Required value"),
        spec(
            "a bad kind of role",
            grant("read", json!({"kind": "Group", "name": "reader"})),
            r#"spec.grants[0].roleRef.kind: Unsupported value: "Group": supported values: "Role", "ClusterRole""#,
        ),
        spec(
            "an empty role name",
            grant("read", json!({"kind": "Role", "name": ""})),
            r#"spec.grants[0].roleRef.name: Invalid value: "": spec.grants[0].roleRef.name in body should be at least 1 chars long"#,
        ),
        spec(
            "a role name of 254 characters",
            grant("read", json!({"kind": "Role", "name": "a".repeat(254)})),
            "spec.grants[0].roleRef.name: Too long: may not be more than 253 bytes",
        ),
        spec(
            "unicode in a grant's name",
            grant("läse", reader()),
            r#"spec.grants[0].name: Invalid value: "läse": spec.grants[0].name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"#,
        ),
        spec(
            "a grant's name of 64 characters",
            grant(&"a".repeat(64), reader()),
            "spec.grants[0].name: Too long: may not be more than 63 bytes",
        ),
        spec(
            "a role that the author may not bind",
            grant("admin", json!({"kind": "ClusterRole", "name": "admin"})),
            "grant 'admin': you may not bind ClusterRole admin in namespace {namespace}; ask its owner for the verb bind on it there (apiGroups [rbac.authorization.k8s.io], resources [clusterroles], resourceNames [admin]), or leave the grant out",
        ),
        spec("no terms", json!({"terms": null}), "spec.terms: Required value"),
        terms("no ttl", json!({"ttl": null}), "spec.terms.ttl: Required value"),
        terms("no longest ttl", json!({"ttl": {"max": null}}), "spec.terms.ttl.max: Required value"),
        terms(
            "a default ttl longer than the longest",
            json!({"ttl": {"default": "61m"}}),
            "spec.terms.ttl.default: Invalid value: ttl.default must not be longer than ttl.max: shorten it, or leave it out to mean ttl.max",
        ),
        terms(
            "a default ttl that is too short",
            json!({"ttl": {"default": "29s"}}),
            r#"spec.terms.ttl.default: Invalid value: "29s": write a ttl from 30s to 8760h, as one to three numbers of at most five digits, each with h, m or s, like 90s, 15m or 1h30m"#,
        ),
        terms("no delivery", json!({"delivery": null}), "spec.terms.delivery: Required value"),
        terms(
            "an empty delivery",
            json!({"delivery": []}),
            "spec.terms.delivery: Invalid value: 0: spec.terms.delivery in body should have at least 1 items",
        ),
        terms(
            "the same delivery twice",
            json!({"delivery": ["Secret", "Secret"]}),
            r#"spec.terms.delivery[1]: Duplicate value: "Secret""#,
        ),
        terms(
            "three deliveries",
            json!({"delivery": ["Secret", "TokenRequest", "Secret"]}),
            r#"spec.terms.delivery: Too many: 3: must have at most 2 items, spec.terms.delivery[2]: Duplicate value: "Secret""#,
        ),
        terms(
            "an unknown delivery",
            json!({"delivery": ["Mail"]}),
            r#"spec.terms.delivery[0]: Unsupported value: "Mail": supported values: "TokenRequest", "Secret""#,
        ),
        terms(
            "Secret names without delivery Secret",
            json!({"delivery": ["TokenRequest"], "secretNames": ["mine"]}),
            "spec.terms.secretNames: Invalid value: secretNames needs delivery to list Secret: add Secret to terms.delivery, or leave secretNames out",
        ),
        terms(
            "33 Secret names",
            json!({"secretNames": names(33)}),
            "spec.terms.secretNames: Too many: 33: must have at most 32 items",
        ),
        terms(
            "the same Secret name twice",
            json!({"secretNames": ["a", "a"]}),
            r#"spec.terms.secretNames[1]: Duplicate value: "a""#,
        ),
        terms(
            "an empty Secret name",
            json!({"secretNames": [""]}),
            r#"spec.terms.secretNames[0]: Invalid value: "": spec.terms.secretNames[0] in body should be at least 1 chars long"#,
        ),
        terms(
            "a Secret name that no Secret can have",
            json!({"secretNames": ["Mine!"]}),
            r#"spec.terms.secretNames[0]: Invalid value: "Mine!": spec.terms.secretNames[0] in body should match '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"#,
        ),
        terms(
            "5 audiences",
            json!({"audiences": names(5)}),
            "spec.terms.audiences: Too many: 5: must have at most 4 items",
        ),
        terms(
            "an unknown approval",
            json!({"approval": {"type": "Sometimes"}}),
            r#"spec.terms.approval.type: Unsupported value: "Sometimes": supported values: "Required", "Retrospective", "NotRequired""#,
        ),
        terms(
            "an approval that asks nobody, twice",
            json!({"approval": {"count": 2}}),
            "spec.terms.approval: Invalid value: approval type NotRequired asks nobody: leave count, timeout, maxRepeat and independence out, or choose Required or Retrospective",
        ),
        terms(
            "an approval by nobody",
            json!({"approval": {"type": "Required", "count": 0}}),
            "spec.terms.approval.count: Invalid value: 0: spec.terms.approval.count in body should be greater than or equal to 1",
        ),
        terms(
            "an approval in no time",
            json!({"approval": {"type": "Required", "timeout": "1s"}}),
            "spec.terms.approval.timeout: Invalid value: \"1s\": write a duration from 5s to 8760h, as one to three numbers of at most five digits, each with h, m or s, like 90s, 15m or 1h30m",
        ),
        terms(
            "an unknown backstop",
            json!({"backstop": "CronJob"}),
            r#"spec.terms.backstop: Unsupported value: "CronJob": supported values: "Job", "None""#,
        ),
        terms(
            "an unknown onRoleChange",
            json!({"onRoleChange": "Ignore"}),
            r#"spec.terms.onRoleChange: Unsupported value: "Ignore": supported values: "RevokeIfWidened", "Report""#,
        ),
        terms(
            "maxActive of 0",
            json!({"maxActive": 0}),
            "spec.terms.maxActive: Invalid value: 0: spec.terms.maxActive in body should be greater than or equal to 1",
        ),
        terms(
            "maxActive of 10001",
            json!({"maxActive": 10_001}),
            "spec.terms.maxActive: Invalid value: 10001: spec.terms.maxActive in body should be less than or equal to 10000",
        ),
        terms(
            "maxActive of 2^40",
            json!({"maxActive": 1_i64 << 40}),
            r#"[<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.terms.maxActive, spec.terms.maxActive: Invalid value: 1099511627776: spec.terms.maxActive in body should be less than or equal to 10000]"#,
        ),
        terms(
            "maxActive of a half",
            json!({"maxActive": 0.5}),
            r#"spec.terms.maxActive: Invalid value: "float64": spec.terms.maxActive in body must be of type int32: "float64", <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.terms.maxActive, spec.terms.maxActive: Invalid value: 0.5: spec.terms.maxActive in body should be greater than or equal to 1"#,
        ),
        terms(
            "maxActivePerRequester of -1",
            json!({"maxActivePerRequester": -1}),
            "spec.terms.maxActivePerRequester: Invalid value: -1: spec.terms.maxActivePerRequester in body should be greater than or equal to 1",
        ),
        terms(
            "17 validations",
            json!({ "validations": rules }),
            "spec.terms.validations: Too many: 17: must have at most 16 items",
        ),
        terms(
            "an empty expression",
            rule("", "m"),
            r#"spec.terms.validations[0].expression: Invalid value: "": spec.terms.validations[0].expression in body should be at least 1 chars long"#,
        ),
        terms(
            "an expression of 1025 characters",
            rule(&"x".repeat(1025), "m"),
            "spec.terms.validations[0].expression: Too long: may not be more than 1024 bytes",
        ),
        terms(
            "an empty message",
            rule("true", ""),
            r#"spec.terms.validations[0].message: Invalid value: "": spec.terms.validations[0].message in body should be at least 1 chars long"#,
        ),
        terms(
            "a message of 513 characters",
            rule("true", &"x".repeat(513)),
            "spec.terms.validations[0].message: Too long: may not be more than 512 bytes",
        ),
        terms(
            "a validation without message",
            json!({"validations": [{"expression": "true"}]}),
            "spec.terms.validations[0].message: Required value",
        ),
    ];
    for (what, ttl) in bad_ttls() {
        all.push(spec(
            what,
            json!({"terms": {"ttl": {"max": ttl}}}),
            format!("spec.terms.ttl.max: Invalid value: \"{ttl}\": {TTL}"),
        ));
    }
    all
}
