//! Questions to whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::exit::Failure;

/// Whether somebody can be asked.
#[must_use]
pub fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks a question that only `y` or `yes` answers with yes; `yes` has answered it already.
///
/// # Errors
/// [`Failure::Usage`] if nobody can be asked.
pub fn confirm(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !somebody_is_there() {
        return Err(Failure::Usage("nobody can be asked, since this is no terminal: say --yes if you are sure".into()));
    }
    Ok(matches!(read(&format!("{question} [y/N] "))?.to_lowercase().as_str(), "y" | "yes"))
}

/// The reason that was given, or the one that is given now.
///
/// # Errors
/// [`Failure::Usage`] if there is none and nobody can be asked.
pub fn reason(given: Option<&str>) -> Result<String, Failure> {
    let missing = || Failure::Usage("a decision needs a reason: say --reason TEXT".into());
    let text = match given {
        Some(text) => text.to_owned(),
        None if somebody_is_there() => read("Reason: ")?,
        None => return Err(missing()),
    };
    if text.is_empty() { Err(missing()) } else { Ok(text) }
}

fn read(prompt: &str) -> Result<String, Failure> {
    let unreadable = |e: std::io::Error| Failure::Other(format!("the terminal cannot be read: {e}"));
    eprint!("{prompt}");
    std::io::stderr().flush().map_err(unreadable)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unreadable)?;
    Ok(line.trim().to_owned())
}
