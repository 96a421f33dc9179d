//! Who leads: one replica at a time holds a Lease of coordination.k8s.io, and writes; the others watch, and are ready.
//!
//! Every claim is a compare-and-swap on the resourceVersion that was seen last, so that two claims never both succeed. All times
//! are milliseconds of this process's own monotonic clock: what the record says of times is for people. Whether another holder
//! has died is told by how long the record has not changed since we have seen it, never by comparing clocks of machines
//! (as client-go's leaderelection does).
//!
//! 1. Who leads and could not renew within the renew deadline has lost, also if nobody else has claimed: it counts from before the
//!    request was sent, so that a process that was paused finds itself too late.
//! 2. Who leads and sees another holder has lost.
//! 3. Nobody claims what was never looked at, what is held, or what its holder renewed less than a lease duration ago.
//! 4. A Lease that was deleted is held as before: its holder makes it anew, and nobody else does for as long as it may be alive,
//!    whoever was seen to hold it last: somebody else may have claimed it in between.

use std::time::Duration;

/// How long things take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the others leave a Lease alone that nobody renews.
    pub lease: i64,
    /// After how long without a renewal the holder stops.
    pub renew: i64,
    /// How often it renews, and how soon whatever failed is tried again.
    pub retry: i64,
}

/// The longest lease duration there is: a record that tells of a longer one is taken for this.
const LONGEST: i64 = 300_000;

/// Why these durations do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(
        "--leader-election-lease-duration must be longer than --leader-election-renew-deadline: the holder has to have stopped before anybody else may start"
    )]
    LeaseTooShort,
    #[error(
        "--leader-election-renew-deadline must be at least twice --leader-election-retry-period: one renewal that fails must not end it"
    )]
    RenewTooShort,
    #[error("--leader-election-lease-duration can be 5m at the most")]
    LeaseTooLong,
}

impl Terms {
    /// Terms under which a holder has stopped before another can start, and survives one failed renewal.
    ///
    /// # Errors
    /// If they do not go together.
    pub fn new(lease: Duration, renew: Duration, retry: Duration) -> Result<Self, Unfit> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let terms = Self { lease: millis(lease), renew: millis(renew), retry: millis(retry) };
        if terms.lease > LONGEST {
            return Err(Unfit::LeaseTooLong);
        }
        if terms.lease <= terms.renew {
            return Err(Unfit::LeaseTooShort);
        }
        if terms.renew < terms.retry.saturating_mul(2) {
            return Err(Unfit::RenewTooShort);
        }
        Ok(terms)
    }
}

/// The Lease as it is stored, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version: String,
    /// Empty: it was released.
    pub holder: String,
    /// How long its holder asked to be left alone, in milliseconds.
    pub lasts: Option<i64>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the Lease.
    Read,
    /// Write ourselves into it, on this version; `None`: create it.
    Claim(Option<String>),
    /// Nothing before this time, unless the Lease changes.
    Until(i64),
    /// Stop: we do not lead any more.
    Lost(Lost),
}

/// How leading ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("the Lease could not be renewed within the renew deadline")]
    TooLate,
    #[error("{0} leads now")]
    To(String),
    #[error("the election itself has ended: this is a bug")]
    Broken,
}

/// What came of reading or claiming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is what is stored; after a claim it is ours.
    Stored(Record),
    /// It is not there.
    Absent,
    /// It is another one than was claimed.
    Conflict,
    /// No answer, or one that says nothing: it may or may not have been carried out.
    Failed,
}

/// One replica's view.
#[derive(Debug)]
pub struct Election {
    me: String,
    terms: Terms,
    /// `None` before the first look.
    seen: Option<Seen>,
    /// When the last claim that succeeded was sent; `None`: we do not lead.
    renewed: Option<i64>,
    /// Nothing is asked before.
    quiet_until: i64,
    /// What is stored may be another record than the one that was seen last.
    doubtful: bool,
}

/// What was seen last, and when.
#[derive(Debug)]
struct Seen {
    /// `None`: there is no Lease.
    version: Option<String>,
    holder: String,
    /// When this record was seen first.
    since: i64,
    lasts: i64,
}

impl Election {
    /// A candidate of this name, which nobody else has.
    #[must_use]
    pub fn new(me: String, terms: Terms) -> Self {
        Self { me, terms, seen: None, renewed: None, quiet_until: 0, doubtful: false }
    }

    /// The name in the record.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Until when we lead unless it is renewed; `None`: we do not.
    #[must_use]
    pub fn leads_until(&self) -> Option<i64> {
        self.renewed.map(|at| at.saturating_add(self.terms.renew))
    }

    /// How long one request may take at the most, in milliseconds: short enough for another try before the renew deadline.
    #[must_use]
    pub fn patience(&self, now: i64) -> i64 {
        let left = self.leads_until().map_or(i64::MAX, |until| until.saturating_sub(now));
        (self.terms.renew / 2).min(left).max(1)
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self, now: i64) -> Next {
        match self.leads_until() {
            Some(until) if now >= until => Next::Lost(Lost::TooLate),
            Some(until) => match &self.seen {
                Some(seen) if self.is_another(&seen.holder) => Next::Lost(Lost::To(seen.holder.clone())),
                _ if now < self.quiet_until => Next::Until(self.quiet_until.min(until)),
                _ => self.claim(),
            },
            None => {
                let Some(seen) = &self.seen else { return Next::Until(i64::MAX) };
                let may_be_held = seen.version.is_none() || self.is_another(&seen.holder);
                let held = may_be_held.then(|| seen.since.saturating_add(seen.lasts));
                let from = held.unwrap_or(now).max(self.quiet_until);
                if now < from { Next::Until(from) } else { self.claim() }
            }
        }
    }

    fn claim(&self) -> Next {
        if self.doubtful { Next::Read } else { Next::Claim(self.seen.as_ref().and_then(|seen| seen.version.clone())) }
    }

    fn is_another(&self, holder: &str) -> bool {
        !holder.is_empty() && holder != self.me
    }

    /// The watch tells of a record. One that is older than what is known is no news: false.
    pub fn saw(&mut self, record: &Record, now: i64) -> bool {
        let news = !self.is_older(&record.version);
        if news {
            self.take(record, now);
        }
        news
    }

    /// The watch tells that the Lease was deleted, with this version; or that there is none.
    pub fn saw_none(&mut self, version: Option<&str>, now: i64) {
        if version.is_some_and(|version| self.is_older(version)) {
            return;
        }
        match &mut self.seen {
            Some(seen) => {
                if seen.version.take().is_some() {
                    // Its holder may have renewed it just before, and need not be the one that was seen last.
                    seen.since = now;
                    seen.lasts = seen.lasts.max(self.terms.lease);
                }
            }
            None => self.seen = Some(Seen { version: None, holder: String::new(), since: now, lasts: 0 }),
        }
        if self.renewed.is_some() {
            self.quiet_until = now;
        }
    }

    /// Takes in what came of a request that was sent then.
    pub fn answered(&mut self, asked: &Next, sent: i64, now: i64, answer: &Answer) {
        match (asked, answer) {
            (Next::Claim(_), Answer::Stored(record)) => {
                self.take(record, now);
                self.renewed = Some(sent);
                self.quiet_until = sent.saturating_add(self.terms.retry);
                self.doubtful = false;
            }
            (_, Answer::Stored(record)) => {
                self.take(record, now);
                self.doubtful = false;
            }
            (_, Answer::Absent) => {
                self.saw_none(None, now);
                self.doubtful = false;
                if *asked == Next::Claim(None) {
                    // It cannot be made: its namespace is not there (yet).
                    self.quiet_until = now.saturating_add(self.terms.retry);
                }
            }
            (_, Answer::Conflict) => self.doubtful = true,
            (_, Answer::Failed) => {
                self.doubtful = true;
                self.quiet_until = now.saturating_add(self.terms.retry);
            }
        }
    }

    /// The version on which the Lease is given back, if it is ours.
    #[must_use]
    pub fn release(&self) -> Option<String> {
        self.renewed.and_then(|_| self.seen.as_ref()?.version.clone())
    }

    fn take(&mut self, record: &Record, now: i64) {
        if self.seen.as_ref().is_some_and(|seen| seen.version.as_ref() == Some(&record.version)) {
            return;
        }
        let lasts = record.lasts.unwrap_or(self.terms.lease).clamp(0, LONGEST);
        let holder = record.holder.clone();
        self.seen = Some(Seen { version: Some(record.version.clone()), holder, since: now, lasts });
    }

    /// resourceVersions of one kind of object grow (kubernetes.io, API concepts); one that is no number is taken for new.
    fn is_older(&self, version: &str) -> bool {
        let number = |version: &str| version.parse::<u64>().ok();
        let known = self.seen.as_ref().and_then(|seen| number(seen.version.as_ref()?));
        known.zip(number(version)).is_some_and(|(known, new)| new < known)
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
