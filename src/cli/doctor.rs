//! `doctor`: is everything there that Leasehold stands on?

use clap::Args;
use http::{Method, Request, header};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace, flowcontrol::v1::FlowSchema};
use kube::{Api, ResourceExt, api::ListParams, client::Body};

use super::{
    connect::{Cluster, Global, connect},
    exit::Failure,
    fetch, operator,
    output::{self, Format, Hue, Style, Table},
    view::text::safe,
};
use crate::api::{GROUP, Time, VERSION, names};

pub mod checks;
pub mod finding;

use checks::Seeing;
use finding::{Finding, Level, Seen, Unread};

/// Flags of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// As JSON or YAML.
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::of_findings())]
    pub output: Option<Format>,
}

/// Examines a cluster; exit code 1 if something fails.
///
/// # Errors
/// If the cluster cannot be reached at all.
pub async fn run(global: &Global, flags: &Doctor) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    // Everything else would say the same, line by line.
    let version = cluster.client.apiserver_version().await?;
    output::tell(&format!("looking at {}", cluster.config.cluster_url));
    let found = checks::examine(&look(&cluster, (version.major, version.minor)).await);
    let text = match flags.output {
        Some(format) => output::document(format, &found)?,
        None => table(&found, Style::stdout(global.no_color)),
    };
    output::emit(&text)?;
    Ok(u8::from(found.iter().any(|f| f.level == Level::Fail)))
}

fn table(found: &[Finding], style: Style) -> String {
    let mut table = Table::default();
    for finding in found {
        let hue = match finding.level {
            Level::Ok => Hue::Good,
            Level::Skip => Hue::Faint,
            Level::Warn => Hue::Waiting,
            Level::Fail => Hue::Bad,
        };
        let level = style.paint(hue, &finding.level.to_string());
        table.row([level, finding.about.to_owned(), safe(&finding.text)]);
    }
    table.render()
}

async fn look(cluster: &Cluster, version: (String, String)) -> Seeing {
    let (client, everything) = (cluster.client.clone(), ListParams::default());
    let lists = async {
        tokio::join!(
            every(Api::all(client.clone()), &everything),
            every(Api::all(client.clone()), &everything),
            every(Api::all(client.clone()), &everything),
            every(Api::all(client.clone()), &everything),
            every(Api::all(client.clone()), &everything),
            every(Api::all(client.clone()), &everything),
            every(Api::all(client.clone()), &everything),
        )
    };
    let single = async {
        tokio::join!(clocks(cluster), kinds(cluster), namespaces(cluster), deployment(cluster), flow(cluster))
    };
    let ((policies, admission, cluster_bindings, bindings, lifecycles, guards, systems), single) =
        tokio::join!(lists, single);
    let (clocks, kinds, namespaces, operator, flow) = single;
    let policies = policies.and_then(|policies| Ok((policies, admission?)));
    Seeing {
        now: fetch::now(),
        server: Ok(version),
        clocks,
        kinds,
        namespaces,
        policies,
        operator,
        flow,
        cluster_bindings,
        bindings,
        lifecycles,
        guards,
        systems,
    }
}

async fn every<K>(api: Api<K>, params: &ListParams) -> Seen<Vec<K>>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(fetch::all(&api, params).await?)
}

/// The local clock before and after one answer, with the time that the answer says between.
async fn clocks(cluster: &Cluster) -> Seen<(Time, Time, Time)> {
    let unread = |e: &dyn std::fmt::Display| Unread(e.to_string());
    let request = Request::builder().method(Method::GET).uri("/version").body(Body::empty()).map_err(|e| unread(&e))?;
    let before = fetch::now();
    let answer = cluster.client.send(request).await?;
    let after = fetch::now();
    let date = answer.headers().get(header::DATE).and_then(|d| d.to_str().ok());
    let date = date.ok_or_else(|| Unread("the API server does not say what time it is".into()))?;
    let server = jiff::fmt::rfc2822::parse(date).map_err(|e| unread(&e))?;
    Ok((before, server.timestamp().into(), after))
}

/// The kinds that are served.
async fn kinds(cluster: &Cluster) -> Seen<Option<Vec<String>>> {
    let found = fetch_group(cluster).await?;
    Ok(found.map(|list| list.resources.into_iter().map(|r| r.kind).collect()))
}

async fn fetch_group(
    cluster: &Cluster,
) -> Result<Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList>, kube::Error> {
    match cluster.client.list_api_group_resources(&format!("{GROUP}/{VERSION}")).await {
        Ok(list) => Ok(Some(list)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

async fn namespaces(cluster: &Cluster) -> Seen<Vec<String>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let mut there = vec![];
    for name in [names::OPERATOR_NAMESPACE, names::ISSUING_NAMESPACE] {
        there.extend(api.get_opt(name).await?.map(|n| n.name_any()));
    }
    Ok(there)
}

async fn deployment(cluster: &Cluster) -> Seen<Option<Deployment>> {
    Ok(operator::deployment(cluster).await?)
}

async fn flow(cluster: &Cluster) -> Seen<bool> {
    let api: Api<FlowSchema> = Api::all(cluster.client.clone());
    Ok(api.get_opt(names::MANAGER).await?.is_some())
}
