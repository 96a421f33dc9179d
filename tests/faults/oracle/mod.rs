//! What must be true of a lease after any plan: read off the audit log, the API server, the other system and the token; never asked
//! of the operator. One function for each invariant.

mod authority;
mod course;
mod objects;
mod record;
mod usual;

use leasehold_harness::Record;

use crate::{bench::Life, fault::Fault, plan::Plan, proxy::Made};
pub use usual::Undisturbed;

/// Who the operator is to the API server.
const OPERATOR: &str = "system:serviceaccount:leasehold-system:leasehold";

/// Everything that is known of one lease after one plan.
pub struct Case<'c> {
    plan: &'c Plan,
    life: &'c Life,
    usual: &'c Undisturbed,
    /// Everything that was asked of the API server in that round.
    audit: &'c [Record],
    /// Of that, what is about the lease.
    about: Vec<&'c Record>,
}

type Invariant = fn(&Case<'_>) -> Vec<String>;

const INVARIANTS: [(&str, Invariant); 16] = [
    ("I1", authority::i1_no_outliving),
    ("I2", authority::i2_no_issue_without_agreement),
    ("I3", authority::i3_at_most_one_credential),
    ("I4", objects::i4_no_orphans),
    ("I5", objects::i5_no_foreign_damage),
    ("I6", authority::i6_least_privilege),
    ("I7", authority::i7_secrecy),
    ("I8", course::i8_same_end),
    ("I9", course::i9_at_rest_nothing_is_written),
    ("I10", course::i10_bounded_effort),
    ("I11", authority::i11_ending_wins),
    ("I12", course::i12_a_failed_end_is_repeated),
    ("I13", record::i13_history),
    ("I14", record::i14_rollback),
    ("I15", course::i15_ending_does_not_wait),
    ("I16", objects::i16_nothing_is_inherited),
];

/// Everything that is broken.
pub fn judge(plan: &Plan, life: &Life, usual: &Undisturbed, audit: &[Record]) -> Vec<String> {
    let about = audit.iter().filter(|r| is_about(life, r)).collect();
    let case = Case { plan, life, usual, audit, about };
    let mut broken: Vec<String> = life.wrong.iter().map(|what| format!("flow: {what}")).collect();
    for (name, invariant) in INVARIANTS {
        broken.extend(invariant(&case).into_iter().map(|what| format!("{name}: {what}")));
    }
    broken
}

/// Whether a flow went as it should without any fault.
pub fn is_sound(plan: &Plan, life: &Life) -> bool {
    let script = plan.flow.script();
    life.was_active == script.is_active()
        && life.wrong.is_empty()
        && life.left.is_empty()
        && (script.terms != crate::flow::Terms::Agreed || !script.issues() || life.decided.is_some())
}

/// Whether a record is about the lease, or about one that followed it: everything made for one is named after it.
fn is_about(life: &Life, record: &Record) -> bool {
    let named = |uid: &String| record.name.contains(&uid.replace('-', ""));
    std::iter::once(&life.uid).chain(&life.heirs).any(named)
        || (record.namespace == life.namespace
            && (record.name == format!("lease-{}", life.lease)
                || record.name.ends_with(&format!("-{}", life.lifecycle))))
}

impl Case<'_> {
    /// What the operator had carried out of this.
    fn carried_out(&self) -> impl Iterator<Item = &&Record> {
        let writes = |r: &Record| ["create", "patch", "update", "delete"].contains(&r.verb.as_str());
        self.about.iter().filter(move |r| {
            r.user == OPERATOR && writes(r) && (200..300).contains(&r.code) && !r.uri.contains("dryRun=")
        })
    }

    /// How many faults met it: its own, and those that took the operator away from all.
    fn faults(&self) -> usize {
        self.plan.traps.len() - self.life.unsprung + self.life.outages as usize
    }

    /// How often calls were refused that are refused again and again, of those that are so.
    fn refused(&self, is: impl Fn(&str) -> bool) -> usize {
        let refused = |call: &&Made| matches!(call.fault, Some(Fault::Persists(_))) && is(&call.key);
        self.life.calls.iter().filter(refused).count()
    }

    fn met(&self, is: impl Fn(Fault) -> bool) -> bool {
        self.plan.traps.iter().any(|t| is(t.fault))
    }
}

/// What kind of call a record is, as `verb resource/subresource`.
fn kind(r: &Record) -> String {
    let sub = if r.subresource.is_empty() { String::new() } else { format!("/{}", r.subresource) };
    format!("{} {}{sub}", r.verb, r.resource)
}
