//! What a lease is made for: its end ends the lease.

use super::{ending::End, observed::Observed};
use crate::api::{Time, reasons::EndReason};

/// What the completionRef of a lease names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TaskSeen {
    /// The lease names nothing.
    #[default]
    None,
    /// The watch has not delivered its first list.
    Unknown,
    /// It is not there: that is no end before it was seen.
    Absent,
    /// It is there.
    Present { uid: String, end: Option<TaskEnd>, deleting: bool },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// Whether it did what it was for.
    pub completed: bool,
    /// When, by the cluster's clocks.
    pub at: Time,
}

/// The UID of what the lease is for, as it was seen first. What had ended before the lease was created is something else of
/// the same name.
#[must_use]
pub fn pinned(seen: &Observed) -> Option<&str> {
    let known = seen.lease.status.completion.as_ref().map(|task| task.uid.as_str()).or(seen.memory.task.as_deref());
    known.or_else(|| match &seen.task {
        TaskSeen::Present { uid, end, .. } if end.is_none_or(|end| end.at >= seen.lease.created) => Some(uid),
        _ => None,
    })
}

/// The end of what the lease is for, if that has come.
#[must_use]
pub fn over(seen: &Observed, now: Time) -> Option<End> {
    let what = seen.lease.spec.as_ref()?.completion_ref.as_ref()?;
    let pinned = pinned(seen)?;
    let name = format!("{} {}", what.kind.as_str(), what.name);
    let at = |time: Time| time.max(seen.lease.status.issue_time.unwrap_or(time)).min(now);
    match &seen.task {
        TaskSeen::Present { uid, end: Some(end), .. } if uid == pinned => Some(if end.completed {
            End { reason: EndReason::TaskCompleted, at: at(end.at), message: format!("{name} has completed") }
        } else {
            End { reason: EndReason::TaskFailed, at: at(end.at), message: format!("{name} has failed") }
        }),
        TaskSeen::Present { uid, end: None, deleting: false } if uid == pinned => None,
        TaskSeen::None | TaskSeen::Unknown => None,
        _ => Some(End { reason: EndReason::TaskDeleted, at: now, message: format!("{name} was deleted") }),
    }
}
