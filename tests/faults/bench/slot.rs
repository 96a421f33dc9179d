//! Where one lease at a time lives: a tenant, the people in it, its lifecycles, another system.

use std::sync::Arc;

use anyhow::{Context, Result};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use leasehold::api::condition::ConditionStatus;
use leasehold_harness::{Act, Other};
use serde_json::{Value, json};

use super::{Life, consumer, system};
use crate::{
    flow::{OWN_LIFECYCLE, Script, Terms},
    proxy::Proxy,
    support::{Lab, Person, Tenant},
};

pub struct Slot<'a> {
    pub number: usize,
    pub home: Tenant<'a>,
    far: String,
    pub approver: Person,
    pub requester: Person,
    other: Option<Other>,
}

/// The lifecycles that last.
const LASTING: [&str; 5] = ["plain", "agreed", "cross", "workflow", "broken"];

impl<'a> Slot<'a> {
    pub async fn create(lab: &'a Lab, number: usize) -> Result<Self> {
        // No namespace of one slot is a part of another's: the proxy tells them apart by their names.
        let letter = |n: usize| anyhow::Ok(char::from(b'a' + u8::try_from(n % 26)?));
        let home = lab.tenant(&format!("slot-{}{}", letter(number / 26)?, letter(number)?)).await?;
        let far = lab.tenant(&format!("{}-far", home.namespace)).await?.namespace;
        let approver = Person::approver(&home, "alice").await?;
        let requester = Person::requester(&home).await?;
        let role = |name: &str, namespace: &str, role: Value, subject: Value| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": namespace}, "roleRef": role, "subjects": [subject]})
        };
        let of = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        let bind = role("foreign-author", &far, of("Role", "author"), of("User", &home.author.name));
        let operator = json!({"kind": "ServiceAccount", "name": "leasehold", "namespace": "leasehold-system"});
        let restart = role("leasehold-restarter", &home.namespace, of("ClusterRole", "leasehold-restarter"), operator);
        let open = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "CredentialLeasePolicy",
            "metadata": {"name": format!("{far}-open")},
            "spec": {"match": {"grantNamespaces": {"matchLabels": {"kubernetes.io/metadata.name": far}}},
                "grants": {"crossNamespace": {"type": "Allow"}}}});
        lab.kubectl(&["apply", "-f", "-"], Some(&format!("{bind}\n---\n{restart}\n---\n{open}"))).await?;
        Ok(Self { number, home, far, approver, requester, other: None })
    }

    /// Starts its other system, and writes its lifecycles.
    pub async fn connect(&mut self, lab: &Lab, proxy: &Arc<Proxy>) -> Result<()> {
        let other = system::start(proxy, self.number).await?;
        let connected = system::connected(&other, &self.system()).to_string();
        lab.kubectl(&["apply", "-f", "-"], Some(&connected)).await?;
        self.other = Some(other);
        for name in LASTING {
            self.home.lifecycle(name, |spec| self.terms(name, spec)).await?;
        }
        Ok(())
    }

    fn system(&self) -> String {
        format!("{}-other", self.home.namespace)
    }

    fn terms(&self, lifecycle: &str, spec: &mut Value) {
        match lifecycle {
            "agreed" => spec["terms"]["approval"] = json!({}),
            "cross" => spec["grants"][0]["namespace"] = json!(self.far),
            "workflow" => spec["workflow"] = system::workflow(&self.system(), false),
            "broken" => spec["workflow"] = system::workflow(&self.system(), true),
            _ => {}
        }
    }

    pub fn other(&self) -> Result<&Other> {
        self.other.as_ref().context("the slot has no other system")
    }

    pub async fn is_leasable(&self) -> Result<()> {
        for lifecycle in LASTING {
            self.home.lifecycle_says(lifecycle, "Leasable", ConditionStatus::True, "Leasable").await?;
        }
        for lifecycle in ["workflow", "broken"] {
            self.home.lifecycle_says(lifecycle, "WorkflowAllowed", ConditionStatus::True, "Allowed").await?;
        }
        Ok(())
    }

    /// The lifecycle that a flow leases; one that is used once is made, and stands.
    pub async fn lifecycle(&self, script: Script, round: u32) -> Result<String> {
        self.other()?.forget();
        self.other()?.always(&format!("PUT /values/{}", system::REFUSED), Act::Status(400));
        if !script.has_own_lifecycle() {
            let name = match script.terms {
                Terms::Agreed | Terms::Withdrawn => "agreed",
                Terms::Cross => "cross",
                Terms::Workflow => "workflow",
                Terms::BrokenWorkflow => "broken",
                Terms::Plain | Terms::Standing => "plain",
            };
            return Ok(name.to_owned());
        }
        let name = format!("{OWN_LIFECYCLE}{round}");
        let standing = script.terms == Terms::Standing;
        let declare = |spec: &mut Value| {
            if standing {
                spec["standing"] = consumer::declares(&name, "10m");
            }
        };
        self.home.lifecycle(&name, declare).await?;
        self.home.lifecycle_says(&name, "Leasable", ConditionStatus::True, "Leasable").await?;
        Ok(name)
    }

    /// Makes the slot as it was before a lease lived in it.
    pub async fn clean_up(&self, life: &Life) -> Result<()> {
        let home = &self.home;
        let background = DeleteParams::background();
        let own = life.lifecycle.starts_with(OWN_LIFECYCLE);
        if own {
            // Retired ones are gone already.
            home.lifecycles().delete(&life.lifecycle, &background).await.map(drop).or_else(absent)?;
            consumer::clean_up(home, &life.lifecycle).await?;
        }
        for lease in home.leases().list(&ListParams::default()).await?.items {
            let name = lease.metadata.name.unwrap_or_default();
            home.leases().delete(&name, &background).await.map(drop).or_else(absent)?;
        }
        let jobs: Api<k8s_openapi::api::batch::v1::Job> = Api::namespaced(home.admin.clone(), &home.namespace);
        jobs.delete(TASK, &background).await.map(drop).or_else(absent)?;
        let roles: Api<k8s_openapi::api::rbac::v1::Role> = Api::namespaced(home.admin.clone(), &home.namespace);
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]);
        roles.patch("reader", &PatchParams::default(), &Patch::Merge(json!({"rules": rules}))).await?;
        Ok(())
    }

    /// Makes the Job that the lease is for; it does not run yet.
    pub async fn task(&self) -> Result<()> {
        let jobs: Api<k8s_openapi::api::batch::v1::Job> =
            Api::namespaced(self.home.admin.clone(), &self.home.namespace);
        // The one before may still be going away.
        let gone = || async { Ok::<_, anyhow::Error>(jobs.get_opt(TASK).await?.is_none().then_some(())) };
        leasehold_harness::eventually("the former Job to be gone", super::PATIENCE, gone).await?;
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.org/none:1"}]});
        let job = json!({"metadata": {"name": TASK}, "spec": {"suspend": true, "template": {"spec": pod}}});
        jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await.map(drop).context("create the Job")
    }
}

/// The Job that a lease is for.
pub const TASK: &str = "task";

/// What is not there need not be deleted.
pub fn absent(error: kube::Error) -> Result<()> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        error => Err(error.into()),
    }
}
