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
    pub marks: Marks,
    pub health: Health,
    /// How long its own controller waits for progress, in seconds.
    pub patience_seconds: i64,
}

/// What was written of a workload, each as `<secret>=<lease>`, by Secret: what it says of other Secrets stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// In its template: which lease it was restarted for. A change of this is a restart.
    pub template: Option<String>,
    /// Beside its template: what the template said before that, nothing where it said nothing.
    pub before: Option<String>,
}

impl Consumer {
    /// The lease its template was restarted for.
    #[must_use]
    pub fn lease(&self, secret: &str) -> Option<&str> {
        parsed(self.marks.template.as_deref()).get(secret).copied()
    }

    /// As people call it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name)
    }
}

impl Marks {
    /// Restarted for the next lease. The same words always come out the same: a second patch with them restarts nothing.
    #[must_use]
    pub fn moved(&self, secret: &str, next: &str) -> Self {
        let (mut template, mut before) = (parsed(self.template.as_deref()), parsed(self.before.as_deref()));
        before.insert(secret, template.get(secret).copied().unwrap_or_default());
        template.insert(secret, next);
        Self { template: written(&template), before: written(&before) }
    }

    /// Moved back to the lease before: the template becomes what it was, so that pods that never left it stay.
    #[must_use]
    pub fn moved_back(&self, secret: &str, former: &str) -> Self {
        let mut template = parsed(self.template.as_deref());
        if parsed(self.before.as_deref()).get(secret).copied() == Some("") {
            template.remove(secret);
        } else {
            template.insert(secret, former);
        }
        Self { template: written(&template), before: self.before.clone() }
    }
}

fn parsed(marks: Option<&str>) -> BTreeMap<&str, &str> {
    marks.unwrap_or_default().split(',').filter_map(|pair| pair.split_once('=')).collect()
}

fn written(marks: &BTreeMap<&str, &str>) -> Option<String> {
    let all: Vec<String> = marks.iter().map(|(secret, lease)| format!("{secret}={lease}")).collect();
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(template: Option<&str>) -> Marks {
        Marks { template: template.map(str::to_owned), before: None }
    }

    #[test]
    fn a_move_changes_what_is_said_of_its_own_secret_only() {
        let moved = marks(Some("a=x,b=one")).moved("b", "two");
        assert_eq!(moved.template.as_deref(), Some("a=x,b=two"));
        let other = moved.moved("a", "y");
        assert_eq!((other.template.as_deref(), other.before.as_deref()), (Some("a=y,b=two"), Some("a=x,b=one")));
        assert_eq!(marks(Some("somebody wrote this")).moved("b", "one").template.as_deref(), Some("b=one"));
    }

    #[test]
    fn back_is_exactly_where_it_was() {
        for before in [None, Some("b=one"), Some("a=x"), Some("a=x,b=one")] {
            let moved = marks(before).moved("b", "two");
            assert_eq!(moved.moved_back("b", "one").template.as_deref(), before);
        }
        // What it was is no longer known: it is restarted.
        let lost = Marks { template: Some("b=two".into()), before: None };
        assert_eq!(lost.moved_back("b", "one").template.as_deref(), Some("b=one"));
    }
}
