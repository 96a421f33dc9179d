//! The end of a lease, from any cause: what ended it (`cause`), taking it down and proving it (`take_down`).

mod cause;
mod take_down;

pub use cause::{End, cause, describe, settle, violations, widened};
pub use take_down::take_down;
pub(super) use take_down::write;

/// How long after the account's deletion no API server in contact with etcd accepts its tokens any more, in milliseconds:
/// they remember an accepted token for 10 s (`TokenSuccessCacheTTL`, pkg/kubeapiserver/options/authentication.go); 2 s are
/// for the lag of their watches. A review before that would refresh what they remember.
pub const PROOF_WAIT_MILLIS: i64 = 12_000;
/// API servers accept a token for so long after its `exp`, in milliseconds (go-jose's `DefaultLeeway`).
pub const EXPIRY_LEEWAY_MILLIS: i64 = 60_000;
/// The longest life of a token that a requester mints, in milliseconds; policy leasehold-token-request enforces it.
pub const MINTED_TOKEN_MILLIS: i64 = 600_000;
