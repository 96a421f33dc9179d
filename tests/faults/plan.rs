//! What is done to which call of which flow.

use std::{collections::BTreeMap, fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The life of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub delivery: &'static str,
    pub terms: Terms,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Terms {
    Plain,
    /// Somebody has to agree first.
    Agreed,
    /// The grant is for another namespace.
    Cross,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Deleted,
    Revoked,
}

impl Flow {
    pub const ALL: [Self; 6] = [
        Self { delivery: "TokenRequest", terms: Terms::Plain, end: End::Deleted },
        Self { delivery: "TokenRequest", terms: Terms::Plain, end: End::Revoked },
        Self { delivery: "Secret", terms: Terms::Plain, end: End::Deleted },
        Self { delivery: "Secret", terms: Terms::Plain, end: End::Revoked },
        Self { delivery: "TokenRequest", terms: Terms::Agreed, end: End::Revoked },
        Self { delivery: "TokenRequest", terms: Terms::Cross, end: End::Deleted },
    ];

    /// The lifecycle that is leased.
    pub fn lifecycle(self) -> &'static str {
        match self.terms {
            Terms::Plain => "plain",
            Terms::Agreed => "agreed",
            Terms::Cross => "cross",
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:?}", self.delivery, self.lifecycle(), self.end)
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The operator is killed; the call never reaches the API server.
    CrashBefore,
    /// The call is carried out, then the operator is killed before the answer.
    CrashAfter,
    /// The call is lost, the connection reset.
    DropBefore,
    /// The call is carried out, its answer lost, the connection reset.
    DropAfter,
    /// No byte until the operator gives up; not carried out.
    Hang,
    /// Late, but within the operator's deadline.
    Delay,
    /// Carried out, and no byte of an answer until the operator gives up.
    Mute,
    /// Answered with this code; not carried out.
    Answer(u16),
    /// The lease is ended while the call is held.
    EndBefore,
    /// The lease is ended after the call was carried out, before its answer.
    EndAfter,
}

impl Fault {
    pub fn crashes(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }

    /// Whether the operator may rightly give up issuing: the API server refuses for good.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Answer(403 | 404 | 422))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(code) => write!(f, "{code}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Which call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// The n-th call of this name.
    Call(String, u32),
    /// The n-th call of the lease since the fault before.
    Nth(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trap {
    pub at: Moment,
    pub fault: Fault,
}

/// What is done to all watches while the flow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weather {
    Fair,
    /// Every event comes so many milliseconds late.
    Late(u64),
    /// Every watch breaks off about once a second.
    Cut,
    /// Every watch breaks off, and is answered 410 when it is opened again.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plan {
    pub flow: Flow,
    /// One after the other.
    pub traps: Vec<Trap>,
    pub weather: Weather,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.flow)?;
        for trap in &self.traps {
            match &trap.at {
                Moment::Call(key, n) => write!(f, "/{key}#{n}/{}", trap.fault)?,
                Moment::Nth(n) => write!(f, "/then#{n}/{}", trap.fault)?,
            }
        }
        if self.weather == Weather::Fair { Ok(()) } else { write!(f, "/watches-{:?}", self.weather) }
    }
}

/// When in the life of a lease a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Issue,
    End,
    Proof,
}

/// The calls of an undisturbed flow: how often each is made, and the stage of each.
#[derive(Debug, Clone, Default)]
pub struct Course {
    pub calls: BTreeMap<String, Vec<Stage>>,
}

/// How many faults, the first of them, and the weather.
type Kind = (usize, Option<Fault>, Weather);
/// The weather, how many crashes, and whether they come after the end.
type Group = (Weather, usize, bool);

/// Every plan there is, and how many were left out for which reason.
#[derive(Debug, Default)]
pub struct Plans {
    pub all: Vec<(Stage, Plan)>,
    pub pruned: BTreeMap<&'static str, usize>,
}

/// How late an event can be.
const LATE: [u64; 3] = [100, 1000, 4000];
/// How far into the recovery the second crash goes.
const SECOND: std::ops::RangeInclusive<u32> = 1..=6;

impl Plans {
    pub fn of(courses: &BTreeMap<Flow, Course>) -> Self {
        let mut plans = Self::default();
        for (flow, course) in courses {
            for (key, stages) in &course.calls {
                for (n, stage) in (1..).zip(stages) {
                    plans.at(*flow, key, n, *stage);
                }
            }
            let weathers = LATE.into_iter().map(Weather::Late).chain([Weather::Cut, Weather::Gone]);
            plans.all.extend(weathers.map(|weather| (Stage::Issue, Plan { flow: *flow, traps: vec![], weather })));
        }
        plans
    }

    fn at(&mut self, flow: Flow, key: &str, n: u32, stage: Stage) {
        use Fault::{Answer, CrashAfter, CrashBefore, Delay, DropAfter, DropBefore, EndAfter, EndBefore, Hang, Mute};
        let at = |fault| Trap { at: Moment::Call(key.to_owned(), n), fault };
        let every = [CrashBefore, CrashAfter, DropBefore, DropAfter, Hang, Delay, Mute].into_iter();
        let answers = [403, 404, 409, 422, 429, 500, 503].map(Answer);
        for fault in every.chain(answers).chain([EndBefore, EndAfter]) {
            if let Some(why) = pruned(key, stage, fault) {
                *self.pruned.entry(why).or_default() += 1;
                continue;
            }
            let traps = vec![at(fault)];
            self.all.push((stage, Plan { flow, traps, weather: Weather::Fair }));
            if !fault.crashes() {
                continue;
            }
            for second in SECOND {
                for again in [CrashBefore, CrashAfter] {
                    let traps = vec![at(fault), Trap { at: Moment::Nth(second), fault: again }];
                    self.all.push((stage, Plan { flow, traps, weather: Weather::Fair }));
                }
            }
        }
    }

    /// So many, evenly: kind of fault by kind of fault, and within each flow by flow, call by call.
    pub fn sample(&self, seed: u64, wanted: usize) -> Vec<(Stage, Plan)> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut kinds: BTreeMap<Kind, Vec<&(Stage, Plan)>> = BTreeMap::new();
        for plan in &self.all {
            let kind = (plan.1.traps.len(), plan.1.traps.first().map(|t| t.fault), plan.1.weather);
            kinds.entry(kind).or_default().push(plan);
        }
        for plans in kinds.values_mut() {
            for i in (1..plans.len()).rev() {
                plans.swap(i, rng.random_range(0..=i));
            }
        }
        let mut taken = vec![];
        while taken.len() < wanted.min(self.all.len()) {
            for plans in kinds.values_mut() {
                taken.extend(plans.pop().cloned());
            }
        }
        taken.truncate(wanted);
        taken
    }
}

/// Why a fault is not tried at a call; `None` if it is.
fn pruned(key: &str, stage: Stage, fault: Fault) -> Option<&'static str> {
    let (verb, what) = key.split_once(' ').unwrap_or((key, ""));
    let asks = what.starts_with("subjectaccessreviews") || what.starts_with("tokenreviews");
    let reads = verb == "get" || key.ends_with("?dry");
    match fault {
        Fault::EndBefore | Fault::EndAfter if stage != Stage::Issue => Some("the lease has ended already"),
        _ if what.starts_with("events") && !matches!(fault, Fault::CrashAfter | Fault::Hang | Fault::Answer(500)) => {
            Some("nothing rests on an Event: three kinds of fault stand for all")
        }
        Fault::Answer(404) if verb != "create" => Some("a false \"not found\" is no fault but a lie about the store"),
        Fault::Answer(404 | 409 | 422) if reads || asks => Some("no API server answers a question like that"),
        _ => None,
    }
}

/// Packs plans into rounds of at most `width` that may run side by side: those that kill the operator apart, and in the order of
/// their stages, so that one kill is the crash of many.
pub fn rounds(plans: Vec<(Stage, Plan)>, width: usize) -> Vec<Vec<Plan>> {
    let mut groups: BTreeMap<Group, Vec<(Stage, Plan)>> = BTreeMap::new();
    for (stage, plan) in plans {
        let crashes = plan.traps.iter().filter(|t| t.fault.crashes()).count();
        // What is asked then rests on what this process remembers: an earlier crash of another lease would change the course.
        let proves = crashes > 0 && stage == Stage::Proof;
        groups.entry((plan.weather, crashes, proves)).or_default().push((stage, plan));
    }
    let mut rounds = vec![];
    for mut group in groups.into_values() {
        group.sort_by_key(|(stage, _)| *stage);
        rounds.extend(group.chunks(width).map(|some| some.iter().map(|(_, plan)| plan.clone()).collect()));
    }
    rounds
}

/// How long a call is delayed.
pub const DELAY: Duration = Duration::from_millis(1500);
