//! Questions to whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::exit::Failure;

/// Whether somebody can be asked.
fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether [`confirm`] can be answered: asked before anything else is done.
///
/// # Errors
/// [`Failure::Usage`] if nobody can be asked.
pub fn can_confirm(yes: bool) -> Result<(), Failure> {
    if yes || somebody_is_there() {
        return Ok(());
    }
    Err(Failure::Usage("nobody can be asked, since this is no terminal: say --yes if you are sure".into()))
}

/// Whether a decision can be confirmed and given a reason: asked before anything else is done.
///
/// # Errors
/// [`Failure::Usage`] if nobody can be asked.
pub fn can_decide(yes: bool, reason: Option<&str>) -> Result<(), Failure> {
    can_confirm(yes)?;
    if reason.is_some() || somebody_is_there() { Ok(()) } else { Err(unreasoned()) }
}

/// Asks a question that only `y` or `yes` answers with yes; `yes` has answered it already.
///
/// # Errors
/// [`Failure::Usage`] if nobody can be asked.
pub fn confirm(question: &str, yes: bool) -> Result<bool, Failure> {
    can_confirm(yes)?;
    Ok(yes || matches!(read(&format!("{question} [y/N] "))?.to_lowercase().as_str(), "y" | "yes"))
}

/// The reason that was given, or the one that is given now.
///
/// # Errors
/// [`Failure::Usage`] if there is none and nobody can be asked.
pub fn reason(given: Option<&str>) -> Result<String, Failure> {
    let text = match given {
        Some(text) => text.to_owned(),
        None if somebody_is_there() => read("Reason: ")?,
        None => return Err(unreasoned()),
    };
    if text.is_empty() { Err(unreasoned()) } else { Ok(text) }
}

fn unreasoned() -> Failure {
    Failure::Usage("a decision needs a reason: say --reason TEXT".into())
}

fn read(prompt: &str) -> Result<String, Failure> {
    let unreadable = |e: std::io::Error| Failure::Other(format!("the terminal cannot be read: {e}"));
    eprint!("{prompt}");
    std::io::stderr().flush().map_err(unreadable)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unreadable)?;
    Ok(line.trim().to_owned())
}
