//! A control plane starts, breaks, comes back and ends: each test has one of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{PATIENCE, config_map, namespace, refusal, turn};
use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use leasehold_harness::{Component, ControlPlane, DetachedRun, Identity, Look, Options, eventually, eventually_seeing};

/// Names the directory of the run that [`a_run_to_be_killed`] starts.
const VICTIM: &str = "LEASEHOLD_TEST_VICTIM";

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_comes_back_with_its_port_data_and_audit_log() -> Result<()> {
    let _turn = turn().await;
    let mut plane = ControlPlane::start(Options::default()).await?;
    let url = plane.url().to_owned();
    let objects: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    objects.create(&PostParams::default(), &config_map("kept")).await?;
    let before = plane.audit().cursor()?;

    plane.restart_apiserver().await?;
    assert_eq!(plane.url(), url);
    objects.get("kept").await?;

    plane.kill_component(Component::Apiserver)?;
    assert!(objects.get("kept").await.is_err());
    plane.start_component(Component::Apiserver).await?;
    objects.get("kept").await?;
    plane.audit().settled().await;
    let reads =
        plane.audit().read_since(before)?.into_iter().filter(|record| record.name == "kept" && record.code == 200);
    assert_eq!(reads.count(), 2);
    plane.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_goes_back_to_its_copy_with_its_version_or_above_every_one() -> Result<()> {
    let _turn = turn().await;
    let mut plane = ControlPlane::start(Options::default()).await?;
    let objects: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    objects.create(&PostParams::default(), &config_map("before")).await?;
    let backup = plane.back_up_store("copy")?;
    for raised in [false, true] {
        objects.create(&PostParams::default(), &config_map("after")).await?;
        let newest = plane.store().revision().await?;
        if raised {
            plane.restore_store_raised(&backup).await?;
        } else {
            plane.restore_store(&backup).await?;
        }
        objects.get("before").await?;
        assert_eq!(refusal(objects.get("after").await), 404);
        if raised {
            assert!(plane.store().revision().await? > newest);
        }
    }
    plane.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_api_servers_share_a_store() -> Result<()> {
    let _turn = turn().await;
    let plane = ControlPlane::start(Options::default()).await?;
    let address = plane.store().address;
    let port = address.rsplit(':').next().unwrap_or_default().parse()?;
    let second = plane.second_apiserver(port).await?;
    let objects: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    objects.create(&PostParams::default(), &config_map("shared")).await?;
    Api::<ConfigMap>::namespaced(second.admin(), "default").get("shared").await?;
    drop(second);
    plane.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_paused_component_does_nothing_until_it_goes_on() -> Result<()> {
    let _turn = turn().await;
    let mut plane = ControlPlane::start(Options::default()).await?;
    plane.stop_controller_manager().await?;
    assert!(plane.stop_controller_manager().await.is_err());
    namespace(&plane.admin(), "untouched").await?;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(plane.admin(), "untouched");
    assert_eq!(refusal(accounts.get("default").await), 404);
    plane.start_controller_manager().await?;
    let appear = async || accounts.get_opt("default").await;
    eventually("the default ServiceAccount", PATIENCE, appear).await?;

    plane.pause_component(Component::Apiserver)?;
    let while_paused = tokio::time::timeout(std::time::Duration::from_secs(1), accounts.get("default")).await;
    assert!(while_paused.is_err(), "a paused API server answered");
    plane.resume_component(Component::Apiserver)?;
    eventually("an answer", PATIENCE, appear).await?;
    plane.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_every_process_and_deletes_the_directory() -> Result<()> {
    let _turn = turn().await;
    let plane = ControlPlane::start(Options::default()).await?;
    let dir = plane.dir().to_owned();
    let processes = recorded(&dir);
    assert_eq!(processes.len(), 3);
    plane.stop().await?;
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert!(!dir.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_quotes_the_log_and_leaves_no_process() {
    let _turn = turn().await;
    let dir = scratch("failed-start");
    let wrong = Options {
        dir: Some(dir.clone()),
        extra_apiserver_args: vec!["--no-such-flag".to_owned()],
        ..Options::default()
    };
    let said = format!("{:#}", ControlPlane::start(wrong).await.err().expect("the start fails"));
    assert!(said.contains("kube-apiserver.log") && said.contains("unknown flag: --no-such-flag"), "{said}");
    assert_eq!(recorded(&dir).len(), 2);
    assert!(recorded(&dir).iter().all(|process| !process.is_alive()));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_run_goes_on_until_it_is_stopped_by_its_directory() -> Result<()> {
    let _turn = turn().await;
    let dir = scratch("detached");
    let options = Options { dir: Some(dir.clone()), detached: true, ..Options::default() };
    let plane = ControlPlane::start(options).await?;
    let objects: Api<ConfigMap> = Api::namespaced(plane.admin(), "default");
    let left = plane.detach()?;
    objects.create(&PostParams::default(), &config_map("after-detaching")).await?;

    let run = DetachedRun::load(&dir)?;
    assert_eq!(run.processes(), left.processes());
    assert!(run.processes().iter().all(|process| process.is_alive()));
    let again = Options { dir: Some(dir.clone()), ..Options::default() };
    assert!(ControlPlane::start(again).await.is_err(), "a second run got the same directory");

    run.stop().await?;
    assert!(left.processes().iter().all(|process| !process.is_alive()));
    assert!(!dir.exists());
    Ok(())
}

/// SIGKILL leaves nobody to clean up: the components end with their stdin, a stand-in for the operator by the watchdog,
/// and the directory goes with the next start there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_ends_and_is_swept() -> Result<()> {
    let _turn = turn().await;
    let dir = scratch("killed");
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "lifecycle::a_run_to_be_killed", "--ignored"])
        .env(VICTIM, &dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = eventually_seeing("the run to be up", PATIENCE, async || {
        let up = recorded(&dir);
        Ok::<_, std::convert::Infallible>(if up.len() == 4 { Look::Done(up) } else { Look::NotYet(format!("{up:?}")) })
    })
    .await;
    victim.kill()?;
    victim.wait()?;
    let running = running?;
    eventually_seeing("the processes of the killed run to end", PATIENCE, async || {
        let alive: Vec<_> = running.iter().filter(|process| process.is_alive()).collect();
        Ok::<_, std::convert::Infallible>(if alive.is_empty() {
            Look::Done(())
        } else {
            Look::NotYet(format!("{alive:?}"))
        })
    })
    .await?;

    assert!(dir.exists());
    ControlPlane::start(Options { dir: Some(dir.clone()), ..Options::default() }).await?.stop().await?;
    assert!(!dir.exists());
    Ok(())
}

/// Not a test: what [`a_killed_run_ends_and_is_swept`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by a_killed_run_ends_and_is_swept"]
async fn a_run_to_be_killed() -> Result<()> {
    let Some(dir) = std::env::var_os(VICTIM) else { return Ok(()) };
    let plane = ControlPlane::start(Options { dir: Some(dir.into()), ..Options::default() }).await?;
    let mut heedless = Command::new("sleep");
    heedless.arg("3600");
    let _operator = plane.spawn("operator", heedless)?;
    std::future::pending().await
}

/// A path under `target` nothing is at.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&path).ok();
    path
}

/// The processes a run directory names.
fn recorded(dir: &Path) -> Vec<Identity> {
    let files = std::fs::read_dir(dir.join("processes")).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_to_string(file.path()).ok()?.parse().ok()).collect()
}
