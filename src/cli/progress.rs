//! What a waiting command shows: one line a change; on a terminal also that it is still there.

use std::io::{IsTerminal, Write};

use tokio::time::Instant;

use super::output::{Hue, Style, age, tell};

/// Frames of the sign of life.
const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];

/// Tells on standard error.
pub struct Progress {
    live: bool,
    style: Style,
    begun: Instant,
    beats: usize,
    /// Whether a sign of life stands in the terminal's last line.
    shown: bool,
    last: String,
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress {
    /// Begins now.
    #[must_use]
    pub fn new(no_color: bool) -> Self {
        let live = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            live,
            style: Style::stderr(no_color),
            begun: Instant::now(),
            beats: 0,
            shown: false,
            last: String::new(),
        }
    }

    /// Tells a line, unless it is the one that was told last.
    pub fn say(&mut self, line: &str) {
        if line != self.last {
            self.clear();
            tell(line);
            line.clone_into(&mut self.last);
        }
    }

    /// On a terminal shows for how long it has waited.
    pub fn beat(&mut self) {
        let seconds = i64::try_from(self.begun.elapsed().as_secs()).unwrap_or(i64::MAX);
        if self.live && seconds > 0 {
            self.beats += 1;
            self.shown = true;
            let frame = FRAMES.get(self.beats % FRAMES.len()).copied().unwrap_or_default();
            let text = self.style.paint(Hue::Faint, &format!("{frame} {}", age(seconds)));
            let mut err = std::io::stderr().lock();
            // A sign of life that cannot be shown stops nothing.
            _ = write!(err, "\r\u{1b}[K{text}").and_then(|()| err.flush());
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
