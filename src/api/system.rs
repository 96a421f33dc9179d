//! `ConnectedSystem`: another system that workflows may call, and exactly how.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, DNS_LABEL, Duration, SECRET_NAME, policy::Selector};

/// A name that expressions can use after a dot.
pub(crate) const PARAMETER: &str = "^[a-zA-Z][a-zA-Z0-9_]*$";
/// The rule of the schema for how long one call may take.
const CALL_RULE: &str = "self.matches('^([0-9]{1,5}(h|m|s)){1,3}$') && duration(self) >= duration('1s') && duration(self) <= duration('2m')";
/// Schemes a system may be reached by: TLS, but for one that listens on the operator's own machine.
const URL: &str = r"^(https://[A-Za-z0-9.\-]+(:[0-9]{1,5})?|https://\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)(/[A-Za-z0-9._~/\-]*)?$";

/// A system that workflows of lifecycles may call: where it is, how the operator proves who it is, who may use it, and the only
/// calls it is ever sent. Owned by the platform.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "leasehold.dev",
    version = "v1alpha1",
    kind = "ConnectedSystem",
    status = "ConnectedSystemStatus",
    shortname = "csys",
    category = "leasehold",
    derive = "PartialEq",
    doc = "A system that workflows of lifecycles may call: where it is, how the operator proves who it is, who may use it, and the only calls it is ever sent. Owned by the platform.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Operations", type_ = "string", json_path = ".spec.operations[*].name", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("name the system with at most 63 lower-case letters, digits and dashes"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'HTTP') == has(self.http) && (self.type == 'Vault') == has(self.vault)")
        .message("type HTTP goes with http, type Vault with vault: write the one that type names, and not the other"),
    validation = Rule::new("!has(self.probe) || self.operations.exists(o, o.name == self.probe.operation && has(o.access) && o.access == 'ReadOnly' && !has(o.params))")
        .message("probe.operation names one of the operations, with access ReadOnly and without params")
        .field_path(".probe")
)]
pub struct ConnectedSystemSpec {
    /// HTTP or Vault.
    #[serde(rename = "type")]
    pub kind: SystemType,
    /// With type HTTP: where it is and how it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSystem>,
    /// With type Vault: an OpenBao or a HashiCorp Vault with a KV engine of version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultSystem>,
    /// The namespaces whose lifecycles may use it.
    pub namespaces: SystemNamespaces,
    /// How much it is called at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<SystemLimits>,
    /// What tells whether it is there. Absent: that it can be connected to (HTTP), or logged in to (Vault).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<SystemProbe>,
    /// The only calls it is sent, by the names that workflows use.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub operations: Vec<Operation>,
}

/// What kind of system it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SystemType {
    /// Anything with an HTTP API.
    #[serde(rename = "HTTP")]
    Http,
    /// OpenBao or HashiCorp Vault, its KV engine of version 2.
    Vault,
}

impl SystemType {
    /// As it is written in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Vault => "Vault",
        }
    }
}

/// A system with an HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSystem {
    /// Where it is: `https://host[:port][/path]`. Redirects are never followed; link-local and metadata addresses are refused.
    #[schemars(length(min = 1, max = 512), regex(pattern = URL))]
    pub url: String,
    /// The CA certificates it is trusted by, PEM. Absent: those of the operator's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// How the operator proves who it is. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
}

/// How the operator proves who it is to an HTTP API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'Header') == has(self.header) && (self.type == 'Basic') == has(self.basic) && (self.type == 'ServiceAccountToken') == has(self.serviceAccountToken)")
    .message("auth has the one member that type names: header, basic or serviceAccountToken"))]
pub struct HttpAuth {
    /// Header, Basic or ServiceAccountToken.
    #[serde(rename = "type")]
    pub kind: HttpAuthType,
    /// With Header: a header whose value is in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuth>,
    /// With Basic: user name and password, in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// With ServiceAccountToken: a token of the operator's own for an audience, ten minutes long, as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<TokenAuth>,
}

/// The kinds of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpAuthType {
    /// A header whose value is in a Secret.
    Header,
    /// User name and password, in a Secret.
    Basic,
    /// A short-lived token of the operator's own; nothing is stored anywhere.
    ServiceAccountToken,
}

/// A header whose value is in a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuth {
    /// The header's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9\-]+$"))]
    pub name: String,
    /// What stands before the value, such as `Bearer ` with its space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub prefix: Option<String>,
    /// Where the value is.
    pub secret_ref: SecretKey,
}

/// User name and password in a Secret of type `kubernetes.io/basic-auth` or alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The Secret in the operator's namespace, with keys `username` and `password`.
    pub secret_ref: SecretName,
}

/// A token of the operator's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenAuth {
    /// Whom it is for. Never the API server's own audience.
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
}

/// One value of a Secret in the operator's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._\-]+$"))]
    pub key: String,
}

/// A Secret in the operator's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
}

/// An OpenBao or a HashiCorp Vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultSystem {
    /// Where it is: `https://host[:port]`.
    #[schemars(length(min = 1, max = 512), regex(pattern = URL))]
    pub url: String,
    /// The CA certificates it is trusted by, PEM. Absent: those of the operator's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// The namespace, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_/\-]+$"))]
    pub namespace: Option<String>,
    /// Where its KV engine of version 2 is mounted, such as `secret`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_/\-]+$"))]
    pub mount: String,
    /// How the operator logs in.
    pub auth: VaultAuth,
}

/// How the operator logs in to a Vault.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.type == 'Kubernetes') == has(self.kubernetes)")
    .message("auth type Kubernetes goes with kubernetes: name the role"))]
pub struct VaultAuth {
    /// Kubernetes.
    #[serde(rename = "type")]
    pub kind: VaultAuthType,
    /// With Kubernetes: by a token of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAuth>,
}

/// The kinds of login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VaultAuthType {
    /// The Kubernetes (or JWT) auth method: a short-lived token of the operator's own.
    Kubernetes,
}

/// A login by a token of the operator's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KubernetesAuth {
    /// The role that the auth method gives.
    #[schemars(length(min = 1, max = 253))]
    pub role: String,
    /// Where the auth method is mounted. Absent means `kubernetes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_/\-]+$"))]
    pub mount: Option<String>,
    /// Whom the token is for. Never the API server's own audience: configure the role with one of its own.
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
}

/// The namespaces whose lifecycles may use a system.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("selector goes with from Selector, and only with it: write one, or from All")
    .field_path(".selector"))]
pub struct SystemNamespaces {
    /// All or Selector.
    pub from: NamespacesFrom,
    /// With Selector: their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// Which namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// Every one.
    All,
    /// Those with these labels.
    Selector,
}

/// How much a system is called at once.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemLimits {
    /// Calls that run at the same time. Absent means 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<i32>,
    /// Calls that are begun in one minute, spread evenly. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60000))]
    pub requests_per_minute: Option<i32>,
    /// How long one call may take, from connecting to the last byte: 1s to 2m. Absent means 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(CALL_RULE).message("write a duration from 1s to 2m, like 10s or 1m30s"))]
    pub call_timeout: Option<Duration>,
}

/// What tells whether a system is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemProbe {
    /// An operation with access ReadOnly and without params.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub operation: String,
}

/// One call that a system is sent. Everything but `method` is CEL, over `params`, `lease`, `lifecycle`, `requester`,
/// `credential` and `now`; `success` and `retryable` over `response` as well.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.access) || self.access != 'ReadOnly' || self.method in ['GET', 'HEAD', 'POST']")
    .message("an operation with access ReadOnly changes nothing: its method is GET, HEAD, or POST where a search is one")
    .field_path(".method"))]
pub struct Operation {
    /// The name by which workflows use it.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// ReadOnly: the platform answers for it that the call changes nothing, so that it may run before anybody has agreed.
    /// Absent means ReadWrite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What a workflow's `with` has to say, all of it, as `params.<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63), regex(pattern = PARAMETER)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub params: Vec<String>,
    /// The HTTP method. Of a Vault: PUT writes, GET reads, DELETE deletes every version.
    pub method: Method,
    /// What comes after the system's url, as text. Values that are not written out stand in `urlquery()`, which encodes them for
    /// a path's segment and for a query alike. Of a Vault: the path of the secret in its engine.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// Headers besides those of auth, each a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<Header>,
    /// The body: a map or list is sent as JSON, a text as it is. Of a Vault: a map, the secret's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub body: Option<String>,
    /// Whether an answer says that it is done: `response.status`, `response.headers`, `response.body`. Absent: a status of 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub success: Option<String>,
    /// Whether an answer that says otherwise is worth another try. Absent: status 408, 425, 429 or 5xx. No answer always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub retryable: Option<String>,
}

/// What a call does at the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// It changes nothing.
    ReadOnly,
    /// It may change something.
    ReadWrite,
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One header of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9\-]+$"))]
    pub name: String,
    /// Its value: CEL that gives a text.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// What the operator says about a system.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectedSystemStatus {
    /// The generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready; Stalled while the spec has to be mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What a workflow's step says for an operation's params.
pub type With = BTreeMap<String, String>;

impl ConnectedSystemSpec {
    /// The operation of this name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|o| o.name == name)
    }

    /// The names of the Secrets, in the operator's namespace, that its credentials are in.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let auth = self.http.as_ref().and_then(|http| http.auth.as_ref());
        let header = auth.and_then(|a| a.header.as_ref()).map(|h| h.secret_ref.name.as_str());
        let basic = auth.and_then(|a| a.basic.as_ref()).map(|b| b.secret_ref.name.as_str());
        header.into_iter().chain(basic).collect()
    }

    /// The audience of the operator's own token, where it proves itself by one.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        let http = self.http.as_ref().and_then(|h| h.auth.as_ref()?.service_account_token.as_ref());
        let vault = self.vault.as_ref().and_then(|v| v.auth.kubernetes.as_ref());
        http.map(|t| t.audience.as_str()).or(vault.map(|k| k.audience.as_str()))
    }
}

impl Operation {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.access == Some(Access::ReadOnly)
    }
}
