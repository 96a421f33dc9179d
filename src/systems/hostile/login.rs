//! What is taken for the login of a Vault.

use std::time::Instant;

use serde_json::Value as Json;

use super::{answer as read, assert_tellable};
use crate::systems::login::{LONGEST, logged_in};

/// An answer to a login.
pub(super) fn login(data: &[u8]) {
    let Some(answer) = read(data) else { return };
    let said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    match logged_in(&answer) {
        Ok(kept) => {
            assert!(answer.status.is_success(), "{}", answer.status);
            assert!(kept.until <= Instant::now() + LONGEST, "kept for too long");
            // Each of the two structs may come as a list of its fields.
            let auth = said.get("auth").or(said.get(0));
            let token = auth.and_then(|auth| auth.get("client_token").or(auth.get(0))).and_then(Json::as_str);
            assert_eq!(token.map(str::as_bytes), Some(kept.proof.value.as_bytes()), "the token is another");
            assert_eq!(format!("{:?}", kept.proof.value), "Sensitive");
        }
        Err(why) => assert_tellable(&why.to_string()),
    }
}
