//! Which lease is visited next. No clock and no IO: time is an argument.
//!
//! A lease may hold one wish a lane at once (say, an end at its deadline and a look at its backstop before that). Invariants, each
//! held by a test below:
//! - one visit at a time per lease; what is wished meanwhile is remembered and merged, never lost;
//! - no lane ever uses another lane's places, so ends never wait behind issuing;
//! - a visit whose answer is late gives its place to another one, within bounds: a slow call holds up nobody else;
//! - ends and retries are served in the order in which they were due, issuing goes round the namespaces;
//! - a visit uses up the wish of its own lane only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use crate::api::names::LeaseUid;

/// A point in time: milliseconds of the clock that the caller injects.
pub type At = i64;

/// A kind of work with places of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Judging and issuing.
    Issue,
    /// Ending, the first attempt.
    End,
    /// Ends that failed before, and proofs: apart, so that one broken namespace cannot delay the first attempts of all others.
    Retry,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 3] = [Self::End, Self::Retry, Self::Issue];
}

/// How many visits each lane may have at once, those left out that wait for a late answer.
#[derive(Clone, Copy, Debug)]
pub struct Widths {
    /// Places of [`Lane::Issue`].
    pub issue: usize,
    /// Places of [`Lane::End`].
    pub end: usize,
    /// Places of [`Lane::Retry`].
    pub retry: usize,
}

/// How many visits of a lane may wait for late answers beside those in its places, for each place: an API server that is slow
/// altogether is not asked ever more at once.
const LATE_FOR_EACH_PLACE: usize = 4;

/// A visit to be made now. [`Agenda::done`] gives its place back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The lease.
    pub key: LeaseUid,
    /// The lane whose place it takes.
    pub lane: Lane,
    /// When it was wished for: how late it is can be read off.
    pub due: At,
}

/// How much waits. Wishes of a lease that is being visited are not counted: it is being served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Due in [`Lane::Issue`], waiting for a place.
    pub issue: usize,
    /// Due in [`Lane::End`], waiting for a place.
    pub end: usize,
    /// Due in [`Lane::Retry`], waiting for a place.
    pub retry: usize,
    /// Not due yet, as of the last [`Agenda::next`].
    pub later: usize,
}

/// One value a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PerLane<T> {
    issue: T,
    end: T,
    retry: T,
}

impl<T> PerLane<T> {
    fn get(&self, lane: Lane) -> &T {
        match lane {
            Lane::Issue => &self.issue,
            Lane::End => &self.end,
            Lane::Retry => &self.retry,
        }
    }

    fn get_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Issue => &mut self.issue,
            Lane::End => &mut self.end,
            Lane::Retry => &mut self.retry,
        }
    }
}

/// What is known of a lease: it exists while the lease has a wish or a visit.
#[derive(Debug)]
struct Slot {
    namespace: Arc<str>,
    wishes: PerLane<Option<At>>,
    running: Option<Running>,
}

/// A visit under way.
#[derive(Clone, Copy, Debug)]
struct Running {
    lane: Lane,
    /// Its answer is late: it has no place any more.
    late: bool,
}

impl Slot {
    fn runs_in(&self) -> Option<Lane> {
        self.running.map(|running| running.lane)
    }

    /// Remembers a wish; of two in the same lane the earlier stays.
    fn merge(&mut self, lane: Lane, at: At) {
        let wish = self.wishes.get_mut(lane);
        *wish = Some(wish.map_or(at, |before| before.min(at)));
    }
}

/// The agenda of every lease.
///
/// Queues hold the wishes of leases without a visit, each exactly once; the wishes of a lease under visit wait in its slot and
/// are queued again when the visit is done. So whatever stands in a queue may be started.
#[derive(Debug)]
pub struct Agenda {
    widths: PerLane<usize>,
    running: PerLane<usize>,
    /// Visits without a place, since their answer is late.
    late: PerLane<usize>,
    slots: HashMap<LeaseUid, Slot>,
    /// The leases under visit: in a place, or late.
    visited: HashSet<LeaseUid>,
    /// What waits for its time, the earliest first.
    later: BTreeSet<(At, Lane, LeaseUid)>,
    /// Due ends, the longest due first.
    ends: BTreeSet<(At, LeaseUid)>,
    /// Due retries, the longest due first.
    retries: BTreeSet<(At, LeaseUid)>,
    /// Due issuing by namespace; no entry is empty.
    issues: BTreeMap<Arc<str>, BTreeSet<(At, LeaseUid)>>,
    /// Number of entries in `issues`.
    issues_due: usize,
    /// The namespace that issued last: the round goes on behind it.
    last: String,
    /// One copy of the name of each namespace with a slot.
    names: HashSet<Arc<str>>,
}

impl Agenda {
    /// An agenda without a wish.
    #[must_use]
    pub fn new(widths: Widths) -> Self {
        Self {
            widths: PerLane { issue: widths.issue, end: widths.end, retry: widths.retry },
            running: PerLane::default(),
            late: PerLane::default(),
            slots: HashMap::new(),
            visited: HashSet::new(),
            later: BTreeSet::new(),
            ends: BTreeSet::new(),
            retries: BTreeSet::new(),
            issues: BTreeMap::new(),
            issues_due: 0,
            last: String::new(),
            names: HashSet::new(),
        }
    }

    /// Asks for a visit at `at`, now or later. Of two wishes for the same lane the earlier wins; see [`Self::reschedule`].
    ///
    /// `namespace` is the lease's own; what counts is the one given when the lease was first heard of, since it never changes.
    ///
    /// True: a visit of this lease runs in the issuing lane and ending was wished for (whatever its time), so tell that visit
    /// to stop after its current call. Only the caller can, and the agenda starts nothing before the visit is done.
    #[must_use = "a running issue visit must be told to stop"]
    pub fn wake(&mut self, key: LeaseUid, namespace: &str, lane: Lane, at: At) -> bool {
        self.admit(key, namespace);
        self.unqueue(key);
        let Some(slot) = self.slots.get_mut(&key) else { return false };
        slot.merge(lane, at);
        let interrupt = slot.runs_in() == Some(Lane::Issue) && lane != Lane::Issue;
        self.queue(key);
        interrupt
    }

    /// Sets the wish of a lane to exactly `at`, also when that is later than before: an end whose deadline moved leaves none behind.
    ///
    /// False: nothing is known of this lease, so there is nothing to move; [`Self::wake`] it.
    pub fn reschedule(&mut self, key: LeaseUid, lane: Lane, at: At) -> bool {
        self.unqueue(key);
        let Some(slot) = self.slots.get_mut(&key) else { return false };
        *slot.wishes.get_mut(lane) = Some(at);
        self.queue(key);
        true
    }

    /// The next visit to start, if one is due and its lane has a free place. To be called until it returns `None`.
    pub fn next(&mut self, now: At) -> Option<Visit> {
        while let Some(&(at, lane, key)) = self.later.first().filter(|(at, ..)| *at <= now) {
            self.later.pop_first();
            self.make_due(key, lane, at);
        }
        let visit =
            Lane::ALL.into_iter().filter(|lane| self.running.get(*lane) < self.widths.get(*lane)).find_map(|lane| {
                let (due, key) = match lane {
                    Lane::End => *self.ends.first()?,
                    Lane::Retry => *self.retries.first()?,
                    Lane::Issue => self.next_issue()?,
                };
                Some(Visit { key, lane, due })
            })?;
        self.start(visit);
        Some(visit)
    }

    /// A visit has ended: its place is free, and `again` is merged with what was wished meanwhile.
    ///
    /// Also after [`Self::forget`]: the visit saw the lease last, and if it says that something is left to do, that counts.
    pub fn done(&mut self, key: LeaseUid, again: impl IntoIterator<Item = (Lane, At)>) {
        self.unqueue(key);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let Some(Running { lane, late }) = slot.running.take() {
            let places = if late { self.late.get_mut(lane) } else { self.running.get_mut(lane) };
            *places = places.saturating_sub(1);
            self.visited.remove(&key);
        }
        for (lane, at) in again {
            slot.merge(lane, at);
        }
        self.queue(key);
        self.drop_if_idle(key);
    }

    /// The visit of this lease waits for an answer that is late: it gives its place to another, if its lane can bear it.
    pub fn late(&mut self, key: LeaseUid) {
        let Some(running) = self.slots.get_mut(&key).and_then(|slot| slot.running.as_mut()) else { return };
        let waiting = self.late.get_mut(running.lane);
        if running.late || *waiting >= LATE_FOR_EACH_PLACE * self.widths.get(running.lane) {
            return;
        }
        running.late = true;
        *waiting += 1;
        let places = self.running.get_mut(running.lane);
        *places = places.saturating_sub(1);
    }

    /// Drops every wish of a lease that is finished and gone. A running visit keeps its place until it is done.
    pub fn forget(&mut self, key: LeaseUid) {
        self.unqueue(key);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.wishes = PerLane::default();
        }
        self.drop_if_idle(key);
    }

    /// When to call [`Self::next`] again if nothing else happens: the time of the earliest wish that was not due at its last call.
    #[must_use]
    pub fn next_deadline(&self) -> Option<At> {
        self.later.first().map(|(at, ..)| *at)
    }

    /// How much waits, for metrics.
    #[must_use]
    pub fn depth(&self) -> Depth {
        Depth { issue: self.issues_due, end: self.ends.len(), retry: self.retries.len(), later: self.later.len() }
    }

    /// How many ends are due and have not been started, also those held up by a visit of their lease in another lane.
    #[must_use]
    pub fn overdue(&self, now: At) -> usize {
        let queued = self.ends.iter().take_while(|(at, _)| *at <= now).count();
        let fresh =
            self.later.iter().take_while(|(at, ..)| *at <= now).filter(|(_, lane, _)| *lane == Lane::End).count();
        let held_up = |slot: &&Slot| {
            slot.runs_in().is_some_and(|lane| lane != Lane::End) && slot.wishes.end.is_some_and(|at| at <= now)
        };
        queued + fresh + self.visited.iter().filter_map(|key| self.slots.get(key)).filter(held_up).count()
    }

    /// The longest due wish of the first namespace behind the one that issued last.
    fn next_issue(&self) -> Option<(At, LeaseUid)> {
        let behind = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let (_, line) = self.issues.range::<str, _>(behind).next().or_else(|| self.issues.first_key_value())?;
        line.first().copied()
    }

    fn start(&mut self, visit: Visit) {
        self.unqueue(visit.key);
        let Some(slot) = self.slots.get_mut(&visit.key) else { return };
        slot.running = Some(Running { lane: visit.lane, late: false });
        self.visited.insert(visit.key);
        *slot.wishes.get_mut(visit.lane) = None;
        *self.running.get_mut(visit.lane) += 1;
        if visit.lane == Lane::Issue {
            self.last.clear();
            self.last.push_str(&slot.namespace);
        }
    }

    /// Makes the slot of a lease, if it has none.
    fn admit(&mut self, key: LeaseUid, namespace: &str) {
        if self.slots.contains_key(&key) {
            return;
        }
        let namespace = self.names.get(namespace).cloned().unwrap_or_else(|| {
            let name: Arc<str> = namespace.into();
            self.names.insert(Arc::clone(&name));
            name
        });
        self.slots.insert(key, Slot { namespace, wishes: PerLane::default(), running: None });
    }

    /// Removes the slot of a lease without wishes and visit, and the namespace's name with its last slot.
    fn drop_if_idle(&mut self, key: LeaseUid) {
        let idle = |slot: &Slot| slot.running.is_none() && slot.wishes == PerLane::default();
        if !self.slots.get(&key).is_some_and(idle) {
            return;
        }
        // Two owners: `names` and the slot just removed.
        if let Some(slot) = self.slots.remove(&key).filter(|slot| Arc::strong_count(&slot.namespace) == 2) {
            self.names.remove(&slot.namespace);
        }
    }

    /// Puts the wishes of a lease without a visit into the queue of those that wait for their time.
    fn queue(&mut self, key: LeaseUid) {
        let Some(slot) = self.slots.get(&key).filter(|slot| slot.running.is_none()) else { return };
        for lane in Lane::ALL {
            if let Some(at) = *slot.wishes.get(lane) {
                self.later.insert((at, lane, key));
            }
        }
    }

    /// Takes the wishes of a lease out of whatever queues they are in. They stay in its slot.
    fn unqueue(&mut self, key: LeaseUid) {
        let Some(slot) = self.slots.get(&key).filter(|slot| slot.running.is_none()) else { return };
        for lane in Lane::ALL {
            let Some(at) = *slot.wishes.get(lane) else { continue };
            if self.later.remove(&(at, lane, key)) {
                continue;
            }
            match lane {
                Lane::End => _ = self.ends.remove(&(at, key)),
                Lane::Retry => _ = self.retries.remove(&(at, key)),
                Lane::Issue => {
                    let Some(line) = self.issues.get_mut(&slot.namespace) else { continue };
                    self.issues_due -= usize::from(line.remove(&(at, key)));
                    if line.is_empty() {
                        self.issues.remove(&slot.namespace);
                    }
                }
            }
        }
    }

    fn make_due(&mut self, key: LeaseUid, lane: Lane, at: At) {
        match lane {
            Lane::End => _ = self.ends.insert((at, key)),
            Lane::Retry => _ = self.retries.insert((at, key)),
            Lane::Issue => {
                let Some(slot) = self.slots.get(&key) else { return };
                self.issues.entry(Arc::clone(&slot.namespace)).or_default().insert((at, key));
                self.issues_due += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
