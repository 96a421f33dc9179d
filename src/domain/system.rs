//! What a connected system's own status says.

use crate::{
    api::{
        Condition, ConditionStatus, Time,
        condition::{set, unset},
        reasons::{ConditionType, SystemReason},
        system::ConnectedSystemStatus,
    },
    domain::consent,
};

/// How a system was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been asked yet.
    Checking,
    /// It was reached, and took our credentials where the probe asks for them.
    Reachable,
    /// It does not answer, or not as it should: why.
    Unreachable(String),
    /// An expression of an operation cannot be used: which, and why.
    ExpressionInvalid(String),
    /// A Secret with its credentials cannot be read.
    SecretUnreadable {
        /// Its name, in the operator's namespace.
        secret: String,
        /// Why.
        message: String,
    },
    /// Its address or its audience is one that the operator never sends anything to: which.
    Forbidden(String),
}

/// What is known about a system.
#[derive(Clone, Debug)]
pub struct SystemObserved {
    pub generation: i64,
    pub status: ConnectedSystemStatus,
    pub health: Health,
}

/// The status as it should be.
#[must_use]
pub fn status(seen: &SystemObserved, now: Time) -> ConnectedSystemStatus {
    use ConditionStatus::{False, True, Unknown};
    let (holds, reason, message) = match &seen.health {
        Health::Checking => (Unknown, SystemReason::Checking, "it has not been asked yet".to_owned()),
        Health::Reachable => (True, SystemReason::Reachable, "it can be called".to_owned()),
        Health::Unreachable(why) => (False, SystemReason::Unreachable, format!("it is asked again: {why}")),
        Health::ExpressionInvalid(why) => (False, SystemReason::ExpressionInvalid, why.clone()),
        Health::SecretUnreadable { secret, message } => {
            let message = format!("{message}; it takes\n{}", consent::to_read_secret(secret));
            (False, SystemReason::SecretUnreadable, message)
        }
        Health::Forbidden(why) => (False, SystemReason::Forbidden, why.clone()),
    };
    let mut status = seen.status.clone();
    status.observed_generation = Some(seen.generation);
    let condition = |kind: ConditionType, holds| Condition {
        kind: kind.as_str().into(),
        status: holds,
        observed_generation: Some(seen.generation),
        last_transition_time: now,
        reason: reason.as_str().into(),
        message: message.clone(),
    };
    set(&mut status.conditions, condition(ConditionType::Ready, holds));
    if matches!(reason, SystemReason::ExpressionInvalid | SystemReason::Forbidden) {
        // Ready False alone would read as in progress for ever; these only a change of the spec mends.
        set(&mut status.conditions, condition(ConditionType::Stalled, True));
    } else {
        unset(&mut status.conditions, ConditionType::Stalled.as_str());
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::condition::find;

    fn seen(health: Health) -> SystemObserved {
        SystemObserved { generation: 3, status: ConnectedSystemStatus::default(), health }
    }

    #[test]
    fn stalled_is_what_only_a_change_of_the_spec_mends() {
        let now = Time::from_millis(0);
        let secret = Health::SecretUnreadable { secret: "ci".into(), message: "x".into() };
        for (health, ready, reason, stalled) in [
            (Health::Checking, ConditionStatus::Unknown, "Checking", false),
            (Health::Reachable, ConditionStatus::True, "Reachable", false),
            (Health::Unreachable("x".into()), ConditionStatus::False, "Unreachable", false),
            (secret, ConditionStatus::False, "SecretUnreadable", false),
            (Health::ExpressionInvalid("x".into()), ConditionStatus::False, "ExpressionInvalid", true),
            (Health::Forbidden("x".into()), ConditionStatus::False, "Forbidden", true),
        ] {
            let status = status(&seen(health), now);
            assert_eq!(status.observed_generation, Some(3));
            let said = find(&status.conditions, "Ready").unwrap();
            assert_eq!((said.status, said.reason.as_str()), (ready, reason));
            assert_eq!(find(&status.conditions, "Stalled").is_some(), stalled, "{reason}");
        }
    }

    #[test]
    fn what_was_mended_is_no_longer_stalled_and_what_stays_is_not_written_again() {
        let broken = status(&seen(Health::Forbidden("x".into())), Time::from_millis(0));
        let mended = SystemObserved { status: broken.clone(), ..seen(Health::Reachable) };
        let fine = status(&mended, Time::from_millis(1000));
        assert!(find(&fine.conditions, "Stalled").is_none());
        let again = SystemObserved { status: fine.clone(), ..seen(Health::Reachable) };
        assert_eq!(status(&again, Time::from_millis(9000)), fine);
    }

    #[test]
    fn a_secret_that_cannot_be_read_comes_with_what_lets_it_be_read_and_no_other() {
        let health = Health::SecretUnreadable { secret: "ci-token".into(), message: "no".into() };
        let status = status(&seen(health), Time::from_millis(0));
        let message = &find(&status.conditions, "Ready").unwrap().message;
        let documents: Vec<serde_json::Value> =
            serde_saphyr::from_multiple(message.split_once("it takes\n").unwrap().1).unwrap();
        assert_eq!(documents[0]["kind"], "Role");
        assert_eq!(
            documents[0]["rules"],
            serde_json::json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["ci-token"]}])
        );
        assert_eq!(documents[1]["kind"], "RoleBinding");
        assert!(documents.iter().all(|d| d["metadata"]["namespace"] == "leasehold-system"));
    }
}
