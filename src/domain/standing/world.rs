//! A model of everything around one standing credential: its leases, its Secret, and a workload that mounts it.

use super::{
    consumer::{Consumer, Health, Kind, Marks},
    decide::decide,
    learn::learn,
    seen::{Answer, Call, Learned, LeaseFacts, Memory, Next, SecretSeen, Seen, State},
};
use crate::{
    api::{
        Duration, Time,
        standing::{StandingSecret, StandingStatus},
        workflow::Standing,
    },
    domain::{
        call::{Class, Failure},
        observed::ObjectId,
        world::Fault,
    },
};

pub const START: i64 = 1_800_000_000_000;
/// How long issuing takes, and a rollout, in milliseconds.
const ISSUE: i64 = 50;
const ROLLOUT: i64 = 2_000;

/// A lease as the rest of Leasehold would lead it.
#[derive(Clone, Debug)]
pub struct Lease {
    pub name: String,
    pub uid: String,
    created: i64,
    entry: Standing,
    pub issued: Option<i64>,
    pub ended: Option<(i64, &'static str)>,
}

/// A Deployment: its pods run a template until all pods of a newer one are ready.
#[derive(Clone, Debug)]
pub struct Workload {
    pub restartable: bool,
    marks: Marks,
    /// The template that runs, and the lease whose token its pods have read.
    runs: Option<String>,
    pub token: Option<String>,
    changed: i64,
    pub restarts: usize,
}

impl Workload {
    /// As if it had been created after the token was delivered: it runs, and was never restarted.
    pub fn forget_marks(&mut self) {
        self.marks = Marks::default();
        self.runs = None;
    }

    pub fn is_marked(&self) -> bool {
        self.marks.template.is_some()
    }
}

pub struct World {
    pub now: i64,
    pub entry: Option<Standing>,
    pub stopped: bool,
    pub status: Option<StandingStatus>,
    pub leases: Vec<Lease>,
    /// UID, whose token is in it, whether it is ours.
    pub secret: Option<(String, String, bool)>,
    pub workload: Workload,
    /// Pods that read the token of the lease with this number, from 0, never become ready.
    pub sick_of: Vec<usize>,
    /// The lease with this number is refused.
    pub refused: Vec<usize>,
    pub calls: Vec<Call>,
    pub faults: Vec<(usize, Fault)>,
    /// Nothing is restarted.
    pub unwilling: bool,
    pub memory: Memory,
    /// The most leases that were alive at once.
    pub most: usize,
    failures: u32,
}

fn entry(ttl: i64) -> Standing {
    Standing { name: "agent".into(), grants: vec!["read".into()], secret: "held".into(), ttl: Duration::from_secs(ttl) }
}

impl World {
    pub fn new() -> Self {
        Self {
            now: START,
            entry: Some(entry(900)),
            stopped: false,
            status: None,
            leases: vec![],
            secret: None,
            workload: Workload {
                restartable: true,
                marks: Marks::default(),
                runs: None,
                token: None,
                changed: START,
                restarts: 0,
            },
            sick_of: vec![],
            refused: vec![],
            calls: vec![],
            faults: vec![],
            unwilling: false,
            memory: Memory::default(),
            most: 0,
            failures: 0,
        }
    }

    pub fn lengthen(&mut self) {
        self.entry = Some(entry(1800));
    }

    pub fn alive(&self) -> Vec<&Lease> {
        self.leases.iter().filter(|lease| lease.issued.is_some() && lease.ended.is_none()).collect()
    }

    pub fn phase(&self) -> Option<crate::api::standing::StandingPhase> {
        self.status.as_ref().map(|status| status.phase)
    }

    /// The number of the lease whose token the pods that run have.
    pub fn held_by_pods(&self) -> Option<usize> {
        let token = self.workload.token.as_ref()?;
        self.leases.iter().position(|lease| lease.name == *token)
    }

    /// What happens by itself up to now.
    fn settle(&mut self) {
        for number in 0..self.leases.len() {
            let named = {
                let lease = &self.leases[number];
                self.status.as_ref().is_some_and(|status| status.names(&lease.name, &lease.uid))
            };
            let given_up = |world: &Self| {
                let status = world.status.as_ref().and_then(|status| status.rolled_back.clone());
                status.is_some_and(|lease| lease.name == world.leases[number].name)
            };
            let reason = if given_up(self) { "RolledBack" } else { "Superseded" };
            let (now, refused, declared) =
                (self.now, self.refused.contains(&number), self.entry.as_ref() == Some(&self.leases[number].entry));
            let lease = &mut self.leases[number];
            if lease.ended.is_some() {
                continue;
            }
            match lease.issued {
                None if refused || !named || !declared => lease.ended = Some((now, "Denied")),
                None if now >= lease.created + ISSUE => lease.issued = Some(lease.created + ISSUE),
                None => {}
                Some(_) if !named => lease.ended = Some((now, reason)),
                Some(at) if now >= at + lease.entry.ttl.as_secs() * 1000 => lease.ended = Some((now, "Expired")),
                Some(_) => {}
            }
        }
        self.most = self.most.max(self.alive().len());
        let Some((_, token, true)) = &self.secret else { return };
        let sick = self.leases.iter().position(|l| l.name == *token).is_some_and(|n| self.sick_of.contains(&n));
        let workload = &mut self.workload;
        if workload.runs == workload.marks.template && workload.token.is_some() {
            return;
        }
        if !sick && self.now >= workload.changed + ROLLOUT {
            workload.runs.clone_from(&workload.marks.template);
            workload.token = Some(token.clone());
        }
    }

    fn facts(&self, lease: &Lease) -> LeaseFacts {
        let expires = |at: i64| Time::from_millis(at).plus(lease.entry.ttl);
        let state = match (lease.issued, lease.ended) {
            (_, Some(_)) => State::Ended,
            (None, None) => State::Waiting,
            (Some(at), None) => State::Active {
                account: ObjectId { namespace: "i".into(), name: lease.name.clone(), uid: lease.uid.clone() },
                issued: Time::from_millis(at),
                expires: expires(at),
            },
        };
        LeaseFacts {
            name: lease.name.clone(),
            uid: lease.uid.clone(),
            live: matches!(state, State::Active { .. }),
            state,
            grants: lease.entry.grants.clone(),
            ttl: Some(lease.entry.ttl),
            works_in: "ns".into(),
            message: lease.ended.map_or("", |(_, why)| why).into(),
        }
    }

    pub fn seen(&self) -> Seen {
        Seen {
            lifecycle_uid: "lifecycle".into(),
            name: "agent".into(),
            entry: self.entry.clone(),
            not_leasable: self.stopped.then(|| "it is stopped".to_owned()),
            status: self.status.clone(),
            leases: self.leases.iter().map(|lease| self.facts(lease)).collect(),
            memory: self.memory.clone(),
            learned: Learned::default(),
        }
    }

    fn consumer(&self) -> Consumer {
        let healthy = self.workload.runs == self.workload.marks.template && self.workload.token.is_some();
        Consumer {
            kind: Kind::Deployment,
            name: "web".into(),
            uid: "w".into(),
            resource_version: String::new(),
            restartable: self.workload.restartable,
            marks: self.workload.marks.clone(),
            health: if healthy { Health::Healthy } else { Health::Rolling("pods are not ready".into()) },
            patience_seconds: 120,
        }
    }

    fn apply(&mut self, call: &Call) -> Answer {
        match call {
            Call::CreateLease { name } => {
                if !self.leases.iter().any(|lease| lease.name == *name) {
                    let uid = format!("u{}", self.leases.len());
                    let entry = self.entry.clone().expect("asked for only while it is declared");
                    self.leases.push(Lease {
                        name: name.clone(),
                        uid,
                        created: self.now,
                        entry,
                        issued: None,
                        ended: None,
                    });
                }
                let lease = self.leases.iter().find(|lease| lease.name == *name).map(|lease| self.facts(lease));
                Answer::Lease(lease)
            }
            Call::ReadLease { name } => {
                Answer::Lease(self.leases.iter().find(|lease| lease.name == *name).map(|lease| self.facts(lease)))
            }
            Call::LookAtSecret { .. } => Answer::Secret(match &self.secret {
                None => SecretSeen::Absent,
                Some((_, _, false)) => SecretSeen::Stranger,
                Some((uid, lease, true)) => SecretSeen::Ours { uid: uid.clone(), lease: Some(lease.clone()) },
            }),
            Call::Deliver { secret, lease } => {
                if !self.alive().iter().any(|alive| alive.uid == lease.uid) {
                    return Answer::Failed(Failure::new(Class::Conflict, "the account is gone"));
                }
                let uid = match &self.secret {
                    Some((_, _, false)) => return Answer::Secret(SecretSeen::Stranger),
                    Some((uid, _, true)) => uid.clone(),
                    None => format!("s{}", self.calls.len()),
                };
                self.secret = Some((uid.clone(), lease.name.clone(), true));
                let State::Active { expires, .. } = lease.state else { panic!("only an active lease has a token") };
                Answer::Delivered(StandingSecret {
                    name: secret.clone(),
                    uid: Some(uid),
                    lease: Some(lease.name.clone()),
                    write_time: Some(Time::from_millis(self.now)),
                    token_expiration_time: Some(expires),
                })
            }
            Call::DeleteSecret { uid, .. } => {
                self.secret = self.secret.take().filter(|(there, _, _)| there != uid);
                Answer::Done
            }
            Call::ListConsumers { .. } => Answer::Consumers(Some(vec![self.consumer()])),
            Call::Restart { .. } if self.unwilling => Answer::Failed(Failure::new(Class::Forbidden, "no")),
            Call::Restart { marks, .. } => {
                if self.workload.marks.template != marks.template {
                    self.workload.changed = self.now;
                    self.workload.restarts += 1;
                }
                self.workload.marks = marks.clone();
                Answer::Done
            }
            Call::Write(status) => {
                self.status = status.as_deref().cloned();
                Answer::Done
            }
        }
    }

    /// Performs a call with the fault that is due; `None`: the process has died.
    fn perform(&mut self, call: &Call) -> Option<Answer> {
        self.calls.push(call.clone());
        let number = self.calls.len();
        let due = self.faults.iter().position(|(at, _)| *at == number).map(|at| self.faults.remove(at).1);
        let lost = || Answer::Failed(Failure::new(Class::Transient, "no"));
        match due {
            None => Some(self.apply(call)),
            Some(Fault::CrashBefore) => None,
            Some(Fault::CrashAfter) => {
                self.apply(call);
                None
            }
            Some(Fault::Error) => Some(lost()),
            Some(Fault::Timeout) => {
                self.apply(call);
                Some(lost())
            }
        }
    }

    /// Visits and lets time pass until then. `watch` looks after every call and every step of time.
    pub fn run(&mut self, until: i64, watch: impl Fn(&Self)) {
        while self.now < until {
            self.settle();
            watch(self);
            let mut seen = self.seen();
            let at = loop {
                match decide(&seen, Time::from_millis(self.now)) {
                    Next::Rest { at, failed } => {
                        self.memory = seen.memory;
                        self.failures = if failed { self.failures + 1 } else { 0 };
                        let pause = if failed { Some(self.now + 500) } else { None };
                        break [at.map(Time::as_millis), pause].into_iter().flatten().min();
                    }
                    Next::Do(call) => {
                        let answer = self.perform(&call);
                        self.settle();
                        watch(self);
                        match answer {
                            None => {
                                self.memory = Memory::default();
                                seen = self.seen();
                            }
                            Some(answer) => {
                                learn(&mut seen, call, answer, Time::from_millis(self.now));
                                seen.leases = self.leases.iter().map(|lease| self.facts(lease)).collect();
                            }
                        }
                    }
                }
                assert!(self.calls.len() < 3000, "it does not come to rest: {:?}", self.calls.last());
            };
            let step = self.now
                + if self.leases.iter().any(|l| l.issued.is_none() && l.ended.is_none()) { ISSUE } else { 1000 };
            self.now = at.unwrap_or(step).clamp(self.now + 1, step);
        }
        self.settle();
    }

    pub fn run_for(&mut self, seconds: i64) {
        self.run(self.now + seconds * 1000, |_| {});
    }
}
