//! How the story is printed: one line a step, with the time it took.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::Result;

/// A chapter begins.
pub fn chapter(title: &str) {
    if std::io::stdout().is_terminal() {
        println!("\n\x1b[1m{title}\x1b[0m");
    } else {
        println!("\n{title}");
    }
}

/// One step: says what is being done, does it, says how long it took and what came of it.
pub async fn step<T>(what: &str, doing: impl Future<Output = Result<(T, String)>>) -> Result<T> {
    let terminal = std::io::stdout().is_terminal();
    if terminal {
        print!("  …          {what}");
        std::io::stdout().flush()?;
    }
    let begun = Instant::now();
    let done = doing.await;
    let start = if terminal { "\r" } else { "" };
    match done {
        Ok((value, outcome)) => {
            println!("{start}  {:>8}   {what}", pretty(begun.elapsed()));
            note(&outcome);
            Ok(value)
        }
        Err(error) => {
            println!("{start}  failed     {what}");
            Err(error)
        }
    }
}

/// More about a step.
pub fn note(text: &str) {
    for line in text.lines() {
        println!("             {line}");
    }
}

/// A time as a person reads it.
pub fn pretty(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", time.as_secs_f64()) }
}
