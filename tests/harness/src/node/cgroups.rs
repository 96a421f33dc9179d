//! The cgroups of a node: the one thing no namespace of ours takes with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::eventually::{Look, eventually_seeing};
use crate::identity::Identity;

const MOUNT: &str = "/sys/fs/cgroup";

/// `leasehold-node-<pid>-<start time>` of the program that made it.
const PREFIX: &str = "leasehold-node-";

/// The cgroup below which all of a node's are, once in each hierarchy.
pub(super) struct Root {
    name: String,
}

impl Root {
    pub fn create(owner: Identity) -> Result<Self> {
        let root = Self { name: format!("{PREFIX}{}-{}", owner.pid, owner.start_time) };
        for hierarchy in hierarchies() {
            let path = hierarchy.join(&root.name);
            fs::create_dir(&path).with_context(|| format!("create the cgroup {}", path.display()))?;
        }
        Ok(root)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel takes a moment to let go of the processes that were killed.
    pub async fn remove(&self) -> Result<()> {
        eventually_seeing("the node's cgroups to be gone", Duration::from_secs(10), || async {
            let left: Vec<String> = hierarchies()
                .iter()
                .map(|hierarchy| hierarchy.join(&self.name))
                .filter_map(|path| remove(&path).err().map(|error| format!("{}: {error}", path.display())))
                .collect();
            Ok::<_, anyhow::Error>(if left.is_empty() { Look::Done(()) } else { Look::NotYet(left.join(", ")) })
        })
        .await
    }
}

/// Remove what earlier programs left that were killed.
pub(super) fn sweep() {
    for hierarchy in hierarchies() {
        let Ok(groups) = fs::read_dir(&hierarchy) else { continue };
        for group in groups.filter_map(Result::ok) {
            let owner =
                group.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.replace('-', " ").parse().ok());
            if owner.is_some_and(|owner: Identity| !owner.is_alive()) {
                // Another one may be at it as well; what cannot be removed now is tried again the next time.
                remove(&group.path()).ok();
            }
        }
    }
}

/// Version 2 has one hierarchy, version 1 one for each controller.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(MOUNT).join("cgroup.controllers").exists() {
        return vec![PathBuf::from(MOUNT)];
    }
    let mounted = fs::read_dir(MOUNT).map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect());
    let directories: Vec<PathBuf> = mounted.unwrap_or_default();
    // Links are second names, such as cpu for cpu,cpuacct.
    directories.into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

/// From the leaves up: a cgroup can be removed when it has no children and no processes.
fn remove(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for child in fs::read_dir(group)? {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove(&child.path())?;
        }
    }
    fs::remove_dir(group)
}
