//! Leasehold on a real node: `make test-node`, as root.
//!
//! The other tests run the operator as a process. Here everything is as on a cluster: the image that the Dockerfile describes, Helm,
//! pods under restricted Pod Security that reach the API server as pods do, tokens in mounted Secrets. The steps are one story
//! on one node; each says what must hold, and the first one that does not ends it.

mod holders;
mod image;
mod release;
mod story;
// Shared with the tests on a control plane, which use all of it.
#[allow(dead_code, unused_imports)]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use leasehold_harness::{Options, assets, node};

use image::Images;
use story::Story;
use support::Lab;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !node::is_isolated() {
        runtime.block_on(prepare())?;
        drop(runtime);
        return node::isolate();
    }
    node::isolate()?;
    runtime.block_on(tell())
}

/// Everything that needs the network: there is none on the node.
async fn prepare() -> Result<()> {
    let mut steps = Steps::default();
    steps.hold("the tools of a node are there", node::prepare()).await?;
    steps.hold("Helm is there", assets::go_tool(assets::HELM)).await?;
    steps.hold("the image is built, and a second time it is the same", image::built_twice()).await?;
    steps.hold("the image holds two executables, no shell, and runs as nobody", image::is_bare()).await
}

async fn tell() -> Result<()> {
    let mut steps = Steps::default();
    let images = Images::there().await?;
    let options = Options { real_node: true, ..Options::default() };
    let lab = steps.hold("a control plane is up", Lab::bare(options)).await?;
    let there = [&images.programs, &images.leasehold];
    let node = steps.hold("a node is ready", node::Node::start(&lab.plane, &there)).await?;
    let story = Story { lab: &lab, images: &images };
    let told = story.tell(&mut steps).await;
    if told.is_err() {
        eprintln!("{}\nlogs: {}", story.state().await, lab.plane.dir().display());
    }
    steps.hold("the node leaves nothing behind", node.stop()).await?;
    told?;
    lab.stop().await?;
    println!("node: {} steps, all held, in {} s", steps.held, steps.begun.elapsed().as_secs());
    Ok(())
}

/// Tells what is under way, and how long it took.
struct Steps {
    begun: Instant,
    held: u32,
}

impl Default for Steps {
    fn default() -> Self {
        Self { begun: Instant::now(), held: 0 }
    }
}

impl Steps {
    async fn hold<T>(&mut self, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let outcome = step.await;
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("node: {what} ... {word}, {:.1} s", begun.elapsed().as_secs_f64());
        if outcome.is_ok() {
            self.held += 1;
        }
        outcome.map_err(|error| error.context(format!("this does not hold: {what}")))
    }
}
