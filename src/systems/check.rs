//! Whether what a system's author wrote can be used: seen before anybody waits for a call.

use super::{
    known, path,
    problem::{Part, Problem},
    render::{Checked, check_operation, compile_path},
};
use crate::api::system::{ConnectedSystemSpec, Method, Operation};

/// The first thing that is wrong with an operation of the system, as a sentence.
///
/// # Errors
/// If something is.
pub fn check_system(spec: &ConnectedSystemSpec) -> Result<(), String> {
    for operation in &spec.operations {
        check(spec, operation).map_err(|why| format!("operation {}: {why}", operation.name)).map(drop)?;
    }
    Ok(())
}

/// What an operation of the system uses.
///
/// # Errors
/// The first thing that is wrong with it, as a sentence.
pub(super) fn check(spec: &ConnectedSystemSpec, operation: &Operation) -> Result<Checked, String> {
    let checked = check_operation(operation).map_err(|problem| problem.to_string())?;
    let path = compile_path(&operation.path, &known::rendering(operation)).map_err(|problem| problem.to_string())?;
    let begins = path::first_text(path.tree());
    if spec.vault.is_some() {
        return check_vault(operation, begins).map(|()| checked);
    }
    if begins.is_some_and(|text| !text.is_empty() && !text.starts_with(['/', '?'])) {
        return Err(Problem::Path(path::Unsafe::Relative).to_string());
    }
    let auth = spec.http.as_ref().and_then(|http| http.auth.as_ref());
    let own = auth.map(|auth| auth.header.as_ref().map_or("authorization", |header| header.name.as_str()));
    match operation.headers.iter().find(|header| own.is_some_and(|own| own.eq_ignore_ascii_case(&header.name))) {
        Some(header) => Err(Problem::HeaderReserved(header.name.clone()).to_string()),
        None => Ok(checked),
    }
}

fn check_vault(operation: &Operation, begins: Option<&str>) -> Result<(), String> {
    if !matches!(operation.method, Method::Get | Method::Put | Method::Delete) {
        return Err("a Vault is called with method PUT, GET or DELETE".to_owned());
    }
    if (operation.method == Method::Put) != operation.body.is_some() {
        return Err("of a Vault, PUT has a body, the secret's data, and GET and DELETE have none".to_owned());
    }
    if !operation.headers.is_empty() {
        return Err("an operation of a Vault has no headers".to_owned());
    }
    match begins {
        Some(text) if text.contains('?') => Err(format!("{}: a secret's path has no query", Part::Path)),
        _ => Ok(()),
    }
}
