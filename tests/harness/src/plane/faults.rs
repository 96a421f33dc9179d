//! Faults: components that stop, hang, die and come back.
//!
//! All of them need the control plane for themselves (`&mut`), so that a test cannot disturb others that share it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Component, ControlPlane, ready};
use crate::process::Process;

/// How long a component may take to end by itself before it is killed. The API server answers the requests it has at
/// once and then waits a minute for watches to end, which those who watch do not: as on a cluster, it is cut off.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

impl ControlPlane {
    /// End a component in good order, as an upgrade does.
    ///
    /// # Errors
    /// If it is not running, or the operating system refuses.
    pub async fn stop_component(&mut self, component: Component) -> Result<()> {
        let mut process = self.running.remove(&component).with_context(|| not_running(component))?;
        process.terminate(PATIENCE).await?;
        Ok(())
    }

    /// End a component at once (SIGKILL), as a crash does.
    ///
    /// # Errors
    /// If it is not running, or the operating system refuses.
    pub fn kill_component(&mut self, component: Component) -> Result<()> {
        let mut process = self.running.remove(&component).with_context(|| not_running(component))?;
        process.kill()?;
        Ok(())
    }

    /// Start a stopped or killed component again, with the same flags, port and data, and wait until the API server is
    /// ready.
    ///
    /// # Errors
    /// If it runs already, or ends at once: the error quotes its log.
    pub async fn start_component(&mut self, component: Component) -> Result<()> {
        ensure!(!self.running.contains_key(&component), "{} is running already", component.name());
        self.launch(component).await?;
        ready::apiserver(self).await
    }

    /// Freeze a component (SIGSTOP): it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not running, or the operating system refuses.
    pub fn pause_component(&mut self, component: Component) -> Result<()> {
        self.component(component)?.pause()
    }

    /// Let a paused component go on.
    ///
    /// # Errors
    /// If it is not running, or the operating system refuses.
    pub fn resume_component(&mut self, component: Component) -> Result<()> {
        self.component(component)?.resume()
    }

    /// Without it nothing is garbage collected, and a deleted namespace stays.
    ///
    /// # Errors
    /// As [`ControlPlane::stop_component`].
    pub async fn stop_controller_manager(&mut self) -> Result<()> {
        self.stop_component(Component::ControllerManager).await
    }

    /// Go on after [`ControlPlane::stop_controller_manager`].
    ///
    /// # Errors
    /// As [`ControlPlane::start_component`].
    pub async fn start_controller_manager(&mut self) -> Result<()> {
        self.start_component(Component::ControllerManager).await
    }

    /// End the API server and start it again on the same port and data. It is ready when this returns.
    ///
    /// # Errors
    /// As [`ControlPlane::stop_component`] and [`ControlPlane::start_component`].
    pub async fn restart_apiserver(&mut self) -> Result<()> {
        self.stop_component(Component::Apiserver).await?;
        self.start_component(Component::Apiserver).await
    }

    fn component(&self, component: Component) -> Result<&Process> {
        self.running.get(&component).with_context(|| not_running(component))
    }
}

fn not_running(component: Component) -> String {
    format!("{} is not running", component.name())
}
