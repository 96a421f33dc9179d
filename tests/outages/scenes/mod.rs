//! The scenes.

mod absence;
mod apiserver;
mod clock;
mod corrupt;
mod partition;
mod pressure;
mod removed;
mod replicas;
mod restored;
mod store;

use anyhow::Result;

use restored::Version;

use crate::scene::Scene;

/// Every scene: its name, and what happens in it.
pub const ALL: &[(&str, &str)] = &[
    ("apiserver", "the API server is killed and restarted while leases are issued and end"),
    ("etcd", "etcd is killed and restarted while leases are issued and end"),
    ("restored", "etcd is restored from an older backup while the operator runs"),
    ("restored-raised", "the same, and its version is raised above what it was"),
    ("restored-away", "etcd is restored from an older backup while there is no operator"),
    ("absence", "the operator is away for longer than thousands of leases live"),
    ("removed", "namespaces, policies, rights and definitions are taken away under live leases"),
    ("partition", "two API servers on one etcd, one of them cut off from it"),
    ("clock", "the operator's clock is an hour off, and is set while it runs"),
    ("replicas", "two replicas have clocks two hours apart, which are set while they run"),
    ("corrupt", "what is stored of live leases is falsified"),
    ("pressure", "the operator has few files, then little memory"),
];

/// Plays one.
pub async fn play(scene: &mut Scene) -> Result<()> {
    match scene.name {
        "apiserver" => apiserver::play(scene).await,
        "etcd" => store::play(scene).await,
        "restored" => restored::play(scene, restored::Operator::Runs, Version::AsItWas).await,
        "restored-raised" => restored::play(scene, restored::Operator::Runs, Version::Raised).await,
        "restored-away" => restored::play(scene, restored::Operator::Away, Version::AsItWas).await,
        "absence" => absence::play(scene).await,
        "removed" => removed::play(scene).await,
        "partition" => partition::play(scene).await,
        "clock" => clock::play(scene).await,
        "replicas" => replicas::play(scene).await,
        "corrupt" => corrupt::play(scene).await,
        "pressure" => pressure::play(scene).await,
        other => anyhow::bail!("nobody knows how to play {other}"),
    }
}
