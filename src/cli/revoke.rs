//! `revoke`: ends leases now, one or many.

use clap::Args;
use futures::{StreamExt, stream};
use kube::ResourceExt;

use super::{
    ask::Answers,
    connect::{Cluster, Global, connect},
    decide::{self, Word},
    exit::Failure,
    fetch, list,
    output::{self, Style},
    reference::LeaseName,
    view::{
        lease::{self, Filter},
        text,
    },
};
use crate::api::{CredentialLease, CredentialLeaseDecision, lease::Identity};

/// Decisions that are sent at once: an emergency is not slowed down by one slow answer.
const AT_ONCE: usize = 8;

/// Flags of `revoke`.
#[derive(Args, Clone, Debug)]
pub struct Revoke {
    /// The leases.
    pub leases: Vec<LeaseName>,
    #[command(flatten)]
    pub filter: Filter,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub answers: Answers,
}

/// Revokes what is named or selected; goes on after a failure.
///
/// # Errors
/// If nothing is named, nobody can be asked, or one of them could not be revoked.
pub async fn run(global: &Global, flags: &Revoke) -> Result<u8, Failure> {
    check(flags)?;
    flags.answers.can_decide()?;
    let cluster = connect(global).await?;
    let mut failed = vec![];
    let leases = if flags.leases.is_empty() {
        fetch::leases(&cluster, flags.all_namespaces, &flags.filter).await?
    } else {
        let mut found = vec![];
        for name in flags.leases.iter().map(LeaseName::as_str) {
            match fetch::lease(&cluster, name).await {
                Ok(lease) => found.push(lease),
                Err(failure) => {
                    say(flags, &format!("failed    {}/{name}: {failure}", cluster.namespace))?;
                    failed.push(failure);
                }
            }
        }
        found
    };
    let (over, live): (Vec<_>, Vec<_>) = leases.into_iter().partition(lease::is_over);
    for lease in over.iter().filter(|_| !flags.leases.is_empty()) {
        say(flags, &format!("ended     {}: it is {} already", lease::title(lease), lease::phase(lease)))?;
    }
    if live.is_empty() {
        output::tell("no live lease is selected: nothing to revoke");
        return finish(&failed, failed.len());
    }
    let style = Style::stderr(global.no_color);
    output::tell(list::table(&live, fetch::now(), flags.all_namespaces, style).trim_end());
    if !flags.answers.confirm(&format!("Revoke {}?", text::count(live.len(), "lease")))? {
        return Err(Failure::Other("nothing was revoked".into()));
    }
    let reason = flags.answers.reason()?;
    let caller = cluster.whoami().await?;
    let total = live.len() + failed.len();
    let mut made = vec![];
    for outcome in send(&cluster, flags, &live, &reason, &caller).await? {
        match outcome {
            Ok(decision) => made.push(decision),
            Err(failure) => failed.push(failure),
        }
    }
    if let Some(format) = flags.answers.output.filter(|_| !made.is_empty()) {
        // Whoever names one lease gets one object.
        let text = match (flags.leases.as_slice(), made.as_slice()) {
            ([_], [one]) => output::object(format, one),
            _ => output::objects(format, &made),
        };
        output::emit(&text?)?;
    }
    finish(&failed, total)
}

/// Whether the command line names what it is about.
fn check(flags: &Revoke) -> Result<(), Failure> {
    if flags.leases.is_empty() && !flags.filter.is_any() {
        return Err(Failure::Usage("name leases, or select them with --requester, --lifecycle or --reaching".into()));
    }
    if !flags.leases.is_empty() && (flags.filter.is_any() || flags.all_namespaces) {
        return Err(Failure::Usage("either name leases of one namespace, or select them with flags: not both".into()));
    }
    Ok(())
}

/// Says what became of a lease: beside the decisions, if those are to be written.
fn say(flags: &Revoke, line: &str) -> Result<(), Failure> {
    match flags.answers.output {
        Some(_) => output::tell(line),
        None => output::emit(&format!("{line}\n"))?,
    }
    Ok(())
}

/// Sends a decision for each.
async fn send(
    cluster: &Cluster,
    flags: &Revoke,
    leases: &[CredentialLease],
    reason: &str,
    caller: &Identity,
) -> Result<Vec<Result<CredentialLeaseDecision, Failure>>, Failure> {
    let mut answers = stream::iter(leases)
        .map(|lease| async move {
            let decision = decide::decision(lease, Word::Revoked, reason, caller);
            (lease::title(lease), decide::send(cluster, &decision).await)
        })
        .buffer_unordered(AT_ONCE);
    let mut out = vec![];
    while let Some((title, answer)) = answers.next().await {
        match &answer {
            Ok(decision) => say(flags, &format!("revoked   {title} (decision {})", decision.name_any()))?,
            Err(failure) => say(flags, &format!("failed    {title}: {failure}"))?,
        }
        out.push(answer);
    }
    Ok(out)
}

fn finish(failed: &[Failure], total: usize) -> Result<u8, Failure> {
    if failed.is_empty() {
        return Ok(0);
    }
    let text = format!(
        "{} of {} could not be revoked: see above, and try these again",
        failed.len(),
        text::count(total, "lease")
    );
    Err(Failure::of_all(failed, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(change: impl FnOnce(&mut Revoke)) -> Revoke {
        let mut flags = Revoke {
            leases: vec![],
            filter: Filter::default(),
            all_namespaces: false,
            answers: Answers { reason: None, yes: true, output: None },
        };
        change(&mut flags);
        flags
    }

    #[test]
    fn everything_is_never_revoked_by_leaving_something_out() {
        assert!(check(&flags(|_| {})).is_err());
        assert!(check(&flags(|f| f.all_namespaces = true)).is_err());
        assert!(check(&flags(|f| f.leases = vec!["a".parse().unwrap()])).is_ok());
        assert!(check(&flags(|f| f.filter.reaching = Some("prod".into()))).is_ok());
        let both = flags(|f| {
            f.leases = vec!["a".parse().unwrap()];
            f.all_namespaces = true;
        });
        assert!(check(&both).is_err());
    }
}
