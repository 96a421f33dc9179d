//! The ClusterRoles for people: each may exactly what it says, where it is bound and nowhere else.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use leasehold_harness::{Look, eventually_seeing};

use crate::support::{Lab, Tenant, run};

const LIFECYCLES: &str = "serviceaccountlifecycles";
const LEASES: &str = "credentialleases";
const DECISIONS: &str = "credentialleasedecisions";
const POLICIES: &str = "credentialleasepolicies";
const SYSTEMS: &str = "connectedsystems";

/// All of ours.
const KINDS: [&str; 5] = [LIFECYCLES, LEASES, DECISIONS, POLICIES, SYSTEMS];

const READ: &[&str] = &["get", "list", "watch"];
const ALL: &[&str] = &["create", "get", "list", "watch", "update", "patch", "delete"];

/// Everything that can be asked about our own kinds.
const VERBS: &[&str] = &[
    "create",
    "get",
    "list",
    "watch",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "lease",
    "approve",
    "revoke",
    "mint",
    "*",
];

/// What else no persona may, whichever it is.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("", "secrets", "get"),
    ("", "pods", "create"),
    ("", "serviceaccounts/token", "create"),
    ("", "serviceaccounts", "impersonate"),
    ("rbac.authorization.k8s.io", "roles", "bind"),
    ("rbac.authorization.k8s.io", "rolebindings", "create"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "delete"),
];

type Rights = BTreeSet<(String, String)>;

fn rights(of: &[(&str, &[&str])]) -> Rights {
    of.iter().flat_map(|(resource, verbs)| verbs.iter().map(|v| ((*resource).into(), (*v).into()))).collect()
}

/// Everything of ours, to be read.
fn readable() -> Rights {
    rights(&KINDS.map(|kind| (kind, READ)))
}

/// What each says it may.
fn personas() -> Vec<(&'static str, Rights)> {
    vec![
        ("leasehold-author", rights(&[(LIFECYCLES, ALL)])),
        (
            "leasehold-requester",
            rights(&[
                (LIFECYCLES, READ),
                (LIFECYCLES, &["lease"]),
                (LEASES, &["create", "get", "list", "watch"]),
                (DECISIONS, &["create"]),
            ]),
        ),
        (
            "leasehold-approver",
            rights(&[
                (LIFECYCLES, READ),
                (LIFECYCLES, &["approve", "revoke"]),
                (LEASES, READ),
                (DECISIONS, &["create", "get", "list", "watch"]),
            ]),
        ),
        ("leasehold-auditor", readable()),
        ("leasehold-platform", rights(&[(POLICIES, ALL), (SYSTEMS, ALL)])),
    ]
}

async fn may(who: &Client, namespace: &str, (group, resource, verb): (&str, &str, &str)) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s.to_owned())));
    let attributes = ResourceAttributes {
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource,
        verb: Some(verb.into()),
        namespace: Some(namespace.into()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::<SelfSubjectAccessReview>::all(who.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("no answer")?.allowed)
}

/// All that somebody may do to our kinds in a namespace; the empty one: in the cluster.
async fn all_rights(who: &Client, namespace: &str) -> Result<Rights> {
    let mut held = Rights::new();
    for resource in KINDS {
        for resource in [resource.to_owned(), format!("{resource}/status")] {
            for verb in VERBS {
                if may(who, namespace, ("leasehold.dev", &resource, verb)).await? {
                    held.insert((resource.clone(), (*verb).to_owned()));
                }
            }
        }
    }
    for right in FOREIGN {
        if may(who, namespace, *right).await? {
            held.insert((right.1.to_owned(), right.2.to_owned()));
        }
    }
    Ok(held)
}

/// A user who holds this ClusterRole in the tenant's namespace, or in the cluster.
async fn bound(tenant: &Tenant<'_>, role: &str, everywhere: bool) -> Result<Client> {
    let name = format!("{}-{role}{}", tenant.namespace, if everywhere { "-everywhere" } else { "" });
    let user = tenant.lab.plane.user(&name, &[])?;
    let (kind, namespace): (&str, &[&str]) =
        if everywhere { ("clusterrolebinding", &[]) } else { ("rolebinding", &["-n", &tenant.namespace]) };
    let role = format!("--clusterrole={role}");
    let args = [&["create", kind, &name, &role, "--user", &name], namespace].concat();
    tenant.lab.kubectl(&args, None).await?;
    Ok(user.client)
}

#[test]
fn each_persona_may_exactly_what_it_says() {
    run(async {
        let lab = Lab::shared().await?;
        let (tenant, other) = (lab.tenant("personas").await?, lab.tenant("personas").await?);
        for (role, says) in personas() {
            let platform = role == "leasehold-platform";
            let who = bound(&tenant, role, platform).await?;
            let (here, there, cluster) = (
                all_rights(&who, &tenant.namespace).await?,
                all_rights(&who, &other.namespace).await?,
                all_rights(&who, "").await?,
            );
            ensure!(here == says, "{role} may {here:?}");
            ensure!(there.is_empty() || platform, "{role}, elsewhere, may {there:?}");
            ensure!(cluster == if platform { says } else { Rights::new() }, "{role}, cluster-wide, may {cluster:?}");
        }
        Ok(())
    });
}

/// The auditor's rights are a part of `view`, and of all that is made of it; nobody else's are.
#[test]
fn whoever_may_view_a_namespace_may_read_what_is_leased_in_it() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("viewers").await?;
        let readable = readable();
        for role in ["view", "edit", "admin"] {
            let who = bound(&tenant, role, false).await?;
            eventually_seeing(&format!("{role} to be aggregated"), Duration::from_secs(20), || async {
                let ours: Rights = all_rights(&who, &tenant.namespace)
                    .await?
                    .into_iter()
                    .filter(|(resource, _)| !FOREIGN.iter().any(|f| f.1 == resource))
                    .collect();
                let seen = format!("{ours:?}");
                Ok::<_, anyhow::Error>(if ours == readable { Look::Done(()) } else { Look::NotYet(seen) })
            })
            .await?;
        }
        Ok(())
    });
}
