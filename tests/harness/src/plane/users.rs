//! Whom the API server is asked as.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use kube::Client;
use kube::config::AuthInfo;

use super::ControlPlane;
use super::endpoint::{by_certificate, by_token};
use super::run_dir::write_private;

/// A user of the API server, by client certificate.
#[derive(Clone)]
pub struct User {
    /// As RBAC and audit records have it.
    pub name: String,
    /// Without `system:authenticated`, which the server adds.
    pub groups: Vec<String>,
    /// For kubectl and the operator.
    pub kubeconfig: PathBuf,
    /// For tests. It works only in the async runtime it was made in.
    pub client: Client,
}

/// What was made for a user; the client is not kept, since it belongs to one async runtime.
#[derive(Clone)]
pub(super) struct Credentials {
    pub kubeconfig: PathBuf,
    pub auth: AuthInfo,
}

/// The users there are, by name and groups.
pub(super) type Users = Mutex<BTreeMap<(String, Vec<String>), Credentials>>;

impl ControlPlane {
    /// A user with a certificate signed by this control plane. The same name and groups are the same certificate.
    ///
    /// # Errors
    /// If the kubeconfig cannot be written.
    pub fn user(&self, name: &str, groups: &[&str]) -> Result<User> {
        let group_names: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        let credentials = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (name.to_owned(), group_names.clone());
            if let Some(known) = users.get(&key) {
                known.clone()
            } else {
                // Numbered, since two users may have one name, or names that differ in characters no file has.
                let label = format!("user-{}-{}", sanitised(name), users.len());
                let made = self.issue(&label, name, groups)?;
                users.insert(key, made.clone());
                made
            }
        };
        Ok(User {
            name: name.to_owned(),
            groups: group_names,
            kubeconfig: credentials.kubeconfig,
            client: self.endpoint.client(credentials.auth)?,
        })
    }

    /// A client that may do anything (`system:masters`). A new one each time, for the async runtime of the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.endpoint.client(self.admin.auth.clone()).expect("its certificate made a client when the plane was started")
    }

    /// The kubeconfig of [`ControlPlane::admin`].
    #[must_use]
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin.kubeconfig
    }

    /// A kubeconfig that authenticates by bearer token, such as a ServiceAccount's.
    ///
    /// `file_label` names the file, in place of an earlier one of that label.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn token_kubeconfig(&self, file_label: &str, token: &str) -> Result<PathBuf> {
        let path = self.dir.kubeconfig(&format!("token-{}", sanitised(file_label)));
        write_private(&path, &self.endpoint.kubeconfig(by_token(token))?)?;
        Ok(path)
    }

    /// A client that authenticates by bearer token.
    ///
    /// # Errors
    /// If the token has characters no HTTP header may have.
    pub fn token_client(&self, token: &str) -> Result<Client> {
        self.endpoint.client(by_token(token))
    }

    /// Sign a certificate and write its kubeconfig under `label`.
    pub(super) fn issue(&self, label: &str, name: &str, groups: &[&str]) -> Result<Credentials> {
        let auth = by_certificate(&self.authority.user(name, groups)?);
        let kubeconfig = self.dir.kubeconfig(label);
        write_private(&kubeconfig, &self.endpoint.kubeconfig(auth.clone())?)?;
        Ok(Credentials { kubeconfig, auth })
    }
}

/// `name` with everything but letters, digits, dots and dashes replaced.
fn sanitised(name: &str) -> String {
    let keep = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-');
    name.chars().map(|character| if keep(character) { character } else { '_' }).collect()
}
