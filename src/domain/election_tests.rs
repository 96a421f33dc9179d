//! The election, replica against replica, without a cluster.

use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms { lease: 15_000, renew: 10_000, retry: 2_000 };

fn candidate(name: &str) -> Election {
    Election::new(name.into(), TERMS)
}

fn record(version: u64, holder: &str) -> Record {
    Record { version: version.to_string(), holder: holder.into(), lasts: Some(TERMS.lease) }
}

/// A candidate that claimed the first Lease at this time.
fn leader(at: i64) -> Election {
    let mut election = candidate("a");
    election.saw_none(None, at);
    let asked = election.next(at);
    assert_eq!(asked, Next::Claim(None));
    election.answered(&asked, at, at + 5, &Answer::Stored(record(1, "a")));
    election
}

#[test]
fn terms_leave_time_to_stop_and_to_try_again() {
    let terms = |lease, renew, retry| {
        Terms::new(Duration::from_secs(lease), Duration::from_secs(renew), Duration::from_secs(retry))
    };
    assert_eq!(terms(15, 10, 2), Ok(TERMS));
    assert_eq!(terms(10, 10, 2), Err(Unfit::LeaseTooShort));
    assert_eq!(terms(15, 3, 2), Err(Unfit::RenewTooShort));
    assert_eq!(terms(301, 10, 2), Err(Unfit::LeaseTooLong));
}

#[test]
fn nothing_is_claimed_before_the_first_look() {
    assert_eq!(candidate("a").next(1_000_000), Next::Until(i64::MAX));
}

#[test]
fn a_held_lease_is_claimed_once_it_has_not_changed_for_its_duration() {
    let mut election = candidate("b");
    election.saw(&record(7, "a"), 1_000);
    assert_eq!(election.next(1_000), Next::Until(16_000));
    election.saw(&record(7, "a"), 9_000);
    assert_eq!(election.next(15_999), Next::Until(16_000), "the same record again is no sign of life");
    election.saw(&record(8, "a"), 15_999);
    assert_eq!(election.next(16_000), Next::Until(30_999));
    election.saw(&record(6, "z"), 20_000);
    assert_eq!(election.next(30_999), Next::Claim(Some("8".into())), "an older record is no news");
}

#[test]
fn a_lease_that_cannot_be_made_is_not_tried_without_a_pause() {
    let mut election = candidate("a");
    election.saw_none(None, 1_000);
    let asked = election.next(1_000);
    assert_eq!(asked, Next::Claim(None));
    // The namespace is not there.
    election.answered(&asked, 1_000, 1_005, &Answer::Absent);
    assert_eq!(election.next(1_005), Next::Until(3_005));
    assert_eq!(election.next(3_005), Next::Claim(None));
    // One that was deleted under its holder is made anew at once, and with pauses if that cannot be.
    let mut election = leader(1_000);
    let asked = election.next(3_000);
    election.answered(&asked, 3_000, 3_005, &Answer::Absent);
    let asked = election.next(3_005);
    assert_eq!(asked, Next::Claim(None));
    election.answered(&asked, 3_005, 3_010, &Answer::Absent);
    assert_eq!(election.next(3_010), Next::Until(5_010));
}

#[test]
fn a_released_lease_is_claimed_at_once() {
    let mut election = candidate("b");
    election.saw(&record(7, "a"), 1_000);
    election.saw(&record(8, ""), 1_500);
    assert_eq!(election.next(1_500), Next::Claim(Some("8".into())));
}

#[test]
fn the_holder_renews_and_stops_when_it_cannot() {
    let mut election = leader(1_000);
    assert_eq!((election.next(1_010), election.leads_until()), (Next::Until(3_000), Some(11_000)));
    let asked = election.next(3_000);
    assert_eq!(asked, Next::Claim(Some("1".into())));
    election.answered(&asked, 3_000, 6_000, &Answer::Failed);
    assert_eq!(election.next(6_000), Next::Until(8_000));
    assert_eq!(election.next(8_000), Next::Read, "the claim may have been carried out");
    assert_eq!(election.next(11_000), Next::Lost(Lost::TooLate));
}

#[test]
fn a_request_leaves_time_for_another_and_only_what_is_held_is_given_back() {
    let election = leader(1_000);
    assert_eq!([3_000, 10_500, 12_000].map(|now| election.patience(now)), [5_000, 500, 1]);
    assert_eq!(election.release(), Some("1".into()));
    let mut other = candidate("b");
    other.saw(&record(1, "a"), 1_010);
    assert_eq!((other.patience(1_010), other.release()), (5_000, None));
}

#[test]
fn a_paused_holder_finds_itself_too_late_whatever_was_answered_meanwhile() {
    let mut election = leader(1_000);
    let asked = election.next(3_000);
    // The request was sent at 3 s and answered well; the process was stopped in between.
    election.answered(&asked, 3_000, 40_000, &Answer::Stored(record(2, "a")));
    assert_eq!(election.next(40_000), Next::Lost(Lost::TooLate));
}

#[test]
fn a_holder_that_sees_another_one_has_lost() {
    let mut election = leader(1_000);
    election.saw(&record(2, "b"), 2_000);
    assert_eq!(election.next(2_000), Next::Lost(Lost::To("b".into())));
    assert_eq!(Lost::To("b".into()).to_string(), "b leads now");
}

#[test]
fn a_conflict_is_looked_at_and_survived_if_nobody_else_leads() {
    let mut election = leader(1_000);
    let asked = election.next(3_000);
    election.answered(&asked, 3_000, 3_010, &Answer::Conflict);
    assert_eq!(election.next(3_010), Next::Read);
    election.answered(&Next::Read, 3_010, 3_020, &Answer::Stored(record(5, "a")));
    assert_eq!(election.next(3_020), Next::Claim(Some("5".into())));
    assert_eq!(election.leads_until(), Some(11_000), "a look is no renewal");
}

#[test]
fn a_deleted_lease_is_made_anew_by_its_holder_and_by_nobody_else_while_it_may_live() {
    let (mut holder, mut other) = (leader(1_000), candidate("b"));
    other.saw(&record(1, "a"), 1_010);
    holder.saw_none(Some("9"), 1_500);
    other.saw_none(Some("9"), 1_500);
    assert_eq!(holder.next(1_500), Next::Claim(None));
    assert_eq!(other.next(1_500), Next::Until(16_500));
    other.saw_none(None, 9_000);
    assert_eq!(other.next(16_500), Next::Claim(None));
    // What is told late of the old one does not undo the new one.
    holder.answered(&Next::Claim(None), 1_500, 1_510, &Answer::Stored(record(10, "a")));
    holder.saw_none(Some("9"), 1_520);
    assert_eq!(holder.next(1_520), Next::Until(3_500));
}

#[test]
fn a_lease_that_was_ours_or_released_and_is_gone_may_have_been_somebody_elses() {
    // Our claim was carried out and not answered; another one claimed it after us, and it was deleted before we have seen that.
    let mut election = candidate("b");
    election.saw(&record(1, "a"), 0);
    election.answered(&election.next(15_000), 15_000, 15_100, &Answer::Failed);
    election.saw(&record(2, "b"), 30_000);
    assert_eq!(election.next(30_100), Next::Read);
    election.answered(&Next::Read, 30_100, 30_110, &Answer::Absent);
    assert_eq!(election.next(30_110), Next::Until(45_110));
    let mut election = candidate("b");
    election.saw(&Record { version: "7".into(), holder: String::new(), lasts: Some(1_000) }, 0);
    election.answered(&election.next(10), 10, 20, &Answer::Absent);
    assert_eq!(election.next(20), Next::Until(15_020));
}

#[test]
fn a_claim_that_was_carried_out_without_an_answer_is_taken_up() {
    let mut election = candidate("b");
    election.saw_none(None, 0);
    election.answered(&Next::Claim(None), 0, 5_000, &Answer::Failed);
    election.saw(&record(3, "b"), 5_100);
    assert_eq!(election.next(7_000), Next::Read);
    election.answered(&Next::Read, 7_000, 7_010, &Answer::Stored(record(3, "b")));
    assert_eq!(election.next(7_010), Next::Claim(Some("3".into())));
    assert_eq!((election.leads_until(), election.release()), (None, None), "nobody leads by a look");
}

#[test]
fn a_strange_record_keeps_nobody_waiting_for_ever() {
    let mut election = candidate("b");
    election.saw(&Record { version: "x".into(), holder: "a".into(), lasts: Some(i64::MAX) }, 0);
    assert_eq!(election.next(LONGEST), Next::Claim(Some("x".into())));
}

/// A store as the API server is one: one record, compare-and-swap.
#[derive(Default)]
struct Store {
    version: u64,
    holder: Option<String>,
}

impl Store {
    fn stored(&self) -> Option<Record> {
        self.holder.as_ref().map(|holder| record(self.version, holder))
    }

    fn carry(&mut self, asked: &Next, me: &str) -> Answer {
        let stored = self.stored();
        match (asked, stored) {
            (Next::Claim(None), Some(_)) => Answer::Conflict,
            (Next::Claim(Some(_)) | Next::Read, None) => Answer::Absent,
            (Next::Claim(Some(version)), Some(stored)) if stored.version != *version => Answer::Conflict,
            (Next::Claim(_), _) => {
                self.version += 1;
                self.holder = Some(me.into());
                Answer::Stored(record(self.version, me))
            }
            (_, Some(stored)) => Answer::Stored(stored),
            (_, None) => Answer::Absent,
        }
    }
}

/// What happens to one of the replicas in one moment.
#[derive(Clone, Copy, Debug)]
enum Event {
    Acts,
    /// Its request is carried out, and the answer is lost.
    ActsUnanswered,
    /// Its request never arrives.
    ActsInVain,
    /// The watch brings what is stored.
    Sees,
    /// Somebody deletes the Lease, and everybody's watch tells of it at some time.
    Deletes,
}

fn event() -> impl Strategy<Value = (usize, Event, i64)> {
    let event = prop_oneof![
        6 => Just(Event::Acts),
        1 => Just(Event::ActsUnanswered),
        1 => Just(Event::ActsInVain),
        6 => Just(Event::Sees),
        1 => Just(Event::Deletes),
    ];
    (0..3_usize, event, prop_oneof![4 => 0..500_i64, 1 => 500..9_000_i64])
}

proptest! {
    /// Whoever leads by its own clock is the only one: also with answers that get lost, watches that lag without bound, pauses,
    /// and a Lease that is deleted. Where there is none there is nothing to compare with: whoever has never seen it, or whose
    /// watch has missed that it was made and deleted again, takes it for free; so it is deleted once, and all have looked.
    #[test]
    fn never_do_two_lead_at_once(events in prop::collection::vec(event(), 1..200)) {
        let mut store = Store::default();
        let mut replicas: Vec<Election> = ["a", "b", "c"].iter().map(|name| candidate(name)).collect();
        let (mut now, mut deleted) = (0, false);
        replicas[0].saw_none(None, now);
        let asked = replicas[0].next(now);
        let answer = store.carry(&asked, "a");
        replicas[0].answered(&asked, now, now, &answer);
        for replica in &mut replicas {
            replica.saw(&store.stored().unwrap(), now);
        }
        for (who, event, pause) in events {
            now += pause;
            let me = replicas[who].me().to_owned();
            let asked = replicas[who].next(now);
            let acts = matches!(asked, Next::Read | Next::Claim(_));
            match event {
                Event::Acts if acts => {
                    let answer = store.carry(&asked, &me);
                    replicas[who].answered(&asked, now, now, &answer);
                }
                Event::ActsUnanswered if acts => {
                    store.carry(&asked, &me);
                    replicas[who].answered(&asked, now, now, &Answer::Failed);
                }
                Event::ActsInVain if acts => replicas[who].answered(&asked, now, now, &Answer::Failed),
                Event::Sees => match store.stored() {
                    Some(stored) => _ = replicas[who].saw(&stored, now),
                    None => replicas[who].saw_none(Some(&store.version.to_string()), now),
                },
                Event::Deletes if store.holder.is_some() && !deleted => {
                    deleted = true;
                    store.version += 1;
                    store.holder = None;
                }
                _ => {}
            }
            // One that has lost stops, and starts anew under another name.
            if let Next::Lost(_) = replicas[who].next(now) {
                replicas[who] = candidate(&format!("{me}'"));
                if let Some(stored) = store.stored() {
                    replicas[who].saw(&stored, now);
                } else {
                    return Ok(());
                }
            }
            let leading = replicas.iter().filter(|r| r.leads_until().is_some_and(|until| now < until)).count();
            prop_assert!(leading <= 1, "{replicas:#?}");
        }
    }
}
