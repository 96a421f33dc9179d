//! How a command reached its cluster, so that another process reaches the same one as the same caller.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use kube::config::Kubeconfig;

use super::connect::Global;

/// Where the caller's own credentials come from. Says all of it: a process that starts later must not follow a `KUBECONFIG` that
/// has been set anew, nor a `current-context` that somebody has switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `--kubeconfig`, absolute.
    pub kubeconfig: Option<PathBuf>,
    /// `$KUBECONFIG`, each path absolute; empty if it is not set.
    pub variable: OsString,
    /// The context; absent in a pod without a kubeconfig, where the pod's own account is used.
    pub context: Option<String>,
    /// `--as` and `--as-group`.
    pub impersonate: Option<String>,
    pub impersonate_groups: Vec<String>,
}

impl Origin {
    /// The origin of a command with these flags.
    #[must_use]
    pub fn of(global: &Global) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let variable = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let paths = std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty());
        let variable = std::env::join_paths(paths.map(|path| absolute(&path))).unwrap_or(variable);
        let current = || {
            let read = global.kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
            read.ok().and_then(|kubeconfig| kubeconfig.current_context)
        };
        Self {
            kubeconfig: global.kubeconfig.as_deref().map(absolute),
            variable,
            context: global.context.clone().or_else(current),
            impersonate: global.impersonate.clone(),
            impersonate_groups: global.impersonate_groups.clone(),
        }
    }

    /// As flags of the plugin.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let path = self.kubeconfig.as_ref().map(|path| format!("--kubeconfig={}", path.display()));
        let context = self.context.as_ref().map(|context| format!("--context={context}"));
        let user = self.impersonate.as_ref().map(|user| format!("--as={user}"));
        let groups = self.impersonate_groups.iter().map(|group| format!("--as-group={group}"));
        path.into_iter().chain(context).chain(user).chain(groups).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_said_again() {
        let global = Global {
            kubeconfig: Some("/a/config".into()),
            context: Some("prod".into()),
            impersonate: Some("ci".into()),
            impersonate_groups: vec!["a".into(), "b".into()],
            ..Global::default()
        };
        let flags = Origin::of(&global).flags();
        assert_eq!(flags, ["--kubeconfig=/a/config", "--context=prod", "--as=ci", "--as-group=a", "--as-group=b"]);
        assert!(Origin::default().flags().is_empty(), "a pod's own account needs no flag");
    }
}
