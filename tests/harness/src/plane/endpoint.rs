//! How to reach the API server, and as whom: kubeconfigs and clients.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, Context as KubeContext, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use kube::{Client, Config};

use crate::pki::{Authority, PemPair};

/// The one cluster, context and user a kubeconfig of ours has.
const NAME: &str = "leasehold";

/// The API server's address, and the authority that vouches for it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub url: String,
    pub authority_pem: String,
    authority_der: Vec<u8>,
}

impl Endpoint {
    pub fn new(port: u16, authority: &Authority) -> Self {
        Self {
            url: format!("https://127.0.0.1:{port}"),
            authority_pem: authority.certificate_pem(),
            authority_der: authority.certificate_der(),
        }
    }

    /// The content of a kubeconfig file: JSON, which is YAML.
    pub fn kubeconfig(&self, auth: AuthInfo) -> Result<String> {
        let cluster = Cluster {
            server: Some(self.url.clone()),
            certificate_authority_data: Some(STANDARD.encode(&self.authority_pem)),
            ..Cluster::default()
        };
        let context = KubeContext { cluster: NAME.to_owned(), user: Some(NAME.to_owned()), ..KubeContext::default() };
        let kubeconfig = Kubeconfig {
            kind: Some("Config".to_owned()),
            api_version: Some("v1".to_owned()),
            clusters: vec![NamedCluster { name: NAME.to_owned(), cluster: Some(cluster), ..NamedCluster::default() }],
            auth_infos: vec![NamedAuthInfo {
                name: NAME.to_owned(),
                auth_info: Some(auth),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext { name: NAME.to_owned(), context: Some(context), ..NamedContext::default() }],
            current_context: Some(NAME.to_owned()),
            ..Kubeconfig::default()
        };
        Ok(serde_json::to_string_pretty(&kubeconfig)?)
    }

    /// A client of its own connections. It works only in the async runtime it was made in.
    pub fn client(&self, auth: AuthInfo) -> Result<Client> {
        let mut config = Config::new(self.url.parse()?);
        config.root_cert = Some(vec![self.authority_der.clone()]);
        config.auth_info = auth;
        Client::try_from(config).with_context(|| format!("make a client of {}", self.url))
    }
}

/// Authenticate by client certificate.
pub(super) fn by_certificate(pair: &PemPair) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(STANDARD.encode(&pair.public)),
        client_key_data: Some(STANDARD.encode(&pair.private).into()),
        ..AuthInfo::default()
    }
}

/// Authenticate by bearer token.
pub(super) fn by_token(token: &str) -> AuthInfo {
    AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() }
}
