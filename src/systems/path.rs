//! Keeps a path within what the operation's author wrote: checked on the expression, and again on what it gave.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use http::Uri;

/// The longest path, in bytes.
const MAX_PATH: usize = 4096;
/// How often a path may be encoded over, and still be looked into.
const MAX_ENCODED: usize = 4;

/// What could lead a path elsewhere than it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    #[error("it has more than {MAX_PATH} characters")]
    TooLong,
    #[error("it holds a character that a URL cannot hold, or one that ends the path")]
    Character,
    #[error("a percent sign in it does not begin an encoded character")]
    Encoding,
    #[error("it begins with //, which would name another host")]
    Host,
    #[error("a segment of it is . or .., written out or encoded")]
    Dots,
    #[error("it does not begin with /")]
    Relative,
    #[error("it leads elsewhere than the system's url")]
    Elsewhere,
}

/// Whether everything that the expression gives is a text that is written out, or encoded.
pub(super) fn is_confined(part: &Expr) -> bool {
    let all = |parts: &[IdedExpr]| parts.iter().all(|part| is_confined(&part.expr));
    match part {
        Expr::Literal(LiteralValue::String(_)) => true,
        Expr::Call(call) if call.target.is_some() => false,
        Expr::Call(call) => match call.func_name.as_str() {
            "urlquery" => true,
            operators::ADD => all(&call.args),
            // What is chosen by is not part of what is given.
            operators::CONDITIONAL => call.args.get(1..).is_some_and(all),
            _ => false,
        },
        _ => false,
    }
}

/// What the path begins with, if every way through the expression begins with text that is written out.
pub(super) fn first_text(part: &Expr) -> Option<&str> {
    match part {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        Expr::Call(call) if call.func_name == operators::ADD => first_text(&call.args.first()?.expr),
        _ => None,
    }
}

/// Whether a rendered path stays below where it is put.
///
/// # Errors
/// By what it might not.
pub(super) fn check(path: &str) -> Result<(), Unsafe> {
    if path.len() > MAX_PATH {
        return Err(Unsafe::TooLong);
    }
    // RFC 3986: pchar, '/', and '?' before the query.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if !path.bytes().all(allowed) {
        return Err(Unsafe::Character);
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    decoded(query.as_bytes()).ok_or(Unsafe::Encoding)?;
    if path.starts_with("//") {
        return Err(Unsafe::Host);
    }
    // Some servers decode before they take a path apart, some twice.
    let mut seen = path.as_bytes().to_vec();
    for round in 0..MAX_ENCODED {
        if seen.split(|byte| b"/\\".contains(byte)).any(|segment| segment == b"." || segment == b"..") {
            return Err(Unsafe::Dots);
        }
        if seen.iter().any(u8::is_ascii_control) {
            return Err(Unsafe::Character);
        }
        // Only the first time the encoding is ours; what is within is a value, in which a percent sign may stand alone.
        match decoded(&seen) {
            Some(next) if next == seen => return Ok(()),
            Some(next) => seen = next,
            None if round == 0 => return Err(Unsafe::Encoding),
            None => return Ok(()),
        }
    }
    Err(Unsafe::Encoding)
}

/// The url with the path behind it, if that is still a place in the same system.
///
/// # Errors
/// If it is not.
pub(super) fn join(url: &str, path: &str) -> Result<Uri, Unsafe> {
    check(path)?;
    if !path.is_empty() && !path.starts_with(['/', '?']) {
        return Err(Unsafe::Relative);
    }
    let base: Uri = url.parse().map_err(|_| Unsafe::Elsewhere)?;
    let joined: Uri = format!("{}{path}", url.trim_end_matches('/')).parse().map_err(|_| Unsafe::Elsewhere)?;
    let prefix = base.path().trim_end_matches('/');
    let same = base.scheme() == joined.scheme()
        && base.authority() == joined.authority()
        && joined.path().strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if same { Ok(joined) } else { Err(Unsafe::Elsewhere) }
}

/// Without one layer of percent-encoding; `None` if it is none.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            out.push(digit(rest.next()?)? * 16 + digit(rest.next()?)?);
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}
