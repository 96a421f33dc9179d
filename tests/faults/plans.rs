//! Every plan there is, which are left out and why, a sample that is even, and who runs beside whom.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use anyhow::{Result, bail};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    call,
    fault::{Fault, Weather},
    flow::{End, Flow, Terms},
    plan::{Moment, Plan, Stage, Trap},
};

/// The calls of an undisturbed flow: how often each is made, and the stage of each.
#[derive(Debug, Clone, Default)]
pub struct Course {
    pub calls: BTreeMap<String, Vec<Stage>>,
}

/// How many faults, the first of them, whether it is another system's call, and the weather.
type Kind = (usize, Option<Fault>, bool, Weather);

type ByFlow<'p> = BTreeMap<Flow, Vec<&'p (Stage, Plan)>>;

/// Every plan there is, and how many were left out for which reason.
#[derive(Debug, Default)]
pub struct Plans {
    pub all: Vec<(Stage, Plan)>,
    pub pruned: BTreeMap<&'static str, usize>,
}

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
            let foul = |weather| (Stage::Issue, Plan { weather, ..Plan::undisturbed(*flow) });
            plans.all.extend(Weather::FOUL.map(foul));
        }
        plans
    }

    fn at(&mut self, flow: Flow, key: &str, n: u32, stage: Stage) {
        let at = |fault| Trap { at: Moment::Call(key.to_owned(), n), fault };
        for fault in Fault::all() {
            if let Some(why) = pruned(flow, key, stage, fault) {
                *self.pruned.entry(why).or_default() += 1;
                continue;
            }
            let mut plan = |traps, weather| self.all.push((stage, Plan { flow, traps, weather }));
            plan(vec![at(fault)], Weather::Fair);
            if !fault.crashes() {
                continue;
            }
            for second in SECOND {
                for again in [Fault::CrashBefore, Fault::CrashAfter] {
                    let again = Trap { at: Moment::Nth(second), fault: again };
                    plan(vec![at(fault), again], Weather::Fair);
                }
            }
            // Its successor begins with what the store was seconds ago.
            if fault == Fault::CrashAfter {
                plan(vec![at(fault)], Weather::Behind);
            }
        }
    }

    /// Every flow in every weather, since those share a round, but for one that would hold it up: that is in one weather. Then so
    /// many, evenly, kind of fault by kind of fault, and within each flow by flow.
    pub fn sample(&self, seed: u64, wanted: usize) -> Vec<(Stage, Plan)> {
        let mut rng = StdRng::seed_from_u64(seed);
        let slow_in = *Weather::FOUL.choose(&mut rng).unwrap_or(&Weather::Cut);
        let shares = |plan: &Plan| !plan.flow.script().is_slow() || plan.weather == slow_in;
        let untouched = self.all.iter().filter(|(_, plan)| plan.traps.is_empty());
        let mut sample: Vec<(Stage, Plan)> = untouched.filter(|(_, plan)| shares(plan)).cloned().collect();
        let wanted = wanted + sample.len();
        let mut kinds: BTreeMap<Kind, ByFlow<'_>> = BTreeMap::new();
        for found in self.all.iter().filter(|(_, plan)| !plan.traps.is_empty()) {
            kinds.entry(kind(&found.1)).or_default().entry(found.1.flow).or_default().push(found);
        }
        let mut taken: BTreeMap<Flow, usize> = BTreeMap::new();
        for flows in kinds.values_mut() {
            for plans in flows.values_mut() {
                shuffle(plans, &mut rng);
            }
        }
        while sample.len() < wanted && kinds.values().flat_map(BTreeMap::values).any(|plans| !plans.is_empty()) {
            for flows in kinds.values_mut() {
                // Of the flows that have this kind, the one that was taken least so far.
                let left = flows.iter_mut().filter(|(_, plans)| !plans.is_empty());
                let least = left.min_by_key(|(flow, _)| taken.get(flow).copied().unwrap_or_default());
                let Some((flow, plans)) = least else { continue };
                *taken.entry(*flow).or_default() += 1;
                sample.extend(plans.pop().cloned());
            }
        }
        sample.truncate(wanted);
        sample
    }
}

fn kind(plan: &Plan) -> Kind {
    let first = plan.traps.first();
    let elsewhere = first.is_some_and(|t| matches!(&t.at, Moment::Call(key, _) if call::is_of_a_system(key)));
    (plan.traps.len(), first.map(|t| t.fault), elsewhere, plan.weather)
}

/// Why a fault is not tried at a call; `None` if it is.
fn pruned(flow: Flow, key: &str, stage: Stage, fault: Fault) -> Option<&'static str> {
    let (verb, what) = key.split_once(' ').unwrap_or((key, ""));
    let script = flow.script();
    let asks = what.starts_with("subjectaccessreviews") || what.starts_with("tokenreviews");
    let reads = verb == "get" || key.ends_with("?dry");
    match fault {
        Fault::Persists(_) if script.end == End::Time && stage == Stage::Issue => {
            Some("the lease is over before a call is made good that is refused for so long")
        }
        Fault::EndBefore | Fault::EndAfter if !script.is_ended_by_us() => Some("nobody ends it: it ends of itself"),
        Fault::EndBefore | Fault::EndAfter if stage != Stage::Issue => Some("the lease has ended already"),
        Fault::Answer(404 | 409 | 422) if call::is_of_a_system(key) => {
            Some("another system that refuses: 403 stands for all")
        }
        _ if what.starts_with("events") && !matches!(fault, Fault::CrashAfter | Fault::Hang | Fault::Answer(500)) => {
            Some("nothing rests on an Event: three kinds of fault stand for all")
        }
        Fault::Answer(403 | 404 | 422) if script.terms == Terms::Standing && !call::is_of_a_system(key) => Some(
            "what is refused for good ends no standing credential as it ends a lease: there is nothing to compare it with",
        ),
        Fault::Answer(404) if verb != "create" => Some("a false \"not found\" is no fault but a lie about the store"),
        Fault::Answer(404 | 409 | 422) if reads || asks => Some("no API server answers a question like that"),
        _ => None,
    }
}

/// The weather, how many outages, whether they come after the end, and whether the operator comes back from them.
type Group = (Weather, usize, bool, bool);

/// So many leases that take the operator away at most, side by side: it has to be there for long enough between two crashes.
const CRASHING: usize = 2 * Flow::ALL.len();

/// Packs plans into rounds of at most `width` that may run side by side: those that take the operator away apart, fewer of them, and in
/// the order of their stages, so that one kill is the crash of many. In an order of the seed's: what a run that is cut short leaves
/// out, another seed tries.
pub fn rounds(plans: Vec<(Stage, Plan)>, width: usize, seed: u64) -> Vec<Vec<Plan>> {
    let mut groups: BTreeMap<Group, Vec<(Stage, Plan)>> = BTreeMap::new();
    for (stage, plan) in plans {
        let outages = plan.outages();
        // What is asked then rests on what this process remembers: an earlier crash of another lease would change the course.
        let proves = outages > 0 && stage == Stage::Proof;
        let stops = plan.traps.iter().any(|t| t.fault == Fault::Stop);
        groups.entry((plan.weather, outages, proves, stops)).or_default().push((stage, plan));
    }
    let mut rounds = vec![];
    for ((_, outages, ..), mut group) in groups {
        let width = if outages > 0 { width.min(CRASHING) } else { width };
        // Slow ones are few, and hold up one round instead of many.
        group.sort_by_key(|(stage, plan)| (!plan.flow.script().is_slow(), *stage));
        rounds.extend(group.chunks(width).map(|some| some.iter().map(|(_, plan)| plan.clone()).collect()));
    }
    shuffle(&mut rounds, &mut StdRng::seed_from_u64(seed));
    rounds
}

/// One of several parts of all plans: what is too long for one run is tried in several.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    number: u64,
    parts: u64,
}

impl Part {
    /// `PART=2/5` is the second of five; all of it otherwise.
    pub fn asked() -> Result<Self> {
        let Ok(text) = std::env::var("PART") else { return Ok(Self { number: 1, parts: 1 }) };
        let numbers = text.split_once('/').and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, parts)) if (1..=parts).contains(&number) => Ok(Self { number, parts }),
            _ => bail!("PART={text}: say which of how many, as in PART=2/5"),
        }
    }

    /// By its name: a run that makes a call more or less than another moves no plan to another part.
    pub fn has(self, plan: &Plan) -> bool {
        let mut hasher = DefaultHasher::new();
        plan.to_string().hash(&mut hasher);
        hasher.finish() % self.parts == self.number - 1
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut StdRng) {
    for i in (1..items.len()).rev() {
        items.swap(i, rng.random_range(0..=i));
    }
}
