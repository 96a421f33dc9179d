//! What the login of a Vault gives.

use std::time::{Duration, Instant};

use http::HeaderName;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    answer::Answer,
    proof::{Kept, Proof, Unproven, sensitive},
};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// The longest that a login is kept; also where Vault says that it never ends (0).
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// The part of a login's answer that matters. No `Debug`: it holds a token.
#[derive(Deserialize)]
struct Login {
    auth: LoginAuth,
}

#[derive(Deserialize)]
struct LoginAuth {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
}

/// What a login gives: the client token, used until two thirds of its life have passed.
pub(super) fn logged_in(answer: &Answer) -> Result<Kept, Unproven> {
    if !answer.status.is_success() {
        return Err(Unproven::Login(answer.status.as_u16()));
    }
    let login: Login = serde_json::from_slice(&answer.body).map_err(|_| Unproven::LoginAnswer)?;
    let token = Zeroizing::new(login.auth.client_token);
    let value = sensitive(token.as_bytes()).ok_or(Unproven::LoginAnswer)?;
    let life = match login.auth.lease_duration {
        0 => LONGEST,
        seconds => Duration::from_secs(seconds.min(LONGEST.as_secs() * 3 / 2) * 2 / 3),
    };
    Ok(Kept { proof: Proof { name: TOKEN, value }, until: Instant::now() + life })
}
