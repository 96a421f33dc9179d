//! One lease at a time in each slot: which of its calls come by, and which of them meets a fault.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    call::{self, Call},
    fault::{Fault, PERSISTS},
    plan::{Moment, Trap},
};

/// A call as it went by.
#[derive(Debug, Clone)]
pub struct Made {
    pub key: String,
    pub at: Timestamp,
    /// The API server's code, or ours; 0 if the operator got none.
    pub code: u16,
    pub fault: Option<Fault>,
}

/// A call that was noted down, and what is to be done to it.
pub struct Counted {
    pub slot: usize,
    pub index: usize,
    pub key: String,
    pub fault: Option<Fault>,
}

/// Told from others by its namespace and UID.
#[derive(Default)]
struct Slot {
    namespace: String,
    uid: String,
    hex: String,
    standing: bool,
    /// How often each call was made since the start, or since the trap before.
    counts: BTreeMap<String, u32>,
    total: u32,
    traps: Vec<Trap>,
    /// The call that is refused again and again, how, and until when.
    persists: Option<(String, Fault, Instant)>,
    /// A trap has asked for an outage that has not come yet.
    dying: bool,
    calls: Vec<Made>,
}

impl Slot {
    /// Notes a call down, and says what is to be done to it.
    fn count(&mut self, key: &str) -> (usize, Option<Fault>) {
        let count = self.counts.entry(key.to_owned()).or_default();
        *count += 1;
        self.total += 1;
        let sprung = self.traps.first().is_some_and(|trap| match &trap.at {
            Moment::Call(name, n) => name == key && n == count,
            Moment::Nth(n) => *n == self.total,
        });
        let fault = (sprung && !self.dying).then(|| self.traps.remove(0).fault);
        if let Some(Fault::Persists(_)) = fault {
            self.persists = fault.map(|fault| (key.to_owned(), fault, Instant::now() + PERSISTS));
        }
        let again = |(name, fault, until): &(String, Fault, Instant)| {
            (name == key && Instant::now() < *until).then_some(*fault)
        };
        let fault = fault.or_else(|| self.persists.as_ref().and_then(again));
        self.dying |= fault.is_some_and(Fault::is_felt_by_all);
        self.calls.push(Made { key: key.to_owned(), at: Timestamp::now(), code: 0, fault });
        (self.calls.len() - 1, fault)
    }
}

pub struct Slots(Mutex<Vec<Slot>>);

impl Slots {
    pub fn new(namespaces: Vec<String>) -> Self {
        Self(Mutex::new(namespaces.into_iter().map(|namespace| Slot { namespace, ..Slot::default() }).collect()))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lease begins in this slot; with `standing`, the lifecycle's status is a part of its life.
    pub fn arm(&self, slot: usize, traps: Vec<Trap>, standing: bool) {
        let mut slots = self.all();
        let namespace = slots[slot].namespace.clone();
        slots[slot] = Slot { namespace, traps, standing, ..Slot::default() };
    }

    /// The UID of the lease in this slot.
    pub fn name(&self, slot: usize, uid: &str) {
        let mut slots = self.all();
        slots[slot].uid = uid.to_owned();
        slots[slot].hex = uid.replace('-', "");
    }

    /// What was called for the lease in this slot.
    pub fn calls(&self, slot: usize) -> Vec<Made> {
        self.all()[slot].calls.clone()
    }

    /// How many traps have not been sprung.
    pub fn left(&self, slot: usize) -> usize {
        self.all()[slot].traps.len()
    }

    /// Whether an outage was asked for that has not come yet.
    pub fn is_dying(&self, slot: usize) -> bool {
        self.all()[slot].dying
    }

    /// How many slots would take the operator away next, and so.
    pub fn waiting(&self, is: impl Fn(Fault) -> bool) -> usize {
        self.all().iter().filter(|s| !s.dying && s.traps.first().is_some_and(|t| is(t.fault))).count()
    }

    /// The operator is dead, or was stopped: what comes now comes after it.
    pub fn revive(&self) {
        for slot in self.all().iter_mut() {
            if slot.dying {
                slot.dying = false;
                slot.counts.clear();
                slot.total = 0;
            }
        }
    }

    pub(super) fn note(&self, slot: usize, index: usize, code: u16) {
        // A slot that was armed anew meanwhile has no such call.
        if let Some(made) = self.all()[slot].calls.get_mut(index) {
            made.code = code;
        }
    }

    pub(super) fn count_system(&self, slot: usize, what: &str) -> Counted {
        let key = call::of_a_system(what);
        let (index, fault) = self.all()[slot].count(&key);
        Counted { slot, index, key, fault }
    }

    /// `None` if the call is not about a lease of ours.
    pub(super) fn count(&self, call: &Call, path: &str, body: &Bytes) -> Option<Counted> {
        if !call.is_of_a_lease(true) {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let claims = claims(call, &text);
        let mut slots = self.all();
        let is_of = |s: &Slot| {
            [path, &text, &claims]
                .iter()
                .any(|t| t.contains(&s.namespace) || (!s.uid.is_empty() && (t.contains(&s.uid) || t.contains(&s.hex))))
        };
        let number = slots.iter().position(is_of)?;
        let slot = &mut slots[number];
        if !call.is_of_a_lease(slot.standing) {
            return None;
        }
        let key = call.key(&slot.namespace);
        let (index, fault) = slot.count(&key);
        Some(Counted { slot: number, index, key, fault })
    }
}

/// What a token under review says of itself: it names the account, and that the lease.
fn claims(call: &Call, body: &str) -> String {
    if call.resource != "tokenreviews" {
        return String::new();
    }
    let review: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let payload = review["spec"]["token"].as_str().and_then(|t| t.split('.').nth(1)).unwrap_or_default();
    URL_SAFE_NO_PAD.decode(payload).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
