//! A network and a mount namespace for the whole test program.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use super::{ADDRESS, SERVICE};

/// Set for the program that runs inside.
const INSIDE: &str = "LEASEHOLD_ISOLATED";

/// Where containerd, CNI and the kubelet write whatever they are told. The program sees an empty directory in memory instead.
const WRITTEN_TO: [&str; 4] = ["/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet"];

/// Go on in namespaces of our own: no network but what is made here, and mounts that nobody else sees. To be called first in
/// `main`: the program is started once more. Whatever needs the real network has to be there already.
///
/// # Errors
/// Without root, or where the kernel refuses.
pub fn isolate() -> Result<()> {
    if !is_isolated() {
        let program = env::current_exe().context("find our own executable")?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--propagation", "private", "--"]).arg(program).args(env::args_os().skip(1));
        return Err(unshare.env(INSIDE, "1").exec()).context("start ourselves once more: unshare (util-linux)");
    }
    for address in [SERVICE, ADDRESS] {
        run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    run("ip", &["link", "set", "lo", "up"])?;
    for directory in WRITTEN_TO {
        fs::create_dir_all(directory).with_context(|| format!("create {directory}"))?;
        run("mount", &["-t", "tmpfs", "tmpfs", directory])?;
    }
    Ok(())
}

/// Whether [`isolate`] was called already, in the program that started this one.
#[must_use]
pub fn is_isolated() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Remove what [`isolate`] had to create to mount upon. The mount hides it from ourselves, so this looks as whoever started us does.
pub(super) fn forget_mount_points() {
    let outside = PathBuf::from(format!("/proc/{}/root", std::os::unix::process::parent_id()));
    for directory in WRITTEN_TO {
        // Not empty: it was there before. Then it stays.
        fs::remove_dir(outside.join(directory.trim_start_matches('/'))).ok();
    }
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
