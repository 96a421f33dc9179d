//! What an answer teaches. Pure.

use super::{
    consumer::Health,
    seen::{Answer, Call, SecretSeen, Seen},
};
use crate::{
    api::Time,
    domain::call::{Class, Failure},
};

/// Folds the answer to a call into what is known. `now` is the time at which it came.
pub fn learn(seen: &mut Seen, call: Call, answer: Answer, now: Time) {
    match (&call, answer) {
        (_, Answer::Failed(failure)) => seen.learned.failed.push((call, failure)),
        (Call::CreateLease { name } | Call::ReadLease { name }, Answer::Lease(found)) => {
            if matches!(call, Call::CreateLease { .. }) {
                seen.memory.created = Some((name.clone(), now));
            }
            seen.learned.leases.push((name.clone(), found));
        }
        (Call::LookAtSecret { .. }, Answer::Secret(found)) => {
            if let SecretSeen::Ours { .. } = found {
                seen.memory.secret_seen = Some(now);
            }
            seen.learned.secret = Some(found);
        }
        (Call::Deliver { .. }, Answer::Secret(found)) => {
            seen.learned.secret = Some(found);
            let failure = Failure::new(Class::Invalid, "another object has the name of the Secret");
            seen.learned.failed.push((call, failure));
        }
        (Call::Deliver { .. }, Answer::Delivered(secret)) => {
            seen.memory.secret_seen = Some(now);
            seen.learned.delivered = Some(secret);
        }
        (Call::DeleteSecret { .. }, Answer::Done) => seen.learned.secret_deleted = true,
        (Call::ListConsumers { .. }, Answer::Consumers(found)) => seen.learned.consumers = Some(found),
        (Call::Restart { consumer, marks }, Answer::Done) => {
            for known in seen.learned.consumers.iter_mut().flatten().flatten().filter(|c| c.uid == consumer.uid) {
                known.marks = marks.clone();
                known.health = Health::Rolling("it was just restarted".into());
            }
        }
        (Call::Write(status), Answer::Done) => {
            seen.status = status.as_deref().cloned();
            seen.learned.delivered = None;
        }
        (_, other) => {
            let failure = Failure::new(Class::Transient, format!("unexpected answer {other:?}"));
            seen.learned.failed.push((call, failure));
        }
    }
}
