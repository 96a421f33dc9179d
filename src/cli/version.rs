//! `version`: which plugin this is, and which operator it talks to.

use clap::Args;
use serde::Serialize;

use super::{
    connect::{Global, connect},
    doctor::finding::Unread,
    exit::Failure,
    operator,
    output::{self, Format},
};
use crate::version::{COMMIT, VERSION, long};

/// Flags of `version`.
#[derive(Args, Clone, Debug)]
pub struct Version {
    /// Only this plugin's; no cluster is asked.
    #[arg(long)]
    pub client: bool,
    /// As JSON or YAML.
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::of_findings())]
    pub output: Option<Format>,
}

/// Both versions, named as kubectl names its own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_version: Option<Operator>,
}

#[derive(Debug, Serialize)]
struct Client {
    version: &'static str,
    commit: &'static str,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Operator {
    /// As its image's tag says; absent if that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    image: String,
}

/// Prints the versions. That the operator cannot be seen is said, and is no error: few may read its namespace.
///
/// # Errors
/// If it cannot be printed.
pub async fn run(global: &Global, flags: &Version) -> Result<u8, Failure> {
    let operator_version = if flags.client {
        None
    } else {
        seen(global)
            .await
            .inspect_err(|Unread(why)| output::tell(&format!("the operator's version is not known: {why}")))
            .ok()
    };
    let versions = Versions { client_version: Client { version: VERSION, commit: COMMIT }, operator_version };
    output::emit(&match flags.output {
        Some(format) => output::document(format, &versions)?,
        None => sentence(versions.operator_version.as_ref()),
    })?;
    Ok(0)
}

fn sentence(operator: Option<&Operator>) -> String {
    let client = format!("Client Version: {}\n", long());
    let Some(Operator { version, image }) = operator else { return client };
    format!("{client}Operator Version: {} (image {image})\n", version.as_deref().unwrap_or("unknown"))
}

async fn seen(global: &Global) -> Result<Operator, Unread> {
    let cluster = connect(global).await.map_err(|failure| Unread(failure.to_string()))?;
    let deployment = operator::deployment(&cluster).await?;
    let image = deployment.as_ref().and_then(operator::image);
    let image = image.ok_or_else(|| Unread("its Deployment is not in the cluster".into()))?;
    Ok(Operator { version: operator::version(image).map(str::to_owned), image: image.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_that_is_not_seen_is_not_spoken_of() {
        assert_eq!(sentence(None), format!("Client Version: {}\n", long()));
        let client_version = Client { version: "1.2.3", commit: "abc" };
        let json = serde_json::to_value(Versions { client_version, operator_version: None }).unwrap();
        assert_eq!(json, serde_json::json!({"clientVersion": {"version": "1.2.3", "commit": "abc"}}));
    }

    #[test]
    fn an_image_without_a_tag_is_shown_and_its_version_not_guessed() {
        let operator = Operator { version: None, image: "leasehold@sha256:1".into() };
        assert!(sentence(Some(&operator)).ends_with("Operator Version: unknown (image leasehold@sha256:1)\n"));
        assert_eq!(serde_json::to_value(&operator).unwrap(), serde_json::json!({"image": "leasehold@sha256:1"}));
    }
}
