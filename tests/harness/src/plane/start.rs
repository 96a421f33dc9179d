//! Bringing a control plane up.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::endpoint::{Endpoint, by_certificate};
use super::flags::flags;
use super::run_dir::{RunDir, runs, write_private};
use super::users::Credentials;
use super::watchdog::Watchdog;
use super::{Component, ControlPlane, Options, Ports, nodes, ports, ready, sweep};
use crate::assets::{self, Program};
use crate::node::APISERVER_PORT;
use crate::pki::{self, Authority};
use crate::process::{Lifetime, Process};

/// How often a start is tried again because somebody took a port that was free a moment before.
const TRIES: usize = 5;

/// How soon a component that cannot run at all has ended.
const AT_ONCE: Duration = Duration::from_millis(50);

const AUDIT_POLICY: &str = include_str!("audit-policy.yaml");

/// May do anything, whatever RBAC says.
const MASTERS: &str = "system:masters";

impl ControlPlane {
    /// Start a control plane and wait until it is ready: the API server, and what the controllers make in every new
    /// cluster.
    ///
    /// The first time on a machine its executables are built, which takes minutes; see [`assets`].
    /// Runs that a killed test run left are ended first.
    ///
    /// # Errors
    /// If an executable cannot be had, or a component does not come up: the error names its log and quotes the end of
    /// it.
    pub async fn start(options: Options) -> Result<Self> {
        sweep::sweep_all(&runs()?)?;
        if let Some(dir) = &options.dir {
            sweep::sweep(dir)?;
        }
        let mut tries = 1;
        loop {
            let dir = RunDir::create(options.dir.as_deref())?;
            match Self::start_in(dir.clone(), options.clone(), Ports::free()?).await {
                Err(error) if tries < TRIES && ports::was_taken(&error) => dir.remove()?,
                outcome => return outcome,
            }
            tries += 1;
        }
    }

    /// One start. On an error the processes are killed, and the directory stays for its logs.
    async fn start_in(dir: RunDir, options: Options, ports: Ports) -> Result<Self> {
        let authority = Authority::generate()?;
        let ports = if options.real_node { Ports { apiserver: APISERVER_PORT, ..ports } } else { ports };
        let endpoint = Endpoint::new(ports.apiserver, &authority);
        let mut plane = Self {
            running: BTreeMap::new(),
            watchdog: if options.detached { None } else { Some(Watchdog::over(&dir)?) },
            kubectl: assets::program(Program::Kubectl).await?,
            admin: admin(&dir, &authority, &endpoint)?,
            users: Mutex::default(),
            dir,
            options,
            ports,
            authority,
            endpoint,
        };
        plane.write_files()?;
        plane.start_all().await?;
        Ok(plane)
    }

    async fn start_all(&mut self) -> Result<()> {
        for component in Component::wanted(&self.options) {
            self.launch(component).await?;
            if component == Component::Apiserver {
                // The controllers would wait for it as well, but in steps of seconds.
                ready::apiserver(self).await?;
            }
        }
        nodes::create(self.admin(), self.options.kwok_nodes).await?;
        ready::cluster(self).await
    }

    /// Start the process of a component and note it down.
    pub(super) async fn launch(&mut self, component: Component) -> Result<()> {
        let mut command = Command::new(component.executable().await?);
        command.args(flags(component, &self.dir, self.ports, &self.options)).env("HOME", self.dir.home());
        let lifetime = if self.options.detached { Lifetime::Detached } else { Lifetime::Ours };
        let log = self.dir.log(component.name());
        let process = Process::spawn(component.name(), command, &log, lifetime)?;
        self.dir.record(component.name(), process.identity())?;
        self.running.insert(component, process);
        // A wrong flag ends it at once; later ends are seen while waiting for readiness.
        sleep(AT_ONCE).await;
        self.check_running()
    }

    /// Everything the flags refer to.
    fn write_files(&self) -> Result<()> {
        let server = self.authority.server(&[
            "127.0.0.1",
            "localhost",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "10.0.0.1",
        ])?;
        let service_account = pki::service_account_keys()?;
        let kubelet_client = self.authority.user("kube-apiserver-kubelet-client", &[MASTERS])?;
        for (path, content) in [
            (self.dir.authority(), self.ca_pem()),
            (self.dir.server_certificate(), &server.public),
            (self.dir.server_key(), &server.private),
            (self.dir.service_account_public_key(), &service_account.public),
            (self.dir.service_account_key(), &service_account.private),
            (self.dir.kubelet_client_certificate(), &kubelet_client.public),
            (self.dir.kubelet_client_key(), &kubelet_client.private),
            (self.dir.audit_policy(), AUDIT_POLICY),
            (self.dir.kwok_stages(), nodes::STAGES),
        ] {
            write_private(&path, content)?;
        }
        if let Some(authentication) = &self.options.authentication {
            write_private(&self.dir.authentication(), authentication)?;
        }
        for (component, user, groups) in [
            (Component::ControllerManager, "system:kube-controller-manager", [].as_slice()),
            (Component::Scheduler, "system:kube-scheduler", &[]),
            (Component::Kwok, "kwok", &[MASTERS]),
        ] {
            self.issue(component.name(), user, groups)?;
        }
        Ok(())
    }
}

fn admin(dir: &RunDir, authority: &Authority, endpoint: &Endpoint) -> Result<Credentials> {
    let auth = by_certificate(&authority.user("admin", &[MASTERS])?);
    let kubeconfig = dir.kubeconfig("admin");
    write_private(&kubeconfig, &endpoint.kubeconfig(auth.clone())?)?;
    endpoint.client(auth.clone())?;
    Ok(Credentials { kubeconfig, auth })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The retry of [`ControlPlane::start`] stands on what etcd and the API server write into their logs.
    #[tokio::test]
    async fn a_taken_port_is_recognised_by_what_the_component_says() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = held.local_addr().unwrap().port();
        let of_etcd = Ports { etcd_client: taken, ..Ports::free().unwrap() };
        let of_apiserver = Ports { apiserver: taken, ..Ports::free().unwrap() };
        for ports in [of_etcd, of_apiserver] {
            let dir = RunDir::create(None).unwrap();
            let error = ControlPlane::start_in(dir.clone(), Options::default(), ports).await.err().unwrap();
            assert!(ports::was_taken(&error), "{error:#}");
            dir.remove().unwrap();
        }
    }
}
