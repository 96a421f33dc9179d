use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const WIDTHS: Widths = Widths { issue: 2, end: 2, retry: 1 };

fn key(n: u8) -> LeaseUid {
    key_of(n.into())
}

fn key_of(n: u16) -> LeaseUid {
    LeaseUid::parse(&format!("00000000-0000-4000-8000-{n:012x}")).unwrap()
}

fn number(key: LeaseUid) -> u8 {
    u8::try_from(key.number() & 0xff).unwrap()
}

/// `wake` where no visit can be running.
fn wish(agenda: &mut Agenda, n: u8, namespace: &str, lane: Lane, at: At) {
    assert!(!agenda.wake(key(n), namespace, lane, at));
}

fn start_all(agenda: &mut Agenda, now: At) -> Vec<Visit> {
    std::iter::from_fn(|| agenda.next(now)).collect()
}

#[test]
fn a_wish_during_a_visit_is_remembered_and_interrupts_issuing() {
    let mut agenda = Agenda::new(WIDTHS);
    wish(&mut agenda, 1, "a", Lane::Issue, 0);
    assert!(agenda.next(0).is_some());
    assert!(!agenda.wake(key(1), "a", Lane::Issue, 3), "issuing does not interrupt itself");
    assert!(agenda.wake(key(1), "a", Lane::Retry, 7));
    assert!(agenda.wake(key(1), "a", Lane::End, 5));
    assert_eq!(agenda.next(100), None, "one visit at a time");
    agenda.done(key(1), [(Lane::Issue, 1_000), (Lane::End, 50)]);
    assert_eq!(agenda.next(100), Some(Visit { key: key(1), lane: Lane::End, due: 5 }));
    agenda.done(key(1), []);
    assert_eq!(agenda.next(100), Some(Visit { key: key(1), lane: Lane::Retry, due: 7 }));
    agenda.done(key(1), []);
    assert_eq!(agenda.next(100), Some(Visit { key: key(1), lane: Lane::Issue, due: 3 }));
    agenda.done(key(1), []);
    assert_eq!(agenda.next(10_000), None);
}

#[test]
fn nothing_interrupts_an_ending() {
    let mut agenda = Agenda::new(WIDTHS);
    wish(&mut agenda, 1, "a", Lane::End, 0);
    assert!(agenda.next(0).is_some());
    wish(&mut agenda, 1, "a", Lane::End, 1);
    wish(&mut agenda, 1, "a", Lane::Issue, 1);
}

#[test]
fn a_visit_uses_up_the_wish_of_its_lane_only() {
    let mut agenda = Agenda::new(WIDTHS);
    wish(&mut agenda, 1, "a", Lane::End, 500);
    wish(&mut agenda, 1, "a", Lane::Issue, 100);
    assert_eq!(agenda.depth().later, 2);
    assert_eq!(agenda.next(100).unwrap().lane, Lane::Issue);
    assert_eq!((agenda.overdue(500), agenda.overdue(499)), (1, 0), "an end held up by issuing is overdue");
    agenda.done(key(1), []);
    assert_eq!(agenda.next_deadline(), Some(500));
    assert_eq!(agenda.next(500).unwrap().lane, Lane::End);
}

#[test]
fn issuing_never_takes_a_place_of_ending() {
    let mut agenda = Agenda::new(WIDTHS);
    for n in 1..100 {
        wish(&mut agenda, n, "a", Lane::Issue, 0);
    }
    assert_eq!(start_all(&mut agenda, 0).len(), 2);
    wish(&mut agenda, 200, "b", Lane::End, 0);
    assert_eq!(agenda.next(0).unwrap().lane, Lane::End);
}

#[test]
fn failed_ends_never_take_a_place_of_first_attempts() {
    let mut agenda = Agenda::new(WIDTHS);
    for n in 1..100 {
        wish(&mut agenda, n, "broken", Lane::Retry, 0);
    }
    wish(&mut agenda, 200, "b", Lane::End, 10);
    let lanes: Vec<_> = start_all(&mut agenda, 10).iter().map(|visit| visit.lane).collect();
    assert_eq!(lanes, [Lane::End, Lane::Retry]);
}

#[test]
fn ends_come_in_the_order_in_which_they_were_due() {
    let mut agenda = Agenda::new(Widths { issue: 0, end: 100, retry: 0 });
    for n in [9, 3, 7, 1] {
        wish(&mut agenda, n, "a", Lane::End, n.into());
    }
    let order: Vec<_> = start_all(&mut agenda, 50).iter().map(|visit| visit.due).collect();
    assert_eq!(order, [1, 3, 7, 9]);
}

#[test]
fn each_round_of_issuing_serves_each_namespace_once() {
    let mut agenda = Agenda::new(Widths { issue: 1, end: 0, retry: 0 });
    let namespaces = ["a", "b", "c"];
    for n in 0..60 {
        wish(&mut agenda, n, "a", Lane::Issue, 0);
    }
    for n in 0..10 {
        wish(&mut agenda, 100 + n, "b", Lane::Issue, 5);
        wish(&mut agenda, 150 + n, "c", Lane::Issue, 9);
    }
    for round in 0..10 {
        let mut served = BTreeSet::new();
        for _ in 0..3 {
            let visit = agenda.next(10).unwrap();
            served.insert(agenda.slots[&visit.key].namespace.to_string());
            agenda.done(visit.key, []);
        }
        assert_eq!(served.len(), 3, "round {round}: {served:?} of {namespaces:?}");
    }
    assert_eq!(agenda.names.len(), 1, "names of namespaces without a lease are dropped");
}

#[test]
fn the_earlier_wish_wins_unless_it_is_rescheduled() {
    let mut agenda = Agenda::new(WIDTHS);
    wish(&mut agenda, 1, "a", Lane::End, 500);
    wish(&mut agenda, 1, "a", Lane::End, 900);
    assert_eq!(agenda.next_deadline(), Some(500));
    wish(&mut agenda, 1, "a", Lane::End, 100);
    assert_eq!((agenda.next_deadline(), agenda.depth().later), (Some(100), 1));
    assert!(agenda.reschedule(key(1), Lane::End, 800));
    assert_eq!((agenda.next_deadline(), agenda.depth().later), (Some(800), 1), "no stale end is left behind");
    assert!(!agenda.reschedule(key(2), Lane::End, 800), "an unknown lease has nothing to move");
}

#[test]
fn a_due_wish_can_be_put_off() {
    let mut agenda = Agenda::new(Widths { issue: 0, end: 0, retry: 0 });
    for lane in Lane::ALL {
        wish(&mut agenda, 1, "a", lane, 0);
    }
    assert_eq!(agenda.next(1), None);
    assert_eq!(agenda.depth(), Depth { issue: 1, end: 1, retry: 1, later: 0 });
    for lane in Lane::ALL {
        assert!(agenda.reschedule(key(1), lane, 10));
    }
    assert_eq!(agenda.next(1), None);
    assert_eq!(agenda.depth(), Depth { issue: 0, end: 0, retry: 0, later: 3 });
}

#[test]
fn a_forgotten_lease_leaves_nothing_and_keeps_its_place_until_its_visit_ends() {
    let mut agenda = Agenda::new(Widths { issue: 1, end: 1, retry: 1 });
    for lane in Lane::ALL {
        wish(&mut agenda, 1, "a", lane, 0);
    }
    assert_eq!(agenda.next(0).unwrap().lane, Lane::End);
    agenda.forget(key(1));
    wish(&mut agenda, 2, "a", Lane::End, 0);
    assert_eq!(agenda.next(0), None, "the place is still taken");
    agenda.done(key(1), []);
    assert_eq!(agenda.next(0).unwrap().key, key(2));
    agenda.done(key(2), []);
    assert!(agenda.slots.is_empty() && agenda.names.is_empty());
}

#[test]
fn a_late_visit_gives_its_place_to_another_within_bounds() {
    let mut agenda = Agenda::new(Widths { issue: 1, end: 1, retry: 0 });
    for n in 1..=9 {
        wish(&mut agenda, n, "a", Lane::Issue, n.into());
    }
    let mut started = vec![];
    while let Some(visit) = agenda.next(100) {
        assert!(agenda.next(100).is_none(), "one place");
        agenda.late(visit.key);
        agenda.late(visit.key);
        started.push(visit.key);
    }
    assert_eq!(started, [1, 2, 3, 4, 5].map(key), "four late ones for each place, and one in it");
    agenda.done(key(1), []);
    assert!(agenda.next(100).is_none(), "a late one that is done frees no place");
    agenda.late(key(5));
    assert_eq!(agenda.next(100).unwrap().key, key(6), "now there is room for one more that is late");
    assert!(!agenda.wake(key(3), "a", Lane::Issue, 0));
    assert!(agenda.wake(key(2), "a", Lane::End, 0), "a late one is interrupted like any other");
    assert_eq!(agenda.next(100), None, "and still visited by one at a time");
}

#[derive(Clone, Debug)]
enum Act {
    Wake(u8, Lane, At),
    Reschedule(u8, Lane, At),
    Forget(u8),
    Late(u8),
    Done(u8, Vec<(Lane, At)>),
    Next,
    Pass(At),
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Issue), Just(Lane::End), Just(Lane::Retry)]
}

fn act() -> impl Strategy<Value = Act> {
    let (lease, at) = (0..8_u8, -5..40_i64);
    prop_oneof![
        4 => (lease.clone(), lane(), at.clone()).prop_map(|(n, lane, at)| Act::Wake(n, lane, at)),
        1 => (lease.clone(), lane(), at.clone()).prop_map(|(n, lane, at)| Act::Reschedule(n, lane, at)),
        1 => lease.clone().prop_map(Act::Forget),
        2 => lease.clone().prop_map(Act::Late),
        3 => (lease, prop::collection::vec((lane(), at), 0..3)).prop_map(|(n, again)| Act::Done(n, again)),
        5 => Just(Act::Next),
        2 => (0..10_i64).prop_map(Act::Pass),
    ]
}

/// What the agenda promises, written down without any queue. Times of acts are relative to the time they happen at.
#[derive(Default)]
struct Model {
    wishes: BTreeMap<(u8, Lane), At>,
    running: BTreeMap<u8, Lane>,
    late: BTreeSet<u8>,
}

impl Model {
    fn merge(&mut self, n: u8, lane: Lane, at: At) {
        self.wishes.entry((n, lane)).and_modify(|before| *before = at.min(*before)).or_insert(at);
    }

    fn startable(&self, lane: Lane, now: At) -> BTreeSet<(At, u8)> {
        let due = self.wishes.iter().filter(|((n, l), at)| *l == lane && **at <= now && !self.running.contains_key(n));
        due.map(|((n, _), at)| (*at, *n)).collect()
    }

    fn has_place(&self, lane: Lane) -> bool {
        self.in_lane(lane, false) < width(lane)
    }

    fn in_lane(&self, lane: Lane, late: bool) -> usize {
        self.running.iter().filter(|(n, l)| **l == lane && self.late.contains(n) == late).count()
    }

    fn known(&self, n: u8) -> bool {
        self.running.contains_key(&n) || Lane::ALL.iter().any(|lane| self.wishes.contains_key(&(n, *lane)))
    }
}

fn width(lane: Lane) -> usize {
    match lane {
        Lane::Issue => WIDTHS.issue,
        Lane::End => WIDTHS.end,
        Lane::Retry => WIDTHS.retry,
    }
}

fn namespace(n: u8) -> &'static str {
    ["a", "b", "c"][usize::from(n) % 3]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_acts_keeps_every_promise(acts in prop::collection::vec(act(), 0..200)) {
        let (mut agenda, mut model, mut now) = (Agenda::new(WIDTHS), Model::default(), 0);
        for act in acts {
            match act {
                Act::Wake(n, lane, at) => {
                    let interrupt = agenda.wake(key(n), namespace(n), lane, now + at);
                    prop_assert_eq!(interrupt, lane != Lane::Issue && model.running.get(&n) == Some(&Lane::Issue));
                    model.merge(n, lane, now + at);
                }
                Act::Reschedule(n, lane, at) => {
                    let known = model.known(n);
                    prop_assert_eq!(agenda.reschedule(key(n), lane, now + at), known);
                    if known {
                        model.wishes.insert((n, lane), now + at);
                    }
                }
                Act::Forget(n) => {
                    agenda.forget(key(n));
                    model.wishes.retain(|(other, _), _| *other != n);
                }
                Act::Late(n) => {
                    agenda.late(key(n));
                    if model.running.get(&n).is_some_and(|lane| model.in_lane(*lane, true) < LATE_FOR_EACH_PLACE * width(*lane)) {
                        model.late.insert(n);
                    }
                }
                Act::Done(n, again) => {
                    // Only a visit that runs can end.
                    if model.running.remove(&n).is_some() {
                        model.late.remove(&n);
                        let again: Vec<_> = again.into_iter().map(|(lane, at)| (lane, now + at)).collect();
                        agenda.done(key(n), again.iter().copied());
                        for (lane, at) in again {
                            model.merge(n, lane, at);
                        }
                    }
                }
                Act::Pass(time) => now += time,
                Act::Next => {
                    let lane = Lane::ALL.into_iter().find(|lane| model.has_place(*lane) && !model.startable(*lane, now).is_empty());
                    let visit = agenda.next(now);
                    prop_assert_eq!(visit.map(|v| v.lane), lane, "the most urgent lane with a place and a due wish is served");
                    let Some(Visit { key, lane, due }) = visit else { continue };
                    let n = number(key);
                    let line = model.startable(lane, now);
                    let first = line.iter().find(|(_, other)| lane != Lane::Issue || namespace(*other) == namespace(n));
                    prop_assert_eq!(first, Some(&(due, n)), "the longest due comes first (issuing: in its namespace)");
                    model.wishes.remove(&(n, lane));
                    prop_assert_eq!(model.running.insert(n, lane), None, "one visit at a time");
                }
            }
            let wishes: BTreeMap<_, _> = agenda.slots.iter()
                .flat_map(|(k, slot)| Lane::ALL.into_iter().filter_map(move |l| slot.wishes.get(l).map(|at| ((number(*k), l), at))))
                .collect();
            prop_assert_eq!(&wishes, &model.wishes, "no wish is lost, none is invented");
            let queued = model.wishes.keys().filter(|(n, _)| !model.running.contains_key(n)).count();
            let depth = agenda.depth();
            prop_assert_eq!(depth.issue + depth.end + depth.retry + depth.later, queued, "each wish stands in one queue");
            let ends = model.wishes.iter().filter(|((n, l), at)| *l == Lane::End && **at <= now && model.running.get(n) != Some(&Lane::End));
            prop_assert_eq!(agenda.overdue(now), ends.count());
            prop_assert_eq!(agenda.slots.len(), (0..8).filter(|n| model.known(*n)).count());
        }
    }
}

/// The driver as it will be, on a clock that only moves when everything rests: 2,000 deadlines in an hour.
#[tokio::test(start_paused = true)]
async fn every_deadline_of_an_hour_is_met_within_a_millisecond() {
    use tokio::{
        task::JoinSet,
        time::{Duration, Instant, sleep, sleep_until},
    };
    let start = Instant::now();
    let mut agenda = Agenda::new(Widths { issue: 2, end: 16, retry: 2 });
    for n in 0..2_000_u16 {
        let namespace = format!("team-{}", n % 7);
        assert!(!agenda.wake(key_of(n), &namespace, Lane::End, At::from(n) * 1_800));
    }
    let (mut visits, mut finished, mut latest) = (JoinSet::new(), 0, 0);
    while finished < 2_000 {
        let now = At::try_from(start.elapsed().as_millis()).unwrap();
        while let Some(visit) = agenda.next(now) {
            latest = latest.max(now - visit.due);
            visits.spawn(async move {
                sleep(Duration::from_millis(20)).await;
                visit.key
            });
        }
        let deadline = agenda.next_deadline().map_or(u64::MAX >> 20, |at| u64::try_from(at).unwrap());
        tokio::select! {
            biased;
            Some(key) = visits.join_next() => { agenda.done(key.unwrap(), []); finished += 1; }
            () = sleep_until(start + Duration::from_millis(deadline)) => {}
        }
    }
    assert!(latest <= 1, "{latest} ms late");
}
