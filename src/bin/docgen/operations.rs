//! What expressions of connected systems' operations may say, and what is refused.

use std::fmt::Write;

use super::{cell, code};

/// Variable, type, meaning.
const VARIABLES: &[(&str, &str, &str)] = &[
    ("params.<name>", "string", "what the workflow's step says in `with`; exactly the operation's `params`"),
    ("lease.name", "string", "the lease's name"),
    ("lease.namespace", "string", "its namespace"),
    ("lease.uid", "string", "its UID"),
    ("lease.reason", "string", "why it is needed"),
    ("lease.ticket", "string", "the change or incident; empty if there is none"),
    ("lease.grants", "list of string", "what it holds, by the names of the lifecycle's grants"),
    ("lease.ttl", "duration", "its life"),
    ("lease.requestDigest", "string", "the digest that people agree to; empty before it is known"),
    ("lease.approvers", "list of string", "user names of who agreed"),
    ("lease.endReason", "string", "why it ended; empty before"),
    ("lease.endTime", "string", "when, in RFC 3339; empty before"),
    ("lease.evidence", "string", "what proves that the credential is dead; empty before"),
    ("lifecycle.name", "string", "the lifecycle's name"),
    ("lifecycle.namespace", "string", "its namespace"),
    ("lifecycle.class", "string", "`Workload`, `Pipeline`, `Agent`, `ThirdParty` or `BreakGlass`"),
    ("lifecycle.owner.team", "string", "the owning team"),
    ("lifecycle.owner.contact", "string", "where the team is reached"),
    ("lifecycle.purpose", "string", "what the identity does"),
    ("requester.username", "string", "who asked"),
    ("requester.uid", "string", "their UID; empty if there is none"),
    ("requester.groups", "list of string", "their groups"),
    (
        "credential.token",
        "string",
        "the token; not in `path`, `success` and `retryable`, nor where the operator does not hold it",
    ),
    ("credential.serviceAccount", "string", "the account's name, in `leasehold-leases`"),
    ("credential.expirationTime", "string", "the lease's end, in RFC 3339"),
    ("credential.server", "string", "the API server's URL"),
    ("credential.ca", "string", "its CA certificates, PEM"),
    ("now", "timestamp", "when the call was rendered"),
    ("response.status", "int", "the answer's status; `success` and `retryable` only, as all of `response`"),
    ("response.headers", "map", "its headers by their names in lower case, the first 32 of at most 1024 characters"),
    (
        "response.body",
        "any",
        "its body: JSON if it is that, and said to be that or nothing is said; otherwise a string; at most 8192 values",
    ),
];

/// Part, expression, meaning.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("path", "'/v1/projects/' + urlquery(params.project) + '/variables'", "a value as one segment"),
    ("path", "'/search' + (lease.ticket == '' ? '' : '?q=' + urlquery(lease.ticket))", "a value in a query"),
    ("body", "{'key': 'KUBE_TOKEN', 'value': credential.token, 'masked': true}", "sent as JSON"),
    ("body", "'lease ' + lease.name + ' of ' + requester.username + ' has ended: ' + lease.endReason", "sent as text"),
    ("success", "response.status in [200, 404]", "gone is as good as deleted"),
    ("success", "response.body.changes.exists(c, c.id == lease.ticket && c.state == 'approved')", "a gate"),
    ("retryable", "response.status == 409 || response.status >= 500", "what is worth another try"),
];

pub fn page() -> String {
    let mut out = String::from(
        "# Operations\n\nThe expressions in `operations` of a ConnectedSystem, in [CEL](https://cel.dev). One that cannot be used shows in condition `Ready` of the system \
         (`ExpressionInvalid`) before anybody waits for a call.\n\n## Variables\n\n| variable | type | what it is |\n|---|---|---|\n",
    );
    for (name, kind, meaning) in VARIABLES {
        _ = writeln!(out, "| {} | {kind} | {} |", code(name), cell(meaning));
    }
    out.push_str(
        "\nWhat is not known yet is an empty text, but `credential` before anything is issued: an expression that uses it then fails.\n\n\
         `urlquery(text)` encodes a text for a segment of a path and for a query alike. In `path` every value that is not written out stands in it.\n\n\
         ## What each gives\n\n\
         - `path`: a text that begins with `/` (of a Vault: the secret's path). A segment `.` or `..`, also encoded, is refused.\n\
         - A header: a text of one line, in ASCII.\n\
         - `body`: a map or list, sent as JSON with its keys sorted, or a text; at most 256 KiB. Timestamps are in RFC 3339, durations as `900s`.\n\
         - `success`, `retryable`: true or false. One that fails counts as refused.\n\n## Examples\n\n| part | expression | what for |\n|---|---|---|\n",
    );
    for (part, expression, meaning) in EXAMPLES {
        _ = writeln!(out, "| `{part}` | {} | {} |", code(expression), cell(meaning));
    }
    out.push_str(
        "\n## What a call comes to\n\n| answer | without `success` and `retryable` |\n|---|---|\n\
         | 2xx | done |\n| 408, 425, 429, 5xx | tried again, not before `Retry-After` (at most 120 seconds) |\n| anything else, also a redirect | refused |\n\
         | none in time, a connection that breaks, a certificate that is not to be trusted, more than 256 KiB | tried again: whether the call was carried out is not known |\n\n\
         Each call has an `Idempotency-Key`, `<lease UID>/<step>`, the same at every try; of an undo `<lease UID>/<step>/undo`; of a gate another one each time. A system that did not answer five times in a row, or with 5xx, is left alone for 5 seconds, then for twice as long after each trial that fails, up to \
         a minute.\n\nWhat expressions may cost is bounded as it is for [validations](validations.md#what-is-refused).\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use leasehold::{
        api::system::Operation,
        systems::{check_operation, known_names},
    };

    use super::*;

    fn with(part: &str, expression: &str) -> Operation {
        let mut operation =
            serde_json::json!({"name": "op", "method": "POST", "path": "'/'", "params": ["name", "project"]});
        operation[part] = expression.into();
        serde_json::from_value(operation).expect("an operation")
    }

    #[test]
    fn every_variable_is_there_and_none_is_left_out() {
        let documented: BTreeSet<String> = VARIABLES.iter().map(|(name, ..)| name.replace("<name>", "name")).collect();
        assert_eq!(documented, known_names(&["name".into()]).into_iter().collect());
    }

    #[test]
    fn every_example_can_be_used() {
        for (part, expression, _) in EXAMPLES {
            let checked = check_operation(&with(part, expression));
            assert!(checked.is_ok(), "{expression}: {checked:?}");
        }
    }
}
