//! `show`: one lease's whole story, and whether it is true.

use std::path::PathBuf;

use clap::Args;

use super::{
    connect::{Global, connect},
    exit::Failure,
    fetch,
    output::{self, Format, Style},
    reference::LeaseName,
    view::{facts::Facts, proof, stream, timeline},
};
use crate::api::{CredentialLease, names::LeaseUid};

/// Flags of `show`.
#[derive(Args, Clone, Debug)]
pub struct Show {
    /// The lease.
    pub lease: LeaseName,
    /// Compute the request's digest and the history's chain again; exit code 1 if something differs.
    #[arg(long)]
    pub verify: bool,
    /// Compare with the operator's audit stream, as its log has it (`-` is standard input).
    #[arg(long, value_name = "FILE")]
    pub stream: Option<PathBuf>,
    /// As name, json or yaml.
    #[arg(short, long, value_parser = Format::of_objects(), value_name = "FORMAT", conflicts_with_all = ["verify", "stream"])]
    pub output: Option<Format>,
}

/// Shows a lease.
///
/// # Errors
/// If it cannot be read, or something that was computed again differs.
pub async fn run(global: &Global, flags: &Show) -> Result<u8, Failure> {
    let cluster = connect(global).await?;
    let lease = fetch::lease(&cluster, flags.lease.as_str()).await?;
    let style = Style::stdout(global.no_color);
    match flags.output {
        Some(format) => output::emit(&output::object(format, &lease)?)?,
        None if flags.verify || flags.stream.is_some() => return verify(&lease, flags, style),
        None => output::emit(&story(&lease, style))?,
    }
    Ok(0)
}

fn story(lease: &CredentialLease, style: Style) -> String {
    let status = lease.status.clone().unwrap_or_default();
    let mut concerns = Facts::default();
    for c in timeline::concerns(lease) {
        concerns.say(&c.kind, format!("{:?}, {}: {}", c.status, c.reason, c.message));
    }
    let sections = [
        ("", timeline::head(lease, fetch::now())),
        ("What it gives", timeline::grants(lease)),
        ("Decisions that count", timeline::decisions(&status)),
        ("In other systems", timeline::steps(lease)),
        ("What happened", timeline::history(&status)),
        ("The credential", timeline::credential(&status)),
        ("Not as it should be", concerns),
    ];
    sections.into_iter().fold(String::new(), |mut out, (title, facts)| {
        let text = facts.render(style);
        if !title.is_empty() && !text.is_empty() {
            out.push_str(&format!("\n{title}\n"));
        }
        out + &text
    })
}

/// Prints what was computed again.
fn verify(lease: &CredentialLease, flags: &Show, style: Style) -> Result<u8, Failure> {
    let mut facts = Facts::default();
    let mut differs = 0;
    if flags.verify {
        for proof in proof::of(lease) {
            differs += usize::from(!proof.holds());
            match proof.found {
                Ok(found) => facts.say("OK", format!("{}: {found}", proof.what)),
                Err(found) => facts.say("DIFFERS", format!("{}: {found}", proof.what)),
            }
        }
    }
    if let Some(path) = &flags.stream {
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(path)
        };
        let text = text.map_err(|e| Failure::Usage(format!("{} cannot be read: {e}", path.display())))?;
        let uid = lease.metadata.uid.as_deref().and_then(LeaseUid::parse);
        let uid = uid.ok_or_else(|| Failure::Other("the lease has no UID".into()))?;
        let history = lease.status.as_ref().and_then(|s| s.history.clone()).unwrap_or_default();
        let found = stream::compare(&text, &uid, &history);
        for problem in &found.problems {
            differs += 1;
            facts.say("DIFFERS", format!("stream: {problem}"));
        }
        if found.records == 0 {
            differs += 1;
            facts.say("DIFFERS", "stream: it has no record of this lease");
        } else if found.problems.is_empty() {
            facts.say(
                "OK",
                format!(
                    "stream: {} record(s) chain from the lease's UID, and those in the status are equal",
                    found.records
                ),
            );
        }
    }
    output::emit(&facts.render(style))?;
    Ok(u8::from(differs > 0))
}
