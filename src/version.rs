//! Which Leasehold this is.

/// The version, as `Cargo.toml` has it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, `-dirty` if files differed from it; `unknown` where the build was not told, as by a plain `cargo build`.
///
/// By the environment and not by a build script: the executables of one commit are the same wherever they are built, and no commit has
/// everything compiled again.
pub const COMMIT: &str = match option_env!("LEASEHOLD_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// Both, as `--version` says them.
#[must_use]
pub fn long() -> String {
    format!("{VERSION} (commit {COMMIT})")
}
