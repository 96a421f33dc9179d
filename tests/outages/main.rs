//! Outages of the whole cluster: API servers and etcd that die, go back in time or are cut off, an operator that is away or has a wrong
//! clock, and what it stands on taken away under live leases.
//!
//! Each scene has a control plane of its own and breaks it. What is true afterwards is read off the API server, its audit log and the
//! tokens; the operator is asked for nothing. `make outages` runs all, `SCENE=name` one, `QUICK=1` with fewer leases (scene
//! `absence` with `LEASES=n` of them).

mod holder;
mod home;
mod operator;
mod oracle;
mod raw;
mod relay;
mod scene;
mod scenes;
// Shared with the tests on a real control plane, which use all of it.
#[allow(dead_code, unused_imports)]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::process::ExitCode;

use scene::Scene;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a tokio runtime");
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    let only = std::env::var("SCENE").ok().filter(|name| !name.is_empty());
    let quick = std::env::var_os("QUICK").is_some();
    let chosen: Vec<_> =
        scenes::ALL.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = scenes::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no such scene; there are: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let (mut passed, mut failed, mut broken) = (0, 0, vec![]);
    for (name, what) in chosen {
        println!("{name}: {what}");
        let mut scene = Scene::new(name, quick);
        if let Err(error) = scenes::play(&mut scene).await {
            scene.broken(format!("it did not come to its end: {error:#}"));
        }
        let (found, seconds) = scene.end();
        if found.is_empty() {
            passed += 1;
            println!("{name}: ok, {seconds} s");
        } else {
            failed += 1;
            println!("{name}: {} broken, {seconds} s", found.len());
        }
        broken.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
    for what in &broken {
        println!("BROKEN {what}");
    }
    println!("scenes run: {}, invariants broken: {}", passed + failed, broken.len());
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
