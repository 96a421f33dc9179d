//! What an answer teaches: the only place where knowledge changes. Pure.

use super::{
    call::{Answer, Call, Class, Failure},
    consent, issue,
    observed::{Child, Control, Known, LifecycleFacts, LifecycleSeen, ObjectId, Observed, Outcome, Presence},
    steps::{self, Work, WorkState},
};
use crate::api::{Time, reasons::EndReason};

/// Folds the answer to a call into what is known. `now` is the time at which the answer came.
pub fn learn(seen: &mut Observed, call: Call, answer: Answer, now: Time) {
    if let Answer::Failed(failure) = answer {
        return failed(seen, call, failure);
    }
    match (&call, answer) {
        (Call::CheckAccess, Answer::Access(allowed)) => seen.learned.access = Some(allowed),
        (Call::CheckDecider { decision }, Answer::Decider(decider)) => {
            seen.learned.deciders.insert(decision.clone(), decider);
        }
        (Call::ReadNamespace { name }, Answer::Namespace(Some(labels))) => {
            seen.namespaces.insert(name.clone(), labels);
        }
        (Call::ReadNamespace { name }, Answer::Namespace(None)) => {
            seen.learned.namespaces_absent.insert(name.clone());
        }
        (Call::Evaluate, Answer::Validated(violations)) => seen.learned.violations = Some(violations),
        (Call::Reserve, Answer::Reserved) => seen.memory.reserved = true,
        (Call::Reserve, Answer::Full(refusal)) => seen.learned.full = Some(refusal),
        (Call::ReadLifecycle, Answer::Lifecycle(found)) => lifecycle(seen, found.map(|b| *b)),
        (Call::ReadRole { grant }, Answer::Role(found)) => role(seen, grant.clone(), found),
        (Call::Create(child) | Call::Find(child), Answer::Present(id)) => {
            if *child == Child::Ledger && matches!(call, Call::Create(_)) {
                seen.memory.ledger = steps::workflow_digest(seen);
            }
            present(seen, child.clone(), id, matches!(call, Call::Find(_)), now)
        }
        (Call::Create(child), Answer::Stranger) => {
            seen.children.insert(child.clone(), Known::Stranger);
            let message = format!(
                "an object that is not this lease's has the name of its {}: remove it, then ask again",
                describe(child)
            );
            seen.memory.outcome = Some(Outcome { reason: EndReason::NameCollision, message });
        }
        (Call::Find(child), Answer::Outdated(id)) => {
            seen.children.insert(child.clone(), Known::Present(id));
        }
        // What an ended lease has delivered goes, whoever has written to it since.
        (Call::Find(child), Answer::Touched(id)) if seen.memory.end.is_some() => {
            present(seen, child.clone(), id, true, now)
        }
        (Call::Find(child), Answer::Stranger | Answer::Absent | Answer::Touched(_)) => {
            missing(seen, child.clone(), now)
        }
        (Call::Inspect { child, id }, Answer::Present(_)) => {
            seen.claims.retain(|(_, claim)| claim.uid != id.uid);
            seen.strays.push((child.clone(), id.clone()));
        }
        (Call::Inspect { id, .. }, Answer::Absent | Answer::Stranger) => {
            seen.claims.retain(|(_, claim)| claim.uid != id.uid);
        }
        (Call::Confirm { child, .. }, Answer::Present(id)) => {
            _ = seen.children.insert(child.clone(), Known::Present(id))
        }
        (Call::Confirm { child, .. }, Answer::Deleting(id)) => {
            seen.memory.dying.insert(id.uid.clone());
            seen.children.insert(child.clone(), Known::Present(id));
        }
        (Call::Confirm { id, .. }, Answer::Absent) => _ = seen.memory.gone.insert(id.uid.clone()),
        (Call::MintToken { .. }, Answer::Token(facts)) => {
            seen.memory.token = Some(facts);
            seen.memory.control = Control::NotAsked;
        }
        (Call::ReviewToken, Answer::Reviewed(accepted)) => reviewed(seen, call, accepted),
        (Call::Start { task, tries, document }, Answer::Started) => {
            let again = seen.works.get(task).filter(|work| work.tries == *tries && work.document == *document);
            let calls = again.map_or(1, |work| work.calls.saturating_add(1));
            seen.works.insert(
                task.clone(),
                Work { document: document.clone(), tries: *tries, calls, state: WorkState::Running },
            );
        }
        (Call::Delete { child, id }, Answer::Done) => deleted(seen, child, id),
        (Call::WriteStatus(status), Answer::Written(resource_version)) => {
            seen.lease.status = (**status).clone();
            seen.lease.resource_version = resource_version;
        }
        (Call::Record(status), Answer::Done) => seen.lease.status = (**status).clone(),
        (Call::ConfirmGone, Answer::Absent) => seen.lease.presence = Presence::Gone,
        (Call::DeleteLease, Answer::Done) => seen.lease.presence = Presence::Gone,
        (_, other) => failed(seen, call, Failure::new(Class::Transient, format!("unexpected answer {other:?}"))),
    }
}

fn failed(seen: &mut Observed, call: Call, failure: Failure) {
    if let Some(reason) = issue::outcome_of(&call, failure.class) {
        seen.memory.outcome = Some(Outcome { reason, message: hint(seen, &call, &failure) });
    }
    if let Call::Create(child) = &call
        && failure.class.may_pass()
    {
        // The request may have reached the server: whoever takes the lease down has to look.
        seen.children.insert(child.clone(), Known::Unknown);
    }
    seen.learned.failed.push((call, failure));
}

/// What the server said, and for a missing right what to add.
fn hint(seen: &Observed, call: &Call, failure: &Failure) -> String {
    let what = match call {
        Call::Create(child) => format!("the {} could not be created", describe(child)),
        _ => "the token could not be minted".into(),
    };
    let said = &failure.message;
    match (call, failure.class) {
        (Call::Create(Child::Binding(grant)), Class::Forbidden) => {
            let manifest = seen
                .role_of(grant)
                .map(|role| consent::to_bind(&seen.namespace_of(grant), std::slice::from_ref(role)))
                .unwrap_or_default();
            format!("{what}: {said}. If the operator lacks the right, let the namespace's owner apply:\n{manifest}")
        }
        (Call::Create(Child::Secret), Class::Forbidden) => {
            let command = consent::to_deliver(&seen.lease.namespace);
            format!("{what}: {said}. If the operator lacks the right, opt the namespace in: {command}")
        }
        _ => format!("{what}: {said}"),
    }
}

/// How people call an object.
#[must_use]
pub fn describe(child: &Child) -> String {
    match child {
        Child::Job => "backstop Job".into(),
        Child::Account => "ServiceAccount".into(),
        Child::Binding(grant) => format!("RoleBinding of grant {grant}"),
        Child::MintRole => "Role for minting".into(),
        Child::MintBinding => "RoleBinding for minting".into(),
        Child::Secret => "Secret".into(),
        Child::Ledger => "ConfigMap that tells how to take the workflow back".into(),
    }
}

fn lifecycle(seen: &mut Observed, found: Option<crate::api::ServiceAccountLifecycle>) {
    seen.learned.violations = None;
    seen.lifecycle = match found {
        None => LifecycleSeen::Absent { confirmed: true },
        Some(object) => LifecycleSeen::Present(Box::new(LifecycleFacts {
            uid: object.metadata.uid.unwrap_or_default(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            spec: object.spec,
            standing: object.status.map(|status| status.standing).unwrap_or_default(),
            confirmed: true,
        })),
    };
}

fn role(seen: &mut Observed, grant: String, found: Option<super::observed::RoleSeen>) {
    if seen.roles.contains_key(&grant) {
        seen.learned.roles_after.insert(grant, found);
        return;
    }
    // It was read because a watch did not have it.
    seen.learned.roles_confirmed.insert(grant.clone());
    if let Some(role) = found {
        seen.roles.insert(grant, role);
    }
}

fn present(seen: &mut Observed, child: Child, id: ObjectId, looked_at: bool, now: Time) {
    match child {
        Child::Account => seen.memory.account = Some(id.clone()),
        Child::Binding(ref grant) if !looked_at => {
            if let Some(role) = seen.role_of(grant).cloned() {
                seen.memory.bound.insert(grant.clone(), (id.namespace.clone(), role));
            }
        }
        Child::Secret => {
            let recorded =
                seen.lease.status.credential.as_ref().and_then(|c| c.secret.as_ref()).is_some_and(|s| s.uid != id.uid);
            if recorded {
                return missing(seen, child, now);
            }
            if !looked_at || seen.issued() {
                seen.memory.secret = Some(Known::Present(id.clone()));
            }
            seen.memory.secret_seen = Some(now);
            seen.memory.delivered = true;
        }
        _ => {}
    }
    seen.children.insert(child, Known::Present(id));
}

/// It was looked for and is not there, or is no longer what was delivered.
fn missing(seen: &mut Observed, child: Child, now: Time) {
    if child == Child::Secret && seen.issued() && seen.memory.end.is_none() {
        // What is there now is still taken down if it is what the status names: the deletion carries its UID.
        seen.memory.secret = Some(Known::Absent);
        seen.memory.secret_seen = Some(now);
        return;
    }
    let may_come = seen.learned.failed.iter().any(|(call, _)| *call == Call::Create(Child::Secret));
    if child == Child::Secret && seen.memory.end.is_some() && !may_come {
        // None is made any more: it need not be looked for again.
        seen.memory.secret = Some(Known::Absent);
    }
    seen.children.insert(child, Known::Absent);
}

fn reviewed(seen: &mut Observed, call: Call, accepted: bool) {
    let ended = seen.lease.status.end_time.is_some();
    match (ended, accepted) {
        (false, true) => seen.memory.control = Control::Accepted,
        (false, false) => seen.memory.control = Control::Refused,
        (true, false) => seen.memory.refused = true,
        (true, true) => {
            let failure = Failure::new(Class::Conflict, "an API server still accepts the token");
            seen.learned.failed.push((call, failure));
        }
    }
}

fn deleted(seen: &mut Observed, child: &Child, id: &ObjectId) {
    seen.memory.gone.insert(id.uid.clone());
    if *child == Child::Account {
        seen.memory.account = Some(id.clone());
    }
    if seen.present(child).is_some_and(|known| known.uid == id.uid) {
        seen.children.insert(child.clone(), Known::Absent);
    }
    if *child == Child::Secret {
        seen.memory.secret = Some(Known::Absent);
        let recorded = seen.lease.status.credential.as_ref().and_then(|c| c.secret.as_ref());
        seen.memory.secret_deleted |= recorded.is_some_and(|secret| secret.uid == id.uid);
    }
    seen.strays.retain(|(_, stray)| stray.uid != id.uid);
}
