//! A model of the API server for the tests of decisions: just enough to hold the truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::json;

use super::{
    agenda::Lane,
    call::{Answer, Call, Class, Failure, Next},
    decide::{belongs, decide},
    ending,
    guards::PolicySeen,
    learn::learn,
    observed::{
        self, Child, DeciderSeen, DecisionSeen, Enforcement, Known, Learned, LeaseSeen, LifecycleFacts, LifecycleSeen,
        Memory, ObjectId, Observed, Presence, RoleSeen, Settings, TokenFacts,
    },
    outcome::Outcome,
    steps::{Part, Task, Work, WorkState, Works},
    task::TaskSeen,
    workflow::Systems,
};
use crate::api::{
    CredentialLeaseSpec, Time,
    names::{self, LeaseUid},
    standing::StandingStatus,
    status::{CredentialLeaseStatus, PolicyRule},
    workflow::StepTime,
};

/// When the lease of every test is created.
pub const START: i64 = 1_800_000_000_000;

/// Which calls.
type Which = fn(&Call) -> bool;

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the call reaches the server.
    CrashBefore,
    /// The process dies after the call was carried out.
    CrashAfter,
    /// The server fails and nothing was done.
    Error,
    /// It was done, and the answer never comes.
    Timeout,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::CrashBefore, Self::CrashAfter, Self::Error, Self::Timeout];
}

#[cfg(test)]
pub fn active(world: &World) -> bool {
    world.status.phase == Some(crate::api::reasons::Phase::Active)
}

#[cfg(test)]
pub fn at_rest(world: &World) -> bool {
    world.status.phase.is_some_and(crate::api::reasons::Phase::is_final)
}

/// The truth.
#[derive(Clone)]
pub struct World {
    pub now: i64,
    pub delivery: &'static str,
    /// What the lease says, if not what the model has it say.
    pub spec: Option<CredentialLeaseSpec>,
    /// What the lease asks for; `None`: nothing.
    pub ttl: Option<&'static str>,
    /// How long the API server lets a token live, in milliseconds.
    pub token_millis: i64,
    pub exists: bool,
    pub version: u64,
    pub status: CredentialLeaseStatus,
    pub lifecycle: Option<serde_json::Value>,
    pub lifecycle_uid: String,
    /// Whether the watch has the lifecycle; a GET always finds it.
    pub lifecycle_watched: bool,
    /// What the lease says it was made for: a standing credential of this name.
    pub standing_ref: Option<&'static str>,
    /// What the watch has of the lifecycle's status; a GET answers `standing_now`, where that is set.
    pub standing: Vec<StandingStatus>,
    pub standing_now: Option<Vec<StandingStatus>>,
    pub rules: Vec<PolicyRule>,
    /// What a GET of the role answers from now on, where it differs from what a watch has.
    pub rules_now: Option<Vec<PolicyRule>>,
    /// Whether the watches have the roles; a GET always finds them.
    pub roles_watched: bool,
    /// For whom the tokens are; nobody named: for the API server, `api`.
    pub audiences: Vec<&'static str>,
    pub may_lease: bool,
    /// Seconds before the lease is issued; `None`: as soon as it is agreed.
    pub not_before: Option<i64>,
    pub decisions: Vec<DecisionSeen>,
    /// What the authorizer says about each who decided, by name; absent: he may, and could not act as the requester.
    pub deciders: BTreeMap<String, DeciderSeen>,
    pub policies: Vec<Arc<PolicySeen>>,
    pub unproven_until: Option<i64>,
    pub objects: BTreeMap<Child, (ObjectId, bool)>,
    /// Objects that are there and that the watches lack, until an answer tells of them.
    pub overlooked: BTreeSet<Child>,
    /// The account's UID in each token that was minted.
    pub tokens: Vec<String>,
    pub calls: Vec<Call>,
    pub faults: Vec<(usize, Fault)>,
    /// These calls always fail like this.
    pub broken: Vec<(Which, Class)>,
    /// The connected systems.
    pub systems: Systems,
    /// What this process knows of its calls.
    pub board: Works,
    /// How each call of a step is answered: what is left of it, in order; then it is done.
    pub answers: BTreeMap<Task, Vec<Outcome>>,
    /// Every call that reached another system, in order.
    pub called: Vec<Task>,
    /// What the completionRef names, if the lease has one.
    pub task: TaskSeen,
    pub completion: bool,
    next_uid: u32,
}

pub fn rule(verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        api_groups: vec![String::new()],
        resources: vec!["configmaps".into()],
        ..PolicyRule::default()
    }
}

/// What is seen of the lifecycle, to be changed.
pub fn facts(seen: &mut Observed) -> &mut LifecycleFacts {
    match &mut seen.lifecycle {
        LifecycleSeen::Present(facts) => facts,
        other => panic!("there is a lifecycle: {other:?}"),
    }
}

pub fn uid() -> LeaseUid {
    LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000000").unwrap()
}

impl World {
    pub fn new(delivery: &'static str) -> Self {
        Self {
            now: START,
            delivery,
            spec: None,
            ttl: Some("60s"),
            token_millis: 600_000,
            exists: true,
            version: 1,
            status: CredentialLeaseStatus::default(),
            lifecycle: Some(json!({
                "owner": {"team": "t", "contact": "c"}, "purpose": "p", "class": "Workload",
                "grants": [
                    {"name": "a", "roleRef": {"kind": "Role", "name": "reader"}},
                    {"name": "b", "roleRef": {"kind": "Role", "name": "reader"}}],
                "terms": {"ttl": {"max": "1h"}, "delivery": ["TokenRequest", "Secret"], "approval": {"type": "NotRequired"}},
            })),
            lifecycle_uid: "lifecycle".into(),
            lifecycle_watched: true,
            standing_ref: None,
            standing: vec![],
            standing_now: None,
            rules: vec![rule(&["get"])],
            rules_now: None,
            roles_watched: true,
            audiences: vec![],
            may_lease: true,
            not_before: None,
            decisions: vec![],
            deciders: BTreeMap::new(),
            policies: vec![],
            unproven_until: None,
            objects: BTreeMap::new(),
            overlooked: BTreeSet::new(),
            tokens: vec![],
            calls: vec![],
            faults: vec![],
            broken: vec![],
            systems: Systems::new(),
            board: Works::new(),
            answers: BTreeMap::new(),
            called: vec![],
            task: TaskSeen::None,
            completion: false,
            next_uid: 0,
        }
    }

    /// The terms ask for this approval.
    pub fn asking(mut self, approval: serde_json::Value) -> Self {
        if let Some(lifecycle) = &mut self.lifecycle {
            lifecycle["terms"]["approval"] = approval;
        }
        self
    }

    pub fn now(&self) -> Time {
        Time::from_millis(self.now)
    }

    /// How many tokens an API server would accept.
    pub fn live_tokens(&self) -> usize {
        let account = self.objects.get(&Child::Account).map(|(id, _)| id.uid.as_str());
        self.tokens.iter().filter(|uid| Some(uid.as_str()) == account).count()
    }

    /// Objects of ours that are there.
    pub fn ours(&self) -> Vec<&Child> {
        self.objects.iter().filter(|(_, (_, ours))| *ours).map(|(child, _)| child).collect()
    }

    fn role(&self, fresh: bool) -> RoleSeen {
        let rules = self.rules_now.as_ref().filter(|_| fresh).unwrap_or(&self.rules);
        RoleSeen { uid: "role".into(), rules: rules.clone() }
    }

    /// What a visit sees: the watches, and what the process remembers.
    pub fn observe(&self, memory: &Memory) -> Observed {
        let job = self.completion.then(|| json!({"apiVersion": "batch/v1", "kind": "Job", "name": "job"}));
        let mut spec = json!({
            "lifecycleRef": {"name": "lc"}, "grants": ["a", "b"], "ttl": self.ttl, "reason": "r", "audiences": self.audiences,
            "delivery": {"type": self.delivery}, "completionRef": job,
            "requestedBy": {"username": "ci"},
        });
        if let Some(name) = self.standing_ref {
            spec["standingRef"] = json!({"name": name});
            spec["delivery"] = json!({"type": "Secret", "secret": {"name": "held"}});
            spec["requestedBy"] = json!({"username": names::OPERATOR_USERNAME});
        }
        if let Some(at) = self.not_before {
            spec["notBefore"] = json!(Time::from_millis(START + at * 1000).to_string());
        }
        let lease = LeaseSeen {
            uid: uid(),
            namespace: "ns".into(),
            name: "lease".into(),
            resource_version: self.version.to_string(),
            generation: 1,
            created: Time::from_millis(START),
            presence: if self.exists { Presence::Exists } else { Presence::Gone },
            spec: Some(self.spec.clone().unwrap_or_else(|| serde_json::from_value(spec).unwrap())),
            status: self.status.clone(),
        };
        let watched = |child: &Child| *child != Child::Secret && !self.overlooked.contains(child);
        let seen = self.objects.iter().filter(|(child, (_, ours))| *ours && watched(child));
        let mut children: BTreeMap<Child, Known> =
            seen.map(|(child, (id, _))| (child.clone(), Known::Present(id.clone()))).collect();
        if let Some(secret) = observed::secret_known(&lease, memory, children.contains_key(&Child::Account)) {
            children.insert(Child::Secret, secret);
        }
        let lifecycle = match self.lifecycle.as_ref().filter(|_| self.lifecycle_watched) {
            None => LifecycleSeen::Absent { confirmed: false },
            Some(spec) => LifecycleSeen::Present(Box::new(LifecycleFacts {
                uid: self.lifecycle_uid.clone(),
                deleting: false,
                spec: serde_json::from_value(spec.clone()).unwrap(),
                standing: self.standing.clone(),
                confirmed: false,
            })),
        };
        let mut memory = memory.clone();
        if let Some(Known::Present(id)) = children.get(&Child::Account) {
            memory.account = Some(id.clone());
        }
        Observed {
            lease,
            lifecycle,
            roles: ["a", "b"]
                .iter()
                .filter(|_| self.roles_watched)
                .map(|g| ((*g).to_owned(), self.role(false)))
                .collect(),
            enforcement: Enforcement::Enforced,
            synced: true,
            unproven_until: self.unproven_until.map(|at| Time::from_millis(START + at * 1000)),
            policies: self.policies.clone().into(),
            namespaces: BTreeMap::from([("ns".to_owned(), BTreeMap::new())]),
            decisions: self.decisions.clone(),
            held_by: None,
            api_audiences: vec!["api".into()],
            delivered: 1,
            live: Some((0, 0)),
            children,
            strays: vec![],
            claims: vec![],
            systems: self.systems.clone(),
            works: self.board.clone(),
            task: self.task.clone(),
            memory,
            learned: Learned::default(),
            failed_before: false,
            settings: Settings { retention_millis: 1_000_000_000, require_policy: false },
        }
    }

    /// What is seen once the authorizer has answered about everybody.
    fn observe_with_deciders(&self) -> Observed {
        let mut seen = self.observe(&Memory::default());
        for decision in &self.decisions {
            let by = &decision.spec.decided_by.username;
            let may = DeciderSeen { may: true, acts_as_requester: false };
            seen.learned.deciders.insert(decision.uid.clone(), self.deciders.get(by).copied().unwrap_or(may));
        }
        seen
    }

    fn id(&mut self, name: String) -> ObjectId {
        self.next_uid += 1;
        ObjectId { namespace: "ns".into(), name, uid: format!("u{}", self.next_uid) }
    }

    fn create(&mut self, child: &Child) -> Answer {
        self.overlooked.remove(child);
        if let Some((id, ours)) = self.objects.get(child) {
            return if *ours { Answer::Present(id.clone()) } else { Answer::Stranger };
        }
        let name = match child {
            Child::Account => {
                // As `render` does, from what is known when it is made.
                let deadline = self.observe_with_deciders().deadline().expect("agreed before it is made");
                names::account("ns", "lc", &uid(), deadline.as_millis() / 1000)
            }
            _ => format!("{child:?}"),
        };
        let id = self.id(name);
        self.objects.insert(child.clone(), (id.clone(), true));
        Answer::Present(id)
    }

    /// Another system is called: its answer is there at the next look.
    fn start(&mut self, task: Task, tries: i32, document: String) -> Answer {
        let written = self.objects.contains_key(&Child::Ledger);
        let begun = self.status.steps.iter().find(|s| s.name == task.step).expect("recorded before it is made");
        if begun.at == StepTime::Issue && task.part == Part::Do {
            assert!(written, "a step is called before it is written down how to take it back");
            assert_eq!(begun.tries, tries, "a try is made that was not recorded");
        }
        self.called.push(task.clone());
        let scripted = self.answers.get_mut(&task).filter(|left| !left.is_empty()).map(|left| left.remove(0));
        let outcome = scripted.unwrap_or(Outcome::Done);
        let calls =
            self.board.get(&task).filter(|w| w.tries == tries && w.document == document).map_or(1, |w| w.calls + 1);
        let state = WorkState::Answered { outcome, at: self.now() };
        self.board.insert(task, Work { document, tries, calls, state });
        Answer::Started
    }

    fn failed(class: Class) -> Answer {
        Answer::Failed(Failure { class, message: "no".into(), retry_after: None })
    }

    /// Carries a call out.
    pub fn apply(&mut self, call: &Call) -> Answer {
        match call {
            Call::CheckAccess => Answer::Access(self.may_lease),
            Call::CheckDecider { decision } => {
                let by = self.decisions.iter().find(|d| d.uid == *decision).map(|d| d.spec.decided_by.username.clone());
                let may = DeciderSeen { may: true, acts_as_requester: false };
                Answer::Decider(by.and_then(|by| self.deciders.get(&by)).copied().unwrap_or(may))
            }
            Call::Start { task, tries, document } => self.start(task.clone(), *tries, document.clone()),
            Call::ReadNamespace { .. } => Answer::Namespace(Some(BTreeMap::new())),
            Call::Evaluate => Answer::Validated(vec![]),
            Call::Reserve => Answer::Reserved,
            Call::ReadLifecycle => Answer::Lifecycle(self.lifecycle.as_ref().map(|spec| {
                let metadata = json!({"name": "lc", "namespace": "ns", "uid": self.lifecycle_uid});
                let status = json!({"standing": self.standing_now.as_ref().unwrap_or(&self.standing)});
                let object = json!({"apiVersion": "leasehold.dev/v1alpha1", "kind": "ServiceAccountLifecycle", "metadata": metadata, "spec": spec, "status": status});
                Box::new(serde_json::from_value(object).unwrap())
            })),
            Call::ReadRole { .. } => Answer::Role(Some(self.role(true))),
            Call::Create(child) => self.create(child),
            Call::Find(child) => match self.objects.get(child) {
                None => Answer::Absent,
                Some((id, true)) => Answer::Present(id.clone()),
                Some((_, false)) => Answer::Stranger,
            },
            Call::Confirm { child, id } => match self.objects.get(child) {
                Some((there, _)) if there.uid == id.uid => {
                    self.overlooked.remove(child);
                    Answer::Present(id.clone())
                }
                _ => Answer::Absent,
            },
            Call::MintToken { account } => match self.objects.get(&Child::Account) {
                Some((id, true)) if id.uid == account.uid => {
                    self.tokens.push(id.uid.clone());
                    Answer::Token(TokenFacts { credential_id: None, expires: Time::from_millis(self.now + self.token_millis) })
                }
                _ => Self::failed(Class::Conflict),
            },
            Call::ReviewToken => Answer::Reviewed(self.live_tokens() > 0),
            Call::Delete { child, id } => {
                if self.objects.get(child).is_some_and(|(there, _)| there.uid == id.uid) {
                    self.objects.remove(child);
                }
                Answer::Done
            }
            Call::WriteStatus(status) if self.exists => {
                self.status = (**status).clone();
                self.version += 1;
                Answer::Written(self.version.to_string())
            }
            Call::WriteStatus(_) => Self::failed(Class::Conflict),
            Call::Record(status) => {
                self.status = (**status).clone();
                Answer::Done
            }
            Call::Inspect { .. } => Answer::Stranger,
            Call::ConfirmGone => Answer::Absent,
            Call::DeleteLease => {
                self.exists = false;
                Answer::Done
            }
        }
    }

    /// Performs a call with the fault that is due; `None`: the process has died.
    fn perform(&mut self, call: &Call) -> Option<Answer> {
        self.calls.push(call.clone());
        if let Some((_, class)) = self.broken.iter().find(|(is, _)| is(call)) {
            return Some(Self::failed(*class));
        }
        let number = self.calls.len();
        let due = self.faults.iter().position(|(at, _)| *at == number).map(|at| self.faults.remove(at).1);
        match due {
            None => Some(self.apply(call)),
            Some(Fault::CrashBefore) => None,
            Some(Fault::CrashAfter) => {
                self.apply(call);
                None
            }
            Some(Fault::Error) => Some(Self::failed(Class::Transient)),
            Some(Fault::Timeout) => {
                self.apply(call);
                Some(Self::failed(Class::Transient))
            }
        }
    }

    /// Visits until `done`, or until nothing is left to do; at each call the invariants are checked.
    pub fn run(&mut self, memory: &mut Memory, done: impl Fn(&Self) -> bool) {
        let mut seen = self.observe(memory);
        for _ in 0..400 {
            if done(self) {
                *memory = seen.memory;
                return;
            }
            ending::settle(&mut seen, self.now());
            match decide(&seen, self.now()) {
                Next::Do(_, calls) => {
                    for call in calls {
                        let Some(answer) = self.perform(&call) else {
                            *memory = Memory::default();
                            self.board.clear();
                            seen = self.observe(memory);
                            break;
                        };
                        learn(&mut seen, call, answer, self.now());
                    }
                }
                Next::Rest { backoff, .. } if seen.works != self.board => {
                    // An answer of another system wakes the lease.
                    seen = self.observe(&seen.memory);
                    seen.failed_before = backoff.is_some();
                }
                Next::Rest { wishes, backoff } => {
                    let earliest = wishes.iter().map(|(_, at)| at.as_millis()).min();
                    let pause = backoff.map(|_: Lane| self.now + 1000);
                    let Some(at) = [earliest, pause].into_iter().flatten().min() else {
                        *memory = seen.memory;
                        return;
                    };
                    self.now = at.max(self.now + 1);
                    seen = self.observe(&seen.memory);
                    seen.failed_before = backoff.is_some();
                }
                Next::Forget => {
                    *memory = seen.memory;
                    return;
                }
            }
            self.check();
        }
        panic!("did not settle: {:?}", self.calls.iter().rev().take(12).collect::<Vec<_>>());
    }

    /// Visits lane after lane, as the engine does, until the lease rests; how many visits that took.
    pub fn visits(&mut self, memory: &mut Memory, mut lane: Lane) -> usize {
        for visit in 1..100 {
            let mut seen = self.observe(memory);
            loop {
                ending::settle(&mut seen, self.now());
                match decide(&seen, self.now()) {
                    Next::Do(work, _) if !belongs(&seen, work, lane) => {
                        lane = work;
                        break;
                    }
                    Next::Do(_, calls) => {
                        for call in calls {
                            let answer = self.perform(&call).expect("nothing dies here");
                            learn(&mut seen, call, answer, self.now());
                        }
                    }
                    _ => return visit,
                }
            }
            *memory = seen.memory;
        }
        panic!("the lanes send each other there: {} calls", self.calls.len());
    }

    /// What must hold after every single call.
    pub fn check(&self) {
        let revoked = self.status.credential.as_ref().is_some_and(|c| c.evidence.is_some());
        assert!(!revoked || self.live_tokens() == 0, "said to be revoked while a token lives");
        // How to take the workflow back stays until it is.
        let left: Vec<&Child> = self.ours().into_iter().filter(|child| **child != Child::Ledger).collect();
        assert!(self.status.phase.is_none_or(|p| !p.is_final()) || left.is_empty(), "final, and still there: {left:?}",);
    }
}
