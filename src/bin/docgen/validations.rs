//! What tenants' rules may say: the variables, and what is refused.

use std::fmt::Write;

use leasehold::domain::validations::Problem;

use super::{cell, code};

/// Variable, type, meaning.
const VARIABLES: &[(&str, &str, &str)] = &[
    ("lease.name", "string", "the lease's name"),
    ("lease.namespace", "string", "its namespace"),
    ("lease.ttl", "duration", "what it asks for, or the lifecycle's default"),
    ("lease.reason", "string", "why it is needed"),
    ("lease.ticket", "string", "the change or incident; empty if there is none"),
    ("lease.grants", "list of string", "what is asked for, by the names of the lifecycle's grants"),
    ("lease.audiences", "list of string", "audiences that are asked for besides the API server"),
    ("lease.delivery", "string", "`TokenRequest` or `Secret`"),
    (
        "lease.outlives",
        "list of string",
        "by what a holder of the granted roles could leave something behind: words of [this list](reasons.md#what-can-outlive-a-lease)",
    ),
    ("lifecycle.name", "string", "the lifecycle's name"),
    ("lifecycle.namespace", "string", "its namespace, which is the lease's"),
    ("lifecycle.class", "string", "`Workload`, `Pipeline`, `Agent`, `ThirdParty` or `BreakGlass`"),
    ("lifecycle.owner.team", "string", "the owning team"),
    ("lifecycle.owner.contact", "string", "where the team is reached"),
    ("lifecycle.purpose", "string", "what the identity does"),
    ("requester.username", "string", "who asks, as the API server knows them"),
    ("requester.uid", "string", "their UID; empty if the authenticator gives none"),
    ("requester.groups", "list of string", "their groups, without those that begin with `system:`"),
    ("requester.podName", "string", "the pod whose token was used; empty if there is none"),
    ("approval.type", "string", "`Required`, `Retrospective` or `NotRequired`, after every policy has spoken"),
    ("approval.count", "int", "how many have to agree; 0 where nobody is asked"),
    ("now", "timestamp", "when the rule is evaluated"),
];

/// Rules as they are written.
const EXAMPLES: &[(&str, &str)] = &[
    ("lease.ttl <= duration('30m') || 'sre' in requester.groups", "over 30 minutes only for sre"),
    ("lease.ticket.matches('^CHG-[0-9]+$')", "name the change as CHG-1234"),
    ("lifecycle.class != 'Agent' || approval.type == 'Required'", "agents need an approval"),
    ("lease.grants.all(g, g != 'admin') || approval.count >= 2", "admin needs two who agree"),
    ("approval.type == 'Required' || !('Exec' in lease.outlives)", "who may exec needs an approval"),
    ("now.getDayOfWeek() in [1, 2, 3, 4]", "from Monday to Thursday, in UTC"),
];

pub fn page() -> String {
    let mut out = String::from(
        "# Validations\n\nRules in [CEL](https://cel.dev) that every lease must meet: `terms.validations` of a ServiceAccountLifecycle and of a \
         CredentialLeasePolicy. All apply. A rule that cannot be evaluated is a rule that is not met: the lease is Denied, and condition `Ready` of the lifecycle or \
         the policy says why beforehand (`ValidationInvalid`).\n\n## Variables\n\n| variable | type | what it is |\n|---|---|---|\n",
    );
    for (name, kind, meaning) in VARIABLES {
        _ = writeln!(out, "| {} | {kind} | {} |", code(name), cell(meaning));
    }
    out.push_str("\nNothing is ever absent: what was not given is an empty text or list, so no rule needs `has()`.\n\n## Examples\n\n| expression | message |\n|---|---|\n");
    for (expression, message) in EXAMPLES {
        _ = writeln!(out, "| {} | {} |", code(expression), cell(message));
    }
    out.push_str(
        "\n## What is refused\n\nRules run in the process that has to end leases. What one may cost is bounded before it runs, and it runs on a thread of its own with a \
         deadline. The message is one of these:\n\n",
    );
    let problems = [
        Problem::TooLong,
        Problem::TooDeep,
        Problem::NestedMacros,
        Problem::TooManyMacros,
        Problem::TooManyEntries,
        Problem::TooExpensive,
        Problem::PatternNotLiteral,
        Problem::Structure,
        Problem::UnknownName("lease.other".into()),
        Problem::UnknownFunction("other".into()),
        Problem::NotBool("int".into()),
        Problem::TookTooLong,
    ];
    for problem in problems {
        _ = writeln!(out, "- {problem}");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use leasehold::domain::validations::{compile, evaluate, sample_of_any};

    use super::*;

    fn gives(expression: &str) -> Result<bool, Problem> {
        evaluate(&compile(expression)?, &sample_of_any())
    }

    #[test]
    fn every_variable_is_there_and_of_its_type() {
        for (name, kind, _) in VARIABLES {
            let same = match *kind {
                "string" => format!("{name} + '' == {name}"),
                "list of string" => format!("{name}.all(e, e + '' == e)"),
                "duration" => format!("{name} >= duration('0s')"),
                "timestamp" => format!("{name} > timestamp('2000-01-01T00:00:00Z')"),
                "int" => format!("{name} + 0 == {name}"),
                other => panic!("{name} is of type {other}"),
            };
            assert_eq!(gives(&same), Ok(true), "{same}");
        }
    }

    #[test]
    fn no_variable_is_left_out() {
        let mut objects: BTreeSet<&str> =
            VARIABLES.iter().filter_map(|(name, ..)| name.split_once('.')).map(|(o, _)| o).collect();
        objects.insert("lifecycle.owner");
        for object in objects {
            let within = |name: &str| {
                name.strip_prefix(object)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .map(|rest| rest.split('.').next().map(str::to_owned))
            };
            let fields: BTreeSet<_> = VARIABLES.iter().filter_map(|(name, ..)| within(name)).collect();
            assert_eq!(gives(&format!("size({object}) == {}", fields.len())), Ok(true), "{object} has {fields:?}");
        }
    }

    #[test]
    fn every_example_can_be_used() {
        for (expression, _) in EXAMPLES {
            assert!(gives(expression).is_ok(), "{expression}: {:?}", gives(expression));
        }
    }
}
