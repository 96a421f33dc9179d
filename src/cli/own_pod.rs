//! The pod that a command runs in, as its own token tells: what `run` is for ends with it.

use crate::api::{
    lease::Identity,
    workflow::{CompletionKind, CompletionRef},
};

/// What the API server calls a service account: `system:serviceaccount:NAMESPACE:NAME`.
const ACCOUNT: &str = "system:serviceaccount:";

/// The caller's own pod as a lease's completion, so that the lease ends with a pod that is killed or evicted and can say nothing
/// any more. A completion is in the lease's namespace: nothing for a pod of another one. The token of a pod belongs to an account
/// of the pod's namespace.
#[must_use]
pub fn completion(me: &Identity, namespace: &str) -> Option<CompletionRef> {
    let (of, _) = me.username.strip_prefix(ACCOUNT)?.split_once(':')?;
    let name = me.pod_name.as_ref().filter(|name| !name.is_empty() && of == namespace)?;
    Some(CompletionRef { api_version: "v1".into(), kind: CompletionKind::Pod, name: name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(username: &str, pod: Option<&str>) -> Identity {
        Identity { username: username.into(), pod_name: pod.map(str::to_owned), ..Identity::default() }
    }

    #[test]
    fn a_pod_is_known_by_its_token_and_only_in_its_own_namespace() {
        let own = completion(&caller("system:serviceaccount:payments:ci", Some("nightly-x7")), "payments");
        let own = own.unwrap();
        assert_eq!((own.api_version.as_str(), own.kind, own.name.as_str()), ("v1", CompletionKind::Pod, "nightly-x7"));
        for (username, pod, namespace) in [
            ("system:serviceaccount:payments:ci", Some("nightly-x7"), "books"),
            ("system:serviceaccount:payments:ci", None, "payments"),
            ("system:serviceaccount:payments:ci", Some(""), "payments"),
            ("somebody", Some("nightly-x7"), "payments"),
            ("github:payments:ci", Some("nightly-x7"), "payments"),
        ] {
            assert_eq!(completion(&caller(username, pod), namespace), None, "{username} {pod:?} {namespace}");
        }
    }
}
