//! Workloads that mount the Secret of a standing credential.

use std::collections::BTreeMap;

/// The kinds of workload that are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}

/// Whether a workload runs as its template says, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every pod is of the newest template, and available.
    Healthy,
    /// Not yet; what it waits for.
    Rolling(String),
    /// Its own controller has given up.
    Broken(String),
}

/// A workload that mounts the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    pub kind: Kind,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// It lets Leasehold restart it, and a changed template makes it roll.
    pub restartable: bool,
    /// Which leases its template was restarted for, as the annotation has it.
    pub mark: Option<String>,
    pub health: Health,
    /// How long its own controller waits for progress, in seconds.
    pub patience_seconds: i64,
}

impl Consumer {
    /// Whether its template was restarted for this lease.
    #[must_use]
    pub fn is_for(&self, secret: &str, lease: &str) -> bool {
        marks(self.mark.as_deref()).get(secret).copied() == Some(lease)
    }

    /// As people call it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name)
    }
}

fn marks(mark: Option<&str>) -> BTreeMap<&str, &str> {
    mark.unwrap_or_default().split(',').filter_map(|pair| pair.split_once('=')).collect()
}

/// The annotation with this lease as the one for that Secret. What it says of other Secrets stays, and the same words always
/// come out the same: a second patch with them restarts nothing, and going back brings the former template back.
#[must_use]
pub fn mark(before: Option<&str>, secret: &str, lease: &str) -> String {
    let mut all = marks(before);
    all.insert(secret, lease);
    all.into_iter().map(|(secret, lease)| format!("{secret}={lease}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_changes_for_its_own_secret_only_and_comes_back() {
        let first = mark(None, "b", "one");
        let both = mark(Some(&first), "a", "x");
        assert_eq!(both, "a=x,b=one");
        let moved = mark(Some(&both), "b", "two");
        assert_eq!(moved, "a=x,b=two");
        assert_eq!(mark(Some(&moved), "b", "one"), both);
        assert_eq!(mark(Some(&moved), "b", "two"), moved);
        assert_eq!(mark(Some("somebody wrote this"), "b", "one"), first);
    }
}
