//! The images of the node, and what must be true of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use leasehold_harness::node::{self, Image};
use serde_json::Value;
use tokio::process::Command;

/// Not a registry: nothing is pulled.
const LEASEHOLD: &str = "leasehold.test/leasehold:0.1.0";
const PROGRAMS: &str = "leasehold.test/programs:0.1.0";

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/image/test");

/// Everything in the image that is no directory.
const FILES: [&str; 3] = ["etc/ssl/certs/ca-certificates.crt", "kubectl-lease", "leasehold"];

/// What pods are made of here.
pub struct Images {
    /// The one that is shipped.
    pub leasehold: Image,
    /// A shell and kubectl.
    pub programs: Image,
}

impl Images {
    /// Those that were built before the program went into its namespaces.
    pub async fn there() -> Result<Self> {
        let at = |file| Path::new(DIRECTORY).join(file);
        Ok(Self {
            leasehold: Image::read(LEASEHOLD, &at("leasehold.tar")).await?,
            programs: Image::read(PROGRAMS, &at("programs.tar")).await?,
        })
    }
}

/// Builds both images; ours twice: who rebuilds it can compare.
pub async fn built_twice() -> Result<()> {
    let (directory, again) = (Path::new(DIRECTORY), Path::new(DIRECTORY).join("again"));
    node::programs(PROGRAMS, directory).await?;
    let first = node::leasehold(LEASEHOLD, directory).await?;
    let second = node::leasehold(LEASEHOLD, &again).await?;
    ensure!(first.digest == second.digest, "{first:?} and {second:?}");
    std::fs::remove_dir_all(&again).context("remove the second image")
}

/// What is in the image, by its own description of itself.
pub async fn is_bare() -> Result<()> {
    let archive = Images::there().await?.leasehold.archive;
    let index = json(&archive, "index.json").await?;
    let manifest = json(&archive, &blob(&index["manifests"][0]["digest"])?).await?;
    let config = json(&archive, &blob(&manifest["config"]["digest"])?).await?;
    ensure!(config["config"]["User"] == "65532:65532", "{config}");
    ensure!(config["config"]["Entrypoint"] == serde_json::json!(["/leasehold"]), "{config}");
    let mut files = BTreeSet::new();
    for layer in manifest["layers"].as_array().context("an image has layers")? {
        let packed = tar(&archive, &blob(&layer["digest"])?).await?;
        files.extend(listed(packed).await?.lines().filter(|name| !name.ends_with('/')).map(str::to_owned));
    }
    ensure!(files.iter().eq(FILES.iter()), "{files:?}");
    Ok(())
}

fn blob(digest: &Value) -> Result<String> {
    let hash = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("a digest is a SHA-256")?;
    Ok(format!("blobs/sha256/{hash}"))
}

async fn json(archive: &Path, member: &str) -> Result<Value> {
    serde_json::from_slice(&tar(archive, member).await?).with_context(|| member.to_owned())
}

async fn tar(archive: &Path, member: &str) -> Result<Vec<u8>> {
    let args = ["--extract", "--to-stdout", "--file"];
    let output = Command::new("tar").args(args).arg(archive).arg(member).output().await.context("start tar")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// The names in a packed layer.
async fn listed(layer: Vec<u8>) -> Result<String> {
    let file = PathBuf::from(DIRECTORY).join("layer");
    std::fs::write(&file, layer).context("write a layer")?;
    let output = Command::new("tar").args(["--list", "--file"]).arg(&file).output().await.context("start tar")?;
    std::fs::remove_file(&file).context("remove a layer")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
