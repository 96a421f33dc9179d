//! A control plane does what a cluster does: these share one, each in a namespace of its own.

use crate::support::{PATIENCE, config_map, named, namespace, refusal, shared};
use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, UserInfo};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use leasehold_harness::{Look, eventually, eventually_seeing};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_who_the_certificate_says_with_all_groups() -> Result<()> {
    let plane = shared().await;
    let carol = plane.user("carol@example.org", &["auditors", "on-call", "eu"])?;
    let seen = who_am_i(carol.client).await?;
    assert_eq!(seen.username.as_deref(), Some("carol@example.org"));
    assert_eq!(seen.groups, Some(["auditors", "on-call", "eu", "system:authenticated"].map(str::to_owned).to_vec()));
    assert_eq!(plane.user("carol@example.org", &["auditors", "on-call", "eu"])?.kubeconfig, carol.kubeconfig);
    assert_ne!(plane.user("carol@example.org", &["auditors"])?.kubeconfig, carol.kubeconfig);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_may_do_what_rbac_says_and_no_more() -> Result<()> {
    let plane = shared().await;
    namespace(&plane.admin(), "rbac").await?;
    let role = Role {
        metadata: named("reader"),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["configmaps".to_owned()]),
            verbs: vec!["list".to_owned()],
            ..PolicyRule::default()
        }]),
    };
    let binding = RoleBinding {
        metadata: named("readers"),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: "reader".to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Group".to_owned(),
            name: "readers".to_owned(),
            namespace: None,
        }]),
    };
    Api::namespaced(plane.admin(), "rbac").create(&PostParams::default(), &role).await?;
    Api::namespaced(plane.admin(), "rbac").create(&PostParams::default(), &binding).await?;

    let as_alice: Api<ConfigMap> = Api::namespaced(plane.user("alice", &["readers"])?.client, "rbac");
    let as_bob: Api<ConfigMap> = Api::namespaced(plane.user("bob", &["writers"])?.client, "rbac");
    eventually("alice to see her binding", PATIENCE, async || as_alice.list(&ListParams::default()).await.map(Some))
        .await?;
    assert_eq!(refusal(as_bob.list(&ListParams::default()).await), 403);
    assert_eq!(refusal(as_alice.create(&PostParams::default(), &config_map("x")).await), 403);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_token_authenticates_by_client_and_by_kubeconfig() -> Result<()> {
    let plane = shared().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.admin(), "default");
    let answer = accounts.create_token_request("default", &PostParams::default(), &TokenRequest::default()).await?;
    let token = answer.status.context("a token was made")?.token;
    let seen = who_am_i(plane.token_client(&token)?).await?;
    assert_eq!(seen.username.as_deref(), Some("system:serviceaccount:default:default"));

    let kubeconfig = plane.token_kubeconfig("default account", &token)?;
    let printed = plane.kubectl(&kubeconfig, &["auth", "whoami"], None).await?.ok()?;
    assert!(printed.contains("system:serviceaccount:default:default"), "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_its_stdin_and_its_failures_are_quoted() -> Result<()> {
    let plane = shared().await;
    let manifest = "{apiVersion: v1, kind: Namespace, metadata: {name: from-stdin}}";
    let applied = plane.kubectl(plane.admin_kubeconfig(), &["apply", "-f", "-"], Some(manifest)).await?.ok()?;
    assert_eq!(applied, "namespace/from-stdin created\n");

    let mallory = plane.user("mallory", &[])?;
    let refused = plane.kubectl(&mallory.kubeconfig, &["get", "secrets"], None).await?;
    assert!(!refused.status.success());
    assert!(refused.ok().unwrap_err().to_string().contains("Forbidden"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_goes_away() -> Result<()> {
    let plane = shared().await;
    namespace(&plane.admin(), "short-lived").await?;
    let inside: Api<ConfigMap> = Api::namespaced(plane.admin(), "short-lived");
    inside.create(&PostParams::default(), &config_map("inside")).await?;
    let namespaces: Api<Namespace> = Api::all(plane.admin());
    namespaces.delete("short-lived", &DeleteParams::default()).await?;
    eventually_seeing("the namespace to be gone", PATIENCE, async || {
        let left = namespaces.get_opt("short-lived").await?;
        Ok::<_, kube::Error>(left.map_or(Look::Done(()), |left| Look::NotYet(format!("{:?}", left.status))))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_owner_is_deleted_is_collected() -> Result<()> {
    let plane = shared().await;
    namespace(&plane.admin(), "collected").await?;
    let objects: Api<ConfigMap> = Api::namespaced(plane.admin(), "collected");
    let owner = objects.create(&PostParams::default(), &config_map("owner")).await?;
    let mut dependent = config_map("dependent");
    dependent.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: "owner".to_owned(),
        uid: owner.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    }]);
    objects.create(&PostParams::default(), &dependent).await?;
    objects.delete("owner", &DeleteParams::default()).await?;
    eventually("the dependent object to be gone", PATIENCE, async || {
        objects.get_opt("dependent").await.map(|left| left.is_none().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_policy_bites() -> Result<()> {
    let plane = shared().await;
    namespace(&plane.admin(), "policed").await?;
    let policy = ValidatingAdmissionPolicy {
        metadata: named("no-forbidden-names"),
        spec: Some(ValidatingAdmissionPolicySpec {
            match_constraints: Some(MatchResources {
                resource_rules: Some(vec![NamedRuleWithOperations {
                    api_groups: Some(vec![String::new()]),
                    api_versions: Some(vec!["v1".to_owned()]),
                    operations: Some(vec!["CREATE".to_owned()]),
                    resources: Some(vec!["configmaps".to_owned()]),
                    ..NamedRuleWithOperations::default()
                }]),
                namespace_selector: Some(LabelSelector {
                    match_labels: Some([("kubernetes.io/metadata.name".to_owned(), "policed".to_owned())].into()),
                    ..LabelSelector::default()
                }),
                ..MatchResources::default()
            }),
            validations: Some(vec![Validation {
                expression: "object.metadata.name != 'forbidden'".to_owned(),
                ..Validation::default()
            }]),
            ..ValidatingAdmissionPolicySpec::default()
        }),
        ..ValidatingAdmissionPolicy::default()
    };
    let binding = ValidatingAdmissionPolicyBinding {
        metadata: named("no-forbidden-names"),
        spec: Some(ValidatingAdmissionPolicyBindingSpec {
            policy_name: Some("no-forbidden-names".to_owned()),
            validation_actions: Some(vec!["Deny".to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }),
    };
    Api::all(plane.admin()).create(&PostParams::default(), &policy).await?;
    Api::all(plane.admin()).create(&PostParams::default(), &binding).await?;

    let objects: Api<ConfigMap> = Api::namespaced(plane.admin(), "policed");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let refused = eventually("the policy to be in force", PATIENCE, async || {
        Ok::<_, kube::Error>(objects.create(&dry_run, &config_map("forbidden")).await.err())
    })
    .await?;
    assert_eq!(refusal(Err::<(), _>(refused)), 422);
    objects.create(&dry_run, &config_map("allowed")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_asked_for_what() -> Result<()> {
    let plane = shared().await;
    let dave = plane.user("dave", &["testers"])?;
    let audit = plane.audit();
    let before = audit.cursor()?;
    let as_dave: Api<ConfigMap> = Api::namespaced(dave.client, "default");
    assert_eq!(refusal(as_dave.get("not-his").await), 403);
    let record = eventually("the record of dave's request", PATIENCE, async || {
        audit.read_since(before).map(|records| records.into_iter().find(|record| record.user == "dave"))
    })
    .await?;
    assert_eq!((record.verb.as_str(), record.code), ("get", 403));
    assert_eq!(
        (record.resource.as_str(), record.namespace.as_str(), record.name.as_str()),
        ("configmaps", "default", "not-his")
    );
    assert_eq!(record.groups, ["testers", "system:authenticated"]);
    assert_eq!(record.annotations["authorization.k8s.io/decision"], "forbid");
    assert!(record.received <= record.finished);
    audit.settled().await;
    assert!(audit.since_start()?.contains(&record));
    Ok(())
}

async fn who_am_i(client: Client) -> Result<UserInfo> {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    Ok(review.status.and_then(|status| status.user_info).unwrap_or_default())
}
