//! What may happen to one call, and to all watches.

use std::{fmt, time::Duration};

/// What happens to a call, of the API server's or of a connected system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The operator is killed; the call never arrives.
    CrashBefore,
    /// The call is carried out, then the operator is killed before the answer.
    CrashAfter,
    /// The call is carried out while the operator is stopped for longer than it waits for any answer.
    Stop,
    /// The call is lost, the connection reset.
    DropBefore,
    /// The call is carried out, its answer lost, the connection reset.
    DropAfter,
    /// The call is carried out, the connection reset in the middle of its answer.
    CutAnswer,
    /// No byte until the operator gives up; not carried out.
    Hang,
    /// Carried out, and no byte of an answer until the operator gives up.
    Mute,
    /// Carried out, and answered byte by byte for longer than the operator waits.
    Drip,
    /// Late, but within the operator's deadline.
    Delay,
    /// Answered with this code; not carried out.
    Answer(u16),
    /// Answered 429 without a word of how long to wait; not carried out.
    Busy,
    /// Answered with this code, however often it is made within [`PERSISTS`]; not carried out.
    Persists(u16),
    /// The lease is ended while the call is held.
    EndBefore,
    /// The lease is ended after the call was carried out, before its answer.
    EndAfter,
}

/// How long a call is delayed.
pub const DELAY: Duration = Duration::from_millis(1500);
/// What a 429 asks to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long a call is refused that is refused again and again.
pub const PERSISTS: Duration = Duration::from_secs(12);
/// How long the operator waits for an answer: shorter than its default, so that a hang costs little.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Fault {
    /// Every one, each code apart.
    pub fn all() -> impl Iterator<Item = Self> {
        use Fault::{
            CrashAfter, CrashBefore, CutAnswer, Delay, Drip, DropAfter, DropBefore, EndAfter, EndBefore, Hang, Mute,
            Stop,
        };
        let acts =
            [CrashBefore, CrashAfter, Stop, DropBefore, DropAfter, CutAnswer, Hang, Mute, Drip, Delay].into_iter();
        let answers = [403, 404, 409, 422, 429, 500, 502, 503, 504].map(Self::Answer);
        let others = [Self::Busy, Self::Persists(500), Self::Persists(429), EndBefore, EndAfter];
        acts.chain(answers).chain(others)
    }

    pub fn crashes(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }

    /// Whether it takes the operator away from all leases, not only from this call.
    pub fn is_felt_by_all(self) -> bool {
        self.crashes() || self == Self::Stop
    }

    /// Whether the call may be carried out only after the lease was ended.
    pub fn holds(self) -> bool {
        matches!(self, Self::EndBefore | Self::EndAfter | Self::Delay | Self::Stop)
    }

    /// Whether the operator may rightly give up issuing: whoever was asked refuses for good.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Answer(403 | 404 | 422))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(code) => write!(f, "{code}"),
            Self::Persists(code) => write!(f, "Persists{code}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// What is done to all watches while the flow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weather {
    Fair,
    /// Every event comes so many milliseconds late.
    Late(u64),
    /// Every watch breaks off about once a second.
    Cut,
    /// Every watch breaks off, and is answered 410 when it shall go on from there.
    Gone,
    /// Every watch says 410 in the middle and ends.
    Expired,
    /// Every event comes twice.
    Twice,
    /// Every event comes once more a second later, when newer ones have come: what is seen goes back in time.
    Echoed,
    /// What comes within a fifth of a second comes in the reverse order.
    Reversed,
    /// Every watch says 410 in the middle; that of leases then begins with what the store had seconds ago: no API server answers a
    /// consistent read from the past, but that a lease is gone is not taken from any.
    Behind,
}

impl Weather {
    pub const FOUL: [Self; 10] = [
        Self::Late(100),
        Self::Late(1000),
        Self::Late(4000),
        Self::Cut,
        Self::Gone,
        Self::Expired,
        Self::Twice,
        Self::Echoed,
        Self::Reversed,
        Self::Behind,
    ];

    /// How often every watch is disturbed, if it is.
    pub fn pace(self) -> Option<Duration> {
        match self {
            Self::Cut | Self::Gone | Self::Expired => Some(Duration::from_millis(1100)),
            // So that the store's present is seen as well.
            Self::Behind => Some(Duration::from_secs(4)),
            _ => None,
        }
    }
}
