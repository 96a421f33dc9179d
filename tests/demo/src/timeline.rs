//! What is printed: steps with the time since the start, under each what was seen and how long it took.

use std::{
    future::Future,
    io::{IsTerminal, Write},
    time::Duration,
};

use tokio::time::{Instant, interval_at};

/// How wide a fact may be.
const WIDTH: usize = 108;
/// Where a fact begins.
const INDENT: &str = "            ";

/// The printed timeline.
pub struct Timeline {
    begun: Instant,
    step: usize,
    terminal: bool,
    colour: bool,
    figures: Vec<(String, String)>,
}

impl Timeline {
    pub fn start() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { begun: Instant::now(), step: 0, terminal, colour, figures: vec![] }
    }

    /// The next step begins.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        let at = format!("{:>6.1} s", self.begun.elapsed().as_secs_f64());
        println!("\n{}  {}", self.dim(&at), self.bold(&format!("{}. {title}", self.step)));
    }

    /// Something that was seen.
    pub fn fact(&self, text: &str) {
        for (number, line) in wrapped(text).into_iter().enumerate() {
            let mark = if number == 0 { self.green("- ") } else { "  ".to_owned() };
            println!("{INDENT}{mark}{line}");
        }
    }

    /// Something to read or to copy, as it is.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("{INDENT}    {}", self.dim(line));
        }
    }

    /// A command as somebody types it.
    pub fn typed(&self, who: &str, command: &str) {
        let lines = wrapped(command);
        let last = lines.len().saturating_sub(1);
        for (number, line) in lines.into_iter().enumerate() {
            let prompt = if number == 0 { format!("{who}$ ") } else { "    ".to_owned() };
            let more = if number == last { "" } else { " \\" };
            println!("{INDENT}  {}{}", self.dim(&prompt), self.bold(&format!("{line}{more}")));
        }
    }

    /// What a command printed: so many lines, the long ones in parts.
    pub fn printed(&self, text: &str, lines: usize) {
        for line in text.lines().take(lines) {
            self.quote(&folded(line).join("\n  "));
        }
        if text.lines().nth(lines).is_some() {
            self.quote("…");
        }
    }

    /// A measurement, for the list at the end.
    pub fn figure(&mut self, what: &str, value: String) {
        self.figures.push((what.to_owned(), value));
    }

    /// Everything that was measured.
    pub fn figures(&self) {
        println!("\n{}", self.bold("Measured just now"));
        let width = self.figures.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
        for (what, value) in &self.figures {
            println!("  {what:<width$}  {}", self.green(&format!("{value:>9}")));
        }
        println!("  {:<width$}  {:>9}", "the whole story", seconds(self.begun.elapsed()));
    }

    /// Awaits something slow and shows that it goes on.
    pub async fn waiting<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let every = Duration::from_secs(if self.terminal { 1 } else { 10 });
        let mut ticks = interval_at(begun + every, every);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    self.erase();
                    return done;
                }
                _ = ticks.tick() => {
                    let line = format!("{INDENT}  {what} ... {} s", begun.elapsed().as_secs());
                    if self.terminal { print!("\r{}", self.dim(&line)) } else { println!("{line}") }
                    // A closed output is noticed by the next println.
                    std::io::stdout().flush().ok();
                }
            }
        }
    }

    fn erase(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(&self, text: &str) -> String {
        self.painted("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.painted("2", text)
    }

    fn green(&self, text: &str) -> String {
        self.painted("32", text)
    }
}

/// A time for people: `12 ms`, `8.9 s`.
pub fn millis(millis: i64) -> String {
    if millis.abs() < 1000 {
        format!("{millis} ms")
    } else {
        format!("{}.{} s", millis / 1000, millis.abs() % 1000 / 100)
    }
}

/// A time for people.
pub fn seconds(duration: Duration) -> String {
    millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |l| l.chars().count());
        if line > 0 && line + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// A line in parts that are no wider than a fact, broken at spaces; tables keep theirs.
fn folded(line: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (vec![], line);
    while let Some((limit, _)) = rest.char_indices().nth(WIDTH) {
        let Some((part, after)) = rest.get(..limit).and_then(|part| part.rfind(' ')).map(|at| rest.split_at(at)) else {
            break;
        };
        parts.push(part);
        rest = after.trim_start();
    }
    parts.push(rest);
    parts
}
