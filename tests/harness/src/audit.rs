//! What the API server was asked, by whom, and what it answered: its audit log, typed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

/// How long the log must not grow to count as settled.
const QUIET: Duration = Duration::from_millis(300);

/// How long [`AuditLog::settled`] waits at most: a busy operator may never be quiet.
const PATIENCE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(50);

/// Reads the audit log of a running API server.
///
/// Every request is there once, when its response was complete; a watch therefore when it ended. Bodies are never
/// logged. The record may be written just after the response was sent: see [`AuditLog::settled`].
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

/// A place in the log, after a whole record. It stays valid when the API server restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

/// One request and the answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Event")]
pub struct Record {
    /// The `Audit-Id` response header.
    pub audit_id: String,
    /// Kubernetes verb in lower case: `get`, `list`, `watch`, `create`, ..., or the HTTP one of a non-resource request.
    pub verb: String,
    /// Who was authenticated.
    pub user: String,
    /// The groups of [`Record::user`].
    pub groups: Vec<String>,
    /// Extra attributes of [`Record::user`], such as `authentication.kubernetes.io/credential-id`.
    pub user_extra: BTreeMap<String, Vec<String>>,
    /// Whom the user acted as, if they did.
    pub impersonated_user: Option<String>,
    /// The `User-Agent` request header.
    pub user_agent: String,
    /// Plural name; empty for a non-resource request such as `/readyz`.
    pub resource: String,
    /// Such as `status` or `token`; empty if none.
    pub subresource: String,
    /// Empty for a cluster-scoped or non-resource request.
    pub namespace: String,
    /// Empty for a list, or a create whose name the server knew only later.
    pub name: String,
    /// Empty for the core group.
    pub api_group: String,
    /// HTTP status of the response; 0 if there was none.
    pub code: u16,
    /// When the request came in.
    pub received: Timestamp,
    /// When the response was complete.
    pub finished: Timestamp,
    /// Such as `authorization.k8s.io/reason`, or what an admission policy noted down.
    pub annotations: BTreeMap<String, String>,
    /// Path and query as requested.
    pub uri: String,
}

impl AuditLog {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The file itself, one JSON object a line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every record there is.
    ///
    /// # Errors
    /// If the file cannot be read, or a whole line is not an audit event.
    pub fn since_start(&self) -> Result<Vec<Record>> {
        self.read_since(Cursor(0))
    }

    /// The end of the log now, to read only what comes later.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn cursor(&self) -> Result<Cursor> {
        let bytes = self.bytes_from(0)?;
        Ok(Cursor(whole_lines(&bytes).len() as u64))
    }

    /// The records after `cursor`, in the order they were written. A last line still being written is left for the
    /// next read.
    ///
    /// # Errors
    /// If the file cannot be read, or a whole line is not an audit event.
    pub fn read_since(&self, cursor: Cursor) -> Result<Vec<Record>> {
        let bytes = self.bytes_from(cursor.0)?;
        parse(&bytes).with_context(|| format!("in {}", self.path.display()))
    }

    /// Wait until nothing was written for 300 ms. `false` if that did not happen within 10 s.
    pub async fn settled(&self) -> bool {
        let started = Instant::now();
        let mut length = self.length();
        let mut unchanged_since = started;
        while started.elapsed() < PATIENCE {
            sleep(POLL).await;
            let now = self.length();
            if now != length {
                length = now;
                unchanged_since = Instant::now();
            } else if unchanged_since.elapsed() >= QUIET {
                return true;
            }
        }
        false
    }

    fn length(&self) -> Option<u64> {
        std::fs::metadata(&self.path).ok().map(|metadata| metadata.len())
    }

    /// The API server creates the file with the first record, so a missing file is an empty log.
    fn bytes_from(&self, offset: u64) -> Result<Vec<u8>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("open {}", self.path.display())),
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// `bytes` without a last line that lacks its end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    &bytes[..end]
}

fn parse(bytes: &[u8]) -> Result<Vec<Record>> {
    whole_lines(bytes)
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).with_context(|| String::from_utf8_lossy(line).into_owned()))
        .collect()
}

/// `audit.k8s.io/v1` Event, as far as [`Record`] needs it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    #[serde(default)]
    user: EventUser,
    impersonated_user: Option<EventUser>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EventUser {
    username: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        Self {
            audit_id: event.audit_id,
            verb: event.verb,
            user: event.user.username,
            groups: event.user.groups,
            user_extra: event.user.extra,
            impersonated_user: event.impersonated_user.map(|user| user.username),
            user_agent: event.user_agent,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            api_group: event.object_ref.api_group,
            code: event.response_status.code,
            received: event.request_received_timestamp,
            finished: event.stage_timestamp,
            annotations: event.annotations,
            uri: event.request_uri,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/x/serviceaccounts/sa/token","verb":"create","user":{"username":"alice","groups":["dev","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=00"]}},"impersonatedUser":{"username":"bob"},"sourceIPs":["127.0.0.1"],"userAgent":"kubectl","objectRef":{"resource":"serviceaccounts","namespace":"x","name":"sa","apiVersion":"v1","subresource":"token"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z","stageTimestamp":"2026-01-02T03:04:05.000007Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#;

    #[test]
    fn an_event_is_read_into_a_typed_record() {
        let records = parse(format!("{LINE}\n").as_bytes()).unwrap();
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((record.verb.as_str(), record.subresource.as_str(), record.code), ("create", "token", 201));
        assert_eq!(record.impersonated_user.as_deref(), Some("bob"));
        assert_eq!(record.user_extra["authentication.kubernetes.io/credential-id"], ["X509SHA256=00"]);
        assert!(record.received < record.finished);
    }

    #[test]
    fn a_line_still_being_written_is_left_for_later() {
        let half = &LINE[..LINE.len() / 2];
        assert_eq!(parse(format!("{LINE}\n{half}").as_bytes()).unwrap().len(), 1);
        assert_eq!(parse(half.as_bytes()).unwrap(), []);
    }
}
