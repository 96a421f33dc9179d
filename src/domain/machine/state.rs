//! One state: what is true, what the process knows, and which calls it has not made yet.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hasher as _},
};

use serde_json::json;

use super::{
    scene::Scene,
    turn::{self, Event, Turn},
};
use crate::{
    api::{Time, reasons::Phase},
    domain::{
        call::{Answer, Call, Class, Failure, Next},
        decide::decide,
        ending,
        learn::learn,
        observed::{Child, DecisionSeen, Memory, Observed},
        world::{START, World, rule, uid},
    },
};

/// Agreeing is no fault: it is what whoever asked waits for.
const AGREED: Turn = Turn::Happens(Event::Decided("Approved"));

#[derive(Clone)]
pub struct State {
    pub scene: Scene,
    pub world: World,
    pub seen: Observed,
    /// What was decided, without those calls that were made already.
    pub next: Next,
    /// Effects that this process was told of, or that can be seen: none is brought about again.
    pub finished: BTreeSet<String>,
    /// What others have put where the lease has names.
    pub strangers: BTreeSet<Child>,
    /// How many faults and happenings there may still be.
    pub left: usize,
}

impl State {
    pub fn new(scene: Scene, left: usize) -> Self {
        let world = scene.world();
        let seen = world.observe(&Memory::default());
        let (finished, strangers) = (BTreeSet::new(), BTreeSet::new());
        let mut state = Self { scene, world, seen, next: Next::Forget, finished, strangers, left };
        state.decide();
        state
    }

    /// The call that is made next.
    fn call(&self) -> Option<&Call> {
        match &self.next {
            Next::Do(_, calls) => calls.first(),
            _ => None,
        }
    }

    fn decide(&mut self) {
        ending::settle(&mut self.seen, self.world.now());
        self.next = decide(&self.seen, self.world.now());
    }

    /// A new visit: what the last one learned is forgotten, what the process remembers is not.
    fn visit(&mut self) {
        let failed = match &self.next {
            Next::Rest { backoff, .. } => backoff.is_some(),
            _ => self.seen.failed_before,
        };
        self.seen = self.world.observe(&self.seen.memory);
        self.seen.failed_before = failed;
        self.finished.retain(|effect| !effect.starts_with("once a visit"));
        self.decide();
    }

    /// Another process: it knows what the watches tell.
    fn die(&mut self) {
        self.world.board.clear();
        self.seen.memory = Memory::default();
        self.next = Next::idle();
        if self.world.status.issue_time.is_none() {
            self.world.overlooked.clear();
        }
        // The Secret is not watched, so that what became of it may be forgotten.
        self.finished.retain(|effect| effect.starts_with("delete") && !effect.contains("Secret"));
        self.visit();
    }

    pub fn turns(&self) -> Vec<Turn> {
        let mut turns = vec![];
        if self.call().is_some() || self.rests_until().is_some() {
            turns.push(Turn::Well);
        }
        if turns.is_empty() {
            return turns;
        }
        if self.may_be_agreed_to() {
            turns.push(AGREED);
        }
        if self.left == 0 {
            return turns;
        }
        if let Some(call) = self.call() {
            turns.extend(turn::CLASSES.map(Turn::Fails));
            turns.extend([Turn::AnswerLost, Turn::DiesBefore, Turn::DiesAfter, Turn::DiesAfterAll, Turn::StaysAway]);
            turns.extend(turn::unhoped(call).into_iter().map(Turn::Says));
        }
        turns.extend(self.events().into_iter().map(Turn::Happens));
        turns
    }

    /// Whether somebody is asked who has not answered yet.
    fn may_be_agreed_to(&self) -> bool {
        let asked = matches!(self.scene, Scene::Agreement | Scene::Retrospective);
        asked && self.world.decisions.is_empty() && self.seen.lease.status.request_digest.is_some()
    }

    fn events(&self) -> Vec<Event> {
        let b = || Child::Binding("b".into());
        let mut events = vec![Event::Nothing, Event::Stopped, Event::Widened, Event::Decided("Revoked")];
        if self.world.exists {
            events.push(Event::Deleted);
        }
        if self.world.now < START + 60_000 {
            events.push(Event::TimeIsUp);
        }
        if self.scene != Scene::Secret && self.seen.lease.status.request_digest.is_some() {
            events.push(Event::Decided("Denied"));
        }
        for child in [Child::Account, b(), Child::Secret, Child::Job] {
            match self.world.objects.get(&child) {
                Some((_, true)) => {
                    if self.may_be_overlooked(&child) {
                        events.push(Event::Overlooked(child.clone()));
                    }
                    events.push(Event::Taken(child));
                }
                Some((_, false)) => {}
                None => events.push(Event::Squatted(child)),
            }
        }
        events
    }

    /// What was recorded, or made by this process: of anything else nobody knows before a watch tells again.
    fn may_be_overlooked(&self, child: &Child) -> bool {
        let account = self.seen.memory.account.is_some() && *child == Child::Account;
        let binding = self.world.status.issue_time.is_some() && matches!(child, Child::Binding(_));
        (account || binding) && !self.world.overlooked.contains(child)
    }

    pub fn after(&self, turn: &Turn) -> Self {
        let mut state = self.clone();
        state.world.calls.clear();
        if *turn != Turn::Well && *turn != AGREED {
            state.left -= 1;
        }
        match turn {
            Turn::Well => state.well(),
            Turn::Fails(class) => state.made(|_, _| Self::failed(*class)),
            Turn::AnswerLost => state.made(|world, call| {
                world.apply(call);
                Self::failed(Class::Transient)
            }),
            Turn::Says(unhoped) => state.made(|world, call| turn::answer(*unhoped, call, world)),
            Turn::DiesBefore => state.die(),
            Turn::DiesAfter => {
                let call = self.call().expect("a process dies at a call").clone();
                state.world.apply(&call);
                state.die();
            }
            Turn::DiesAfterAll => {
                state.apply_all();
                state.die();
            }
            Turn::StaysAway => {
                state.apply_all();
                state.world.objects.retain(|child, (_, ours)| !*ours || !matches!(child, Child::Job | Child::Account));
                let deadline = state.seen.deadline().map_or(START + 60_000, Time::as_millis);
                state.world.now = state.world.now.max(deadline);
                state.die();
            }
            Turn::Happens(event) => state.happens(event),
        }
        state
    }

    fn apply_all(&mut self) {
        if let Next::Do(_, calls) = &self.next {
            calls.iter().for_each(|call| _ = self.world.apply(call));
        }
    }

    fn failed(class: Class) -> Answer {
        Answer::Failed(Failure::new(class, "no"))
    }

    fn well(&mut self) {
        if self.call().is_some() {
            return self.made(World::apply);
        }
        self.world.now = self.rests_until().expect("it rests");
        self.visit();
    }

    /// Until when it rests; `None`: for ever.
    fn rests_until(&self) -> Option<i64> {
        let Next::Rest { wishes, backoff } = &self.next else { return None };
        if self.seen.works != self.world.board {
            // The answer of another system wakes the lease.
            return Some(self.world.now);
        }
        let earliest = wishes.iter().map(|(_, at)| at.as_millis()).min();
        let pause = backoff.map(|_| self.world.now + 1000);
        [earliest, pause].into_iter().flatten().min().map(|at| at.max(self.world.now + 1))
    }

    /// The next call is made, and answered.
    fn made(&mut self, answer: impl FnOnce(&mut World, &Call) -> Answer) {
        let Next::Do(lane, mut calls) = std::mem::replace(&mut self.next, Next::Forget) else { return };
        let call = calls.remove(0);
        let answer = answer(&mut self.world, &call);
        if !matches!(answer, Answer::Failed(_)) {
            self.finished.extend(effect(&call, &answer));
        }
        learn(&mut self.seen, call, answer, self.world.now());
        if calls.is_empty() {
            self.decide();
        } else {
            self.next = Next::Do(lane, calls);
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Nothing => {}
            Event::Deleted => self.world.exists = false,
            Event::Stopped => self.world.lifecycle.as_mut().unwrap()["stopPolicy"] = "HoldAndRevoke".into(),
            Event::Decided(what) => self.decided(what),
            Event::Taken(child) => {
                self.world.objects.remove(child);
                self.finished.remove(&format!("create {child:?}"));
            }
            Event::Overlooked(child) => {
                self.world.overlooked.insert(child.clone());
                self.finished.remove(&format!("create {child:?}"));
            }
            Event::Squatted(child) => {
                self.world.objects.insert(child.clone(), (turn::strangers(child), false));
                self.strangers.insert(child.clone());
            }
            Event::Widened => self.world.rules = vec![rule(&["*"])],
            Event::TimeIsUp => self.world.now = START + 60_000,
        }
        self.visit();
    }

    fn decided(&mut self, what: &'static str) {
        let mut spec = json!({
            "leaseRef": {"name": "lease", "uid": uid().to_string()}, "lifecycleRef": {"name": "lc"}, "requester": "ci",
            "decision": what, "reason": "because", "decidedBy": {"username": "alice"},
        });
        if what == "Approved" {
            spec["requestDigest"] = json!(self.world.status.request_digest);
        }
        self.world.decisions.push(DecisionSeen {
            uid: format!("alice-{what}"),
            name: "by-alice".into(),
            created: self.world.now(),
            spec: serde_json::from_value(spec).unwrap(),
        });
    }

    /// Whether the lease has ended, by what is true and not by what the process knows.
    pub fn is_over(&self) -> bool {
        let deadline = self.seen.deadline().is_some_and(|at: Time| at <= self.world.now());
        !self.world.exists || self.world.status.end_time.is_some() || deadline
    }

    pub fn is_final(&self) -> bool {
        self.world.status.phase.is_some_and(Phase::is_final)
    }

    /// What tells states apart. The history says how a state was reached, and decides nothing.
    pub fn key(&self) -> u64 {
        let (world, seen) = (&self.world, &self.seen);
        let mut status = world.status.clone();
        status.history = None;
        let known = (seen.lease.status == world.status, seen.lease.presence);
        let mut key = Key(DefaultHasher::new());
        let decided: Vec<_> = world.decisions.iter().map(|d| (&d.uid, d.created)).collect();
        _ = write!(
            key,
            "{} {} {:?} {:?} {:?} {status:?} {known:?} {decided:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            world.now,
            world.exists,
            world.objects,
            world.overlooked,
            world.tokens,
            world.lifecycle.as_ref().map(|l| &l["stopPolicy"]),
            world.rules,
            world.board,
            world.called,
            seen.children,
            seen.memory,
            seen.learned,
            seen.works,
            self.next,
            self.finished,
            self.left,
        );
        key.0.finish()
    }
}

/// What a call that was answered has brought about, as far as it may not be brought about again.
pub fn effect(call: &Call, answer: &Answer) -> Option<String> {
    let once = |call: &Call| Some(format!("once a visit {call:?}"));
    match (call, answer) {
        (Call::Create(child), Answer::Present(_)) => Some(format!("create {child:?}")),
        (Call::Delete { child, id }, _) => Some(format!("delete {child:?} {}", id.uid)),
        (Call::MintToken { account }, _) => Some(format!("mint for {}", account.uid)),
        (Call::Reserve, Answer::Reserved) => Some("reserve".into()),
        (Call::Start { task, tries, document }, _) if task.step != "gate" => {
            Some(format!("start {task:?} {tries} {document}"))
        }
        (Call::CheckAccess | Call::Evaluate | Call::CheckDecider { .. }, _) => once(call),
        _ => None,
    }
}

/// Hashes what is written, without keeping it.
struct Key(DefaultHasher);

impl fmt::Write for Key {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
