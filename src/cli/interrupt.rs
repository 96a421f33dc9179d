//! Signals that ask a command to stop.

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

use super::exit::Failure;

/// What has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Interrupt,
    Quit,
    Terminate,
    HangUp,
}

impl Kind {
    /// The signal that is passed on.
    #[must_use]
    pub fn signal(self) -> Signal {
        match self {
            Self::Interrupt => Signal::SIGINT,
            Self::Quit => Signal::SIGQUIT,
            Self::Terminate => Signal::SIGTERM,
            Self::HangUp => Signal::SIGHUP,
        }
    }

    /// The exit code of who ends for it, as shells have it: 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        code_of(self.signal() as i32)
    }
}

/// 128 and the signal's number.
#[must_use]
pub fn code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// From its making on, these signals end nothing by themselves; each is kept until it is asked for.
pub struct Interrupts {
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Interrupts {
    /// Takes the signals.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn take() -> Result<Self, Failure> {
        let on = |kind| {
            unix::signal(kind)
                .map_err(|e| Failure::Other(format!("signals cannot be handled, so nothing was asked for: {e}")))
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// The next one. Nothing is lost if this is dropped before.
    pub async fn next(&mut self) -> Kind {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Kind::Interrupt,
            Some(()) = self.terminate.recv() => Kind::Terminate,
            Some(()) = self.hang_up.recv() => Kind::HangUp,
            Some(()) = self.quit.recv() => Kind::Quit,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_shells() {
        assert_eq!([Kind::HangUp, Kind::Interrupt, Kind::Quit, Kind::Terminate].map(Kind::code), [129, 130, 131, 143]);
        assert_eq!(code_of(9), 137);
    }
}
