//! What a report is made from: read here, judged in [`super::model`].

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::model::Source;
use crate::{
    api::{
        CredentialLease, CredentialLeaseDecision, CredentialLeasePolicy, ServiceAccountLifecycle, reasons::Happening,
    },
    cli::{
        connect::Cluster,
        exit::Failure,
        fetch,
        view::{
            lease::Filter,
            stream::{Stream, Told},
        },
    },
};

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    pub leases: Vec<CredentialLease>,
    pub decisions: Vec<CredentialLeaseDecision>,
    pub lifecycles: Vec<ServiceAccountLifecycle>,
    pub policies: Vec<CredentialLeasePolicy>,
    /// What the audit stream tells of the leases that were asked for.
    pub stream: Stream,
}

impl Gathered {
    /// Leases of the stream that the cluster no longer has.
    pub fn gone(&self) -> impl Iterator<Item = (&str, &Told)> {
        let here = uids(&self.leases);
        self.stream.0.iter().map(|(uid, told)| (uid.as_str(), told)).filter(move |(uid, _)| !here.contains(uid))
    }
}

/// Reads everything of the command's namespace, or of all; what may not be read is a source that says so.
///
/// # Errors
/// If the leases cannot be read, or the API server does not answer, or a file is not there.
pub async fn gather(
    cluster: &Cluster,
    everywhere: bool,
    filter: &Filter,
    files: &[PathBuf],
) -> Result<(Gathered, Vec<Source>), Failure> {
    // The stream first: what it tells of and the cluster does not have afterwards is gone, and not just new.
    let mut sources = vec![];
    let mut stream = Stream::default();
    for path in files {
        let lines =
            read(path, &mut stream).map_err(|e| Failure::Usage(format!("{} cannot be read: {e}", path.display())))?;
        // Its name alone: where somebody keeps it is nobody's business who reads the report.
        let name = path.file_name().filter(|name| *name != "-").map_or("standard input".into(), OsStr::to_string_lossy);
        sources.push(Source { what: format!("audit stream {name}"), read: Some(lines), not_permitted: None });
    }
    let leases = fetch::leases(cluster, everywhere, filter).await?;
    let here = uids(&leases);
    stream.0.retain(|uid, told| {
        here.contains(uid.as_str()) || (everywhere || told.about.namespace == cluster.namespace) && wanted(filter, told)
    });
    let mut read = |what: &str, count: usize| {
        sources.push(Source { what: what.into(), read: Some(count), not_permitted: None });
    };
    read("credentialleases", leases.len());
    let mut gathered = Gathered { leases, stream, ..Gathered::default() };
    gathered.decisions = permitted(fetch::scope(cluster, everywhere), "credentialleasedecisions", &mut sources).await?;
    gathered.lifecycles =
        permitted(fetch::scope(cluster, everywhere), "serviceaccountlifecycles", &mut sources).await?;
    if let Some(wanted) = &filter.lifecycle {
        gathered.lifecycles.retain(|lifecycle| lifecycle.metadata.name.as_ref() == Some(wanted));
        gathered.decisions.retain(|decision| decision.spec.lifecycle_ref.name == *wanted);
    }
    if let Some(wanted) = &filter.requester {
        gathered.decisions.retain(|decision| decision.spec.requester == *wanted);
    }
    let policies: Api<CredentialLeasePolicy> = Api::all(cluster.client.clone());
    gathered.policies = permitted(policies, "credentialleasepolicies", &mut sources).await?;
    Ok((gathered, sources))
}

fn uids(leases: &[CredentialLease]) -> BTreeSet<&str> {
    leases.iter().filter_map(|lease| lease.metadata.uid.as_deref()).collect()
}

/// Takes a file's lines; how many there were.
fn read(path: &Path, stream: &mut Stream) -> io::Result<usize> {
    let input: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path)?))
    };
    let mut count = 0;
    for line in input.split(b'\n') {
        stream.take(&String::from_utf8_lossy(&line?));
        count += 1;
    }
    Ok(count)
}

/// Whether a deleted lease is one of those asked for. Which namespaces it reached, the stream does not tell.
fn wanted(filter: &Filter, told: &Told) -> bool {
    let requester = told.records().find(|r| r.event == Happening::Requested).map(|r| r.actor.as_str());
    filter.reaching.is_none()
        && filter.lifecycle.as_ref().is_none_or(|name| told.about.lifecycle == *name)
        && filter.requester.as_ref().is_none_or(|name| requester == Some(name))
}

async fn permitted<K>(api: Api<K>, what: &str, sources: &mut Vec<Source>) -> Result<Vec<K>, Failure>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let (objects, source) = match fetch::all(&api, &ListParams::default()).await {
        Ok(objects) => {
            let read = Some(objects.len());
            (objects, Source { what: what.into(), read, not_permitted: None })
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            (vec![], Source { what: what.into(), read: None, not_permitted: Some(status.message.clone()) })
        }
        Err(error) => return Err(fetch::installed(error, what)),
    };
    sources.push(source);
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deleted_lease_is_wanted_by_what_the_stream_knows_of_it() {
        let mut stream = Stream::default();
        let line = json!({"target": "audit", "lease": {"namespace": "a", "name": "b", "uid": "u", "lifecycle": "c"}, "seq": 1,
            "time": "2026-11-24T12:00:00Z", "event": "Requested", "actor": "ci", "detail": "c: why", "hash": "0"});
        stream.take(&line.to_string());
        let told = &stream.0["u"];
        let filter = |reaching: Option<&str>, requester: Option<&str>, lifecycle: Option<&str>| Filter {
            reaching: reaching.map(Into::into),
            requester: requester.map(Into::into),
            lifecycle: lifecycle.map(Into::into),
        };
        assert!(wanted(&Filter::default(), told) && wanted(&filter(None, Some("ci"), Some("c")), told));
        assert!(!wanted(&filter(None, Some("x"), None), told) && !wanted(&filter(None, None, Some("x")), told));
        assert!(!wanted(&filter(Some("a"), None, None), told), "nobody knows what it reached");
        assert_eq!(Gathered { stream, ..Gathered::default() }.gone().count(), 1);
    }
}
