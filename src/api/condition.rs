//! A condition as every Kubernetes tool reads it, with bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// One aspect of an object's state: `meta/v1.Condition`, its strings bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The aspect, in CamelCase. One entry a type.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// The `metadata.generation` this was said about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// Why, as one word of the documented list.
    #[schemars(length(min = 1, max = 63))]
    pub reason: String,
    /// Why, as a sentence for people; it says what to do where something is to be done.
    #[schemars(length(max = 2048))]
    pub message: String,
}

/// The condition of this type, if it is there.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Sets a condition; its transition time moves only when its status does.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    bound(&mut new.message, 2048);
    match conditions.iter_mut().find(|c| c.kind == new.kind) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time;
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Removes a condition that no longer applies.
pub fn unset(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.kind != kind);
}

/// Cuts a text to so many bytes at a character's border, with an ellipsis where something was cut.
pub fn bound(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(status: ConditionStatus, at: i64) -> Condition {
        Condition {
            kind: "Active".into(),
            status,
            observed_generation: Some(1),
            last_transition_time: Time::from_millis(at),
            reason: "Why".into(),
            message: String::new(),
        }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut all = vec![];
        set(&mut all, condition(ConditionStatus::True, 1));
        set(&mut all, condition(ConditionStatus::True, 2));
        assert_eq!(all[0].last_transition_time, Time::from_millis(1));
        set(&mut all, condition(ConditionStatus::False, 3));
        assert_eq!(all[0].last_transition_time, Time::from_millis(3));
    }

    #[test]
    fn a_long_text_is_cut_at_a_characters_border() {
        let mut text = "ä".repeat(20);
        bound(&mut text, 10);
        assert_eq!(text, "äää…");
    }
}
