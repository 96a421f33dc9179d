//! Every word that a status may say.

use std::fmt::Write;

use leasehold::api::reasons::{
    ConditionType, EndReason, Evidence, Happening, LeaseReason, LifecycleReason, Outlives, Phase, PolicyReason,
};

use super::cell;

/// The words of one closed list and what each means.
type Words = Vec<(&'static str, &'static str)>;

macro_rules! words {
    ($list:ident) => {
        $list::ALL.iter().map(|word| (word.as_str(), word.meaning())).collect::<Words>()
    };
}

pub fn page() -> String {
    let lists = [
        ("Condition types", "`status.conditions[].type`, of leases, lifecycles and policies.", words!(ConditionType)),
        ("Phases of a lease", "`status.phase`, and the reason of condition Active.", words!(Phase)),
        (
            "Why a lease ended",
            "`status.endReason`; also the reason of Issued and Stalled where issuing failed.",
            words!(EndReason),
        ),
        ("Evidence", "`status.credential.evidence`, and the reason of Revoked when it is True.", words!(Evidence)),
        ("Reasons of a lease's conditions", "Besides the words above.", words!(LeaseReason)),
        (
            "Reasons of a lifecycle's conditions",
            "`status.conditions[].reason` of a ServiceAccountLifecycle.",
            words!(LifecycleReason),
        ),
        (
            "Reasons of a policy's conditions",
            "`status.conditions[].reason` of a CredentialLeasePolicy.",
            words!(PolicyReason),
        ),
        (
            "What can outlive a lease",
            "`status.request.grants[].outlives`, which an approver is shown; `lease.outlives` in [validations](validations.md).",
            words!(Outlives),
        ),
        ("Records", "`status.history.records[].event`, and `event` in the audit stream.", words!(Happening)),
    ];
    let mut out = String::from(
        "# Conditions, phases and reasons\n\nClosed lists: a status says nothing else. What to do about one of them: [troubleshooting](../troubleshooting.md).\n",
    );
    for (title, where_, words) in lists {
        _ = write!(out, "\n## {title}\n\n{where_}\n\n| word | meaning |\n|---|---|\n");
        for (word, meaning) in words {
            _ = writeln!(out, "| `{word}` | {} |", cell(meaning));
        }
    }
    out
}
