//! `run`: one command under a lease.
//!
//! It takes a lease that is there already, or asks for one and ends it whatever becomes of the command. The command finds a
//! kubeconfig in its environment and no credential: kubectl and every client-go program call this executable for tokens.

mod child;
mod equal;

use std::{
    ffi::{OsStr, OsString},
    fs::Permissions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
    time::Duration as Span,
};

use clap::Args;
use futures::FutureExt;

use self::child::Running;
use super::{
    asking::{self, Asking, Wait, Waited},
    connect::{Cluster, Global, connect},
    exit::Failure,
    fetch,
    interrupt::Interrupts,
    kubeconfig, mint,
    origin::Origin,
    output::tell,
    own_pod,
    progress::Progress,
    view::lease::{self, Filter},
    watch::Follower,
    withdraw::{How, confirmed, withdraw},
};
use crate::api::{
    CredentialLease, Duration, condition,
    lease::Delivery,
    lifecycle::DeliveryType,
    names::{ANNOTATION_ENDS_WITH, WITH_COMMAND},
};

/// The longest reason that the API takes.
const MAX_REASON: usize = 512;
/// Where a private file can be put if there is no temporary directory, as in an image from scratch.
const PLACES: [&str; 2] = ["/dev/shm", "."];

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    #[command(flatten)]
    pub asking: Asking,
    /// An active lease that holds the same is used if it lives so long. Default: a minute, or a tenth of its life.
    #[arg(long, value_name = "DURATION")]
    pub min_left: Option<Duration>,
    /// How long the command may take to end after its lease has ended.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub grace: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Runs a command under a lease; its exit code.
///
/// # Errors
/// If there is no lease for it, or the lease ended before the command did.
pub async fn run(global: &Global, flags: &Run) -> Result<u8, Failure> {
    let (program, args) =
        flags.command.split_first().ok_or_else(|| Failure::Usage("say what to run after --".into()))?;
    let path = child::find(program, std::env::var_os("PATH").as_deref())?;
    let mut interrupts = Interrupts::take()?;
    let origin = Origin::of(global);
    let cluster = connect(global).await?;
    let wanted = wanted(&cluster, flags, program).await?;
    let (lease, mine) = match there_already(&cluster, flags, &wanted).await? {
        Some(lease) => {
            tell(&format!("using lease {}, {}", lease::title(&lease), until(&lease)));
            (lease, false)
        }
        None => {
            let created = asking::create(&cluster, wanted, flags.asking.name.is_some()).await?;
            let patience = Span::from_secs(flags.asking.timeout.as_secs().unsigned_abs());
            let progress = Progress::new(global.no_color);
            let wait = Wait { patience, keep: flags.asking.keep, progress };
            match asking::wait(&cluster, &created, &mut interrupts, wait).await? {
                Waited::Active(lease) => (*lease, !flags.asking.keep),
                Waited::Interrupted(code) => return Ok(code),
            }
        }
    };
    let outcome = AssertUnwindSafe(async {
        let (place, environment) = prepare(&cluster, &origin, &lease).await?;
        let follower = Follower::of(&cluster, &lease);
        let running = Running::start(&path, args, environment)?;
        let grace = Span::from_secs(flags.grace.as_secs().unsigned_abs());
        let outcome = running.supervise(&lease, follower, &mut interrupts, grace).await;
        drop(place);
        outcome
    })
    .catch_unwind()
    .await;
    if mine && !matches!(outcome, Ok(Err(Failure::Ended(_)))) {
        end(&cluster, &lease).await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The lease that the command needs.
async fn wanted(cluster: &Cluster, flags: &Run, program: &OsStr) -> Result<CredentialLease, Failure> {
    let me = cluster.whoami().await?;
    let grants = flags.asking.grants(cluster).await?;
    let reason = flags.asking.reason.clone().unwrap_or_else(|| reason(program));
    let delivery = Delivery { kind: DeliveryType::TokenRequest, secret: None };
    let mut wanted = flags.asking.lease(&cluster.namespace, grants, &reason, delivery, me);
    if !flags.asking.keep {
        let ends_with = (ANNOTATION_ENDS_WITH.to_owned(), WITH_COMMAND.to_owned());
        wanted.metadata.annotations = Some([ends_with].into());
        // A command that is killed with its pod ends nothing by itself.
        let pod = own_pod::completion(&wanted.spec.requested_by, &cluster.namespace);
        wanted.spec.completion_ref = wanted.spec.completion_ref.take().or(pod);
    }
    Ok(wanted)
}

/// The program as a reason. Never its arguments: they may hold a password, and a reason stays in the lease's spec, in its
/// history and in the audit stream.
fn reason(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
    let mut text = format!("run {name}").replace(|c: char| c.is_control(), " ");
    condition::bound(&mut text, MAX_REASON);
    text
}

/// The lease that will do, if one is there. Whoever names the new one wants a new one.
async fn there_already(
    cluster: &Cluster,
    flags: &Run,
    wanted: &CredentialLease,
) -> Result<Option<CredentialLease>, Failure> {
    if flags.asking.name.is_some() || flags.asking.wanted.not_before.is_some() {
        return Ok(None);
    }
    let filter = Filter {
        requester: Some(wanted.spec.requested_by.username.clone()),
        lifecycle: Some(wanted.spec.lifecycle_ref.name.clone()),
        ..Filter::default()
    };
    match fetch::leases(cluster, false, &filter).await {
        Ok(there) => Ok(equal::best(there, wanted, flags.min_left, fetch::now())),
        // Whoever may not list asks for one each time.
        Err(Failure::Refused(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn until(of: &CredentialLease) -> String {
    lease::expires(of).map_or_else(|| "active".into(), |at| format!("active until {at}"))
}

/// What the command finds in its environment, and the directory that has to outlive it.
async fn prepare(
    cluster: &Cluster,
    origin: &Origin,
    of: &CredentialLease,
) -> Result<(tempfile::TempDir, Vec<(&'static str, OsString)>), Failure> {
    // The command shall not meet a right that no API server has seen yet. The token is wiped at once.
    drop(mint::mint(cluster, of, &[], mint::TOKEN_SECONDS).await?);
    let text = kubeconfig::of(cluster, origin, of)?;
    let wrong = |e: std::io::Error| Failure::Other(format!("there is no place for a private file: {e}; set TMPDIR"));
    let place = private_directory().map_err(wrong)?;
    let path = place.path().join("kubeconfig");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(wrong)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(wrong)?;
    let environment = vec![
        ("KUBECONFIG", path.into_os_string()),
        ("LEASEHOLD_LEASE", lease::name(of).into()),
        ("LEASEHOLD_NAMESPACE", lease::namespace(of).into()),
    ];
    Ok((place, environment))
}

/// A directory that only its owner can enter, removed when it is dropped.
fn private_directory() -> std::io::Result<tempfile::TempDir> {
    let make = |dir: PathBuf| {
        let dir = std::path::absolute(dir)?;
        let private = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix("kubectl-lease-").permissions(private).tempdir_in(dir)
    };
    let first = make(std::env::temp_dir());
    PLACES.into_iter().fold(first, |made, next| made.or_else(|_| make(next.into())))
}

/// Ends the lease that was made for the command.
async fn end(cluster: &Cluster, of: &CredentialLease) {
    let title = lease::title(of);
    match withdraw(cluster, of, "the command that it was made for has ended").await {
        Ok(How::Revoked) if !confirmed(cluster, of).await => tell(&format!(
            "warning: lease {title} is revoked, but the operator has not taken it down yet: see kubectl lease show {}",
            lease::name(of)
        )),
        Ok(how) => tell(&format!("lease {title}: {}", how.told())),
        Err(failure) => {
            tell(&format!("warning: lease {title} could not be ended and lives on, {}: {failure}", until(of)));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{
        super::{Cli, Command},
        *,
    };

    fn parse(line: &str) -> Result<Run, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_comes_after_the_dashes_is_the_commands() {
        let run =
            parse("kubectl-lease run deployer --grant deploy -n payments -- kubectl get -o json --grant x").unwrap();
        assert_eq!(run.command, ["kubectl", "get", "-o", "json", "--grant", "x"]);
        assert_eq!(run.asking.wanted.grants, ["deploy"]);
        for line in ["run deployer", "run deployer kubectl get pods", "run -- kubectl"] {
            assert!(parse(&format!("kubectl-lease {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn a_program_is_a_reason_of_the_length_that_is_taken() {
        assert_eq!(reason("kubectl".as_ref()), "run kubectl");
        assert_eq!(reason("/usr/local/bin/a\nb".as_ref()), "run a b");
        assert_eq!(reason("..".as_ref()), "run ..");
        assert_eq!(reason("x".repeat(600).as_ref()).len(), MAX_REASON);
    }

    #[test]
    fn only_its_owner_enters_the_private_directory() {
        let place = private_directory().unwrap();
        assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let path = place.path().to_owned();
        drop(place);
        assert!(!path.exists());
    }
}
