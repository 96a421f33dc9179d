//! A lease as commands take it: by its name, or as `kubectl get -o name` writes it.

use std::{convert::Infallible, str::FromStr};

use kube::Resource;

/// The name of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName(String);

impl LeaseName {
    /// The name alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LeaseName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let kinds = [
            "lease",
            "clease",
            "credentiallease",
            "credentialleases",
            "credentiallease.leasehold.dev",
            "credentialleases.leasehold.dev",
        ];
        let name = text.split_once('/').filter(|(kind, _)| kinds.contains(kind)).map_or(text, |(_, name)| name);
        Ok(Self(name.to_owned()))
    }
}

/// What `-o name` writes of an object: `kind.group/name`.
#[must_use]
pub fn qualified<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let name = object.meta().name.as_deref().unwrap_or_default();
    format!("{}.{}/{name}", K::kind(&()).to_lowercase(), K::group(&()))
}

#[cfg(test)]
mod tests {
    use super::{super::view::lease::tests::waiting, *};

    #[test]
    fn what_o_name_writes_is_taken_back() {
        for text in ["rollout", "lease/rollout", "clease/rollout", &qualified(&waiting(|_| {}))] {
            assert_eq!(text.parse::<LeaseName>().map(|n| n.as_str().to_owned()), Ok("rollout".into()), "{text}");
        }
        assert_eq!("pod/x".parse::<LeaseName>().map(|n| n.as_str().to_owned()), Ok("pod/x".into()), "no lease");
    }
}
