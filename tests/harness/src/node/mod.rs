//! A real node: kubelet and containerd, on the machine the tests run on, and nothing of it left afterwards.
//!
//! Needs root. [`isolate`] comes first, before anything is started: it puts the whole test program into a network and a mount
//! namespace of its own. What a node does to a machine (a bridge, routes, addresses, sysctls of the network, mounts) it does
//! there, and it is gone with the program. Containerd and the kubelet also get a PID namespace: the end of one process ends every
//! container. Only cgroups have to be removed by hand; see [`cgroups`].

mod cgroups;
mod containerd;
mod executables;
mod image;
mod isolation;
mod kubelet;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::Api;

pub use image::{Image, leasehold, programs};
pub use isolation::{is_isolated, isolate};

use crate::assets::{self, Program};
use crate::eventually::{Look, eventually_seeing};
use crate::identity::Identity;
use crate::plane::{ControlPlane, write_private};
use crate::process::Process;

/// The node's name.
const NAME: &str = "node";

/// Its address (RFC 5737), on the loopback device of our own network namespace. The API server finds the kubelet there.
pub(crate) const ADDRESS: &str = "192.0.2.10";

/// Where pods find the API server: the first address of the services, as everywhere. On the loopback device too, so no proxy
/// for services is needed.
const SERVICE: &str = "10.0.0.1";

/// The API server's port, which is that of the Service `kubernetes`.
pub(crate) const APISERVER_PORT: u16 = 443;

const SCRIPT: &str = include_str!("node.sh");

/// Two cores that others use too.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running node. Dropping it kills it with everything that runs on it.
pub struct Node {
    process: Process,
    cgroup: cgroups::Root,
    dir: PathBuf,
}

impl Node {
    /// Start a node of `plane`, which was started with [`Options::real_node`](crate::Options::real_node), and wait until it
    /// is Ready. `images` are all it will ever have: nothing is pulled. The first one is also what holds the namespaces of
    /// each pod, so its entry point must wait.
    ///
    /// # Errors
    /// If the packages cannot be had, or the node does not become Ready: the error quotes its logs.
    pub async fn start(plane: &ControlPlane, images: &[&Image]) -> Result<Self> {
        let sandbox = images.first().context("a node needs an image to hold the namespaces of its pods")?;
        cgroups::sweep();
        let cgroup = cgroups::Root::create(Identity::own()?)?;
        let dir = plane.dir().join(NAME);
        let parts = Parts::find().await?;
        for part in ["cni", "images", "kubelet", "pods"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let kubelet = plane.user(&format!("system:node:{NAME}"), &["system:nodes"])?;
        for (file, content) in [
            ("containerd.toml", containerd::config(&dir, &parts, &sandbox.name)),
            ("kubelet.yaml", kubelet::config(&dir, &plane.authority_file(), cgroup.name())?),
            ("cni/10-bridge.conflist", containerd::network(&dir)),
        ] {
            write_private(&dir.join(file), &content)?;
        }
        for (number, image) in images.iter().enumerate() {
            symlink(&image.archive, dir.join(format!("images/{number}.tar")))?;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", SCRIPT, NAME]);
        command.args([&dir, &parts.containerd, &parts.kubelet, &kubelet.kubeconfig]).args([NAME, ADDRESS]);
        command.env("PATH", parts.path()?).env("HOME", &dir);
        let node = Self { process: plane.spawn(NAME, command)?, cgroup, dir };
        node.wait_until_ready(plane).await?;
        Ok(node)
    }

    async fn wait_until_ready(&self, plane: &ControlPlane) -> Result<()> {
        let nodes: Api<ApiNode> = Api::all(plane.admin());
        let ready = eventually_seeing("the node to be Ready", PATIENCE, || async {
            ensure!(self.process.identity().is_alive(), "it has ended");
            Ok(match nodes.get_opt(NAME).await? {
                Some(node) if is_ready(&node) => Look::Done(()),
                Some(node) => Look::NotYet(format!("{:?}", node.status.unwrap_or_default().conditions)),
                None => Look::NotYet("not registered".to_owned()),
            })
        });
        ready.await.with_context(|| format!("{}\n{}", self.process.log_tail(), self.containerd_log()))
    }

    fn containerd_log(&self) -> String {
        let path = self.dir.join("containerd.log");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| format!("(unreadable: {error})"));
        let lines: Vec<&str> = text.lines().collect();
        format!("last lines of {}:\n{}", path.display(), lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// End it, with all its containers, and remove its cgroups.
    ///
    /// # Errors
    /// If the operating system refuses, or a cgroup cannot be removed.
    pub async fn stop(mut self) -> Result<()> {
        self.process.kill()?;
        self.cgroup.remove().await?;
        isolation::forget_mount_points();
        Ok(())
    }
}

/// Have the programs of a node there, while there is a network.
///
/// # Errors
/// If a package cannot be had, or the kubelet cannot be built.
pub async fn prepare() -> Result<()> {
    assets::debian_program("ip", "iproute2").await?;
    Parts::find().await.map(drop)
}

fn is_ready(node: &ApiNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Where the programs of a node are.
struct Parts {
    containerd: PathBuf,
    runc: PathBuf,
    plugins: PathBuf,
    kubelet: PathBuf,
}

impl Parts {
    async fn find() -> Result<Self> {
        Ok(Self {
            containerd: assets::debian_files("containerd").await?.join("usr/bin/containerd"),
            runc: assets::debian_files("runc").await?.join("usr/sbin/runc"),
            plugins: assets::debian_files("containernetworking-plugins").await?.join("usr/lib/cni"),
            kubelet: assets::program(Program::Kubelet).await?,
        })
    }

    /// PATH with containerd's own programs first: it finds its shim there.
    fn path(&self) -> Result<std::ffi::OsString> {
        let own = self.containerd.parent().context("an executable is in a directory")?.to_owned();
        let usual = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&usual)))?)
    }
}
