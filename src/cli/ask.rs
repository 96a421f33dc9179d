//! Questions to whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use super::{exit::Failure, output::Format};

/// Flags of a command that decides: answers to what would be asked, and how it says what was decided.
#[derive(Args, Clone, Debug)]
pub struct Answers {
    /// Why; asked for on a terminal.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// As name, json or yaml: what was decided, instead of a sentence.
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::of_objects())]
    pub output: Option<Format>,
}

impl Answers {
    /// Whether a decision can be confirmed and given a reason: asked before anything else is done.
    ///
    /// # Errors
    /// [`Failure::Usage`] if nobody can be asked.
    pub fn can_decide(&self) -> Result<(), Failure> {
        can_confirm(self.yes)?;
        if self.reason.is_some() || somebody_is_there() { Ok(()) } else { Err(unreasoned()) }
    }

    /// [`confirm`], unless it is answered already.
    ///
    /// # Errors
    /// [`Failure::Usage`] if nobody can be asked.
    pub fn confirm(&self, question: &str) -> Result<bool, Failure> {
        confirm(question, self.yes)
    }

    /// [`reason`], unless it is given already.
    ///
    /// # Errors
    /// [`Failure::Usage`] if there is none and nobody can be asked.
    pub fn reason(&self) -> Result<String, Failure> {
        reason(self.reason.as_deref())
    }
}

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
