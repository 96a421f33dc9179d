//! What can happen next: how a call ends, and what others do between two calls.

use crate::domain::{
    call::{Answer, Call, Class},
    observed::{Child, ObjectId},
    refusal::Refusal,
    world::{World, rule},
};

/// One step of the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// The call is carried out and answered; where the lease rests, time passes.
    Well,
    /// The call fails and nothing was done.
    Fails(Class),
    /// The call was carried out, and its answer is lost.
    AnswerLost,
    /// The process dies before the call.
    DiesBefore,
    /// The process dies after the call.
    DiesAfter,
    /// The process dies when this call and those that were made with it were carried out.
    DiesAfterAll,
    /// The same, and no other begins before the lease's time is up and the backstop has taken the account.
    StaysAway,
    /// The call is answered, but not with what was hoped for.
    Says(Unhoped),
    /// Somebody does something, and the lease is visited anew.
    Happens(Event),
}

/// Answers that are no failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unhoped {
    MayNot,
    Full,
    RoleGone,
    RoleWidened,
    /// The opposite of what is so: a review at an API server that lags.
    Otherwise,
    Touched,
}

/// What others do.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Nothing: only another visit.
    Nothing,
    /// The lease is deleted.
    Deleted,
    /// The lifecycle is stopped and says to revoke.
    Stopped,
    /// Somebody agrees, denies, or revokes.
    Decided(&'static str),
    /// Somebody deletes an object of the lease.
    Taken(Child),
    /// A watch lists anew, and the list lacks an object of the lease that is there.
    Overlooked(Child),
    /// Somebody makes an object that has a name of the lease's.
    Squatted(Child),
    /// A role gains rights.
    Widened,
    /// The lease's time is up.
    TimeIsUp,
}

pub const CLASSES: [Class; 5] = [Class::Conflict, Class::Forbidden, Class::Invalid, Class::Throttled, Class::Transient];

/// The answers to a call that are no failures and not what was hoped for.
pub fn unhoped(call: &Call) -> Vec<Unhoped> {
    match call {
        Call::CheckAccess | Call::CheckDecider { .. } => vec![Unhoped::MayNot],
        Call::Reserve => vec![Unhoped::Full],
        Call::ReadRole { .. } => vec![Unhoped::RoleGone, Unhoped::RoleWidened],
        Call::ReviewToken => vec![Unhoped::Otherwise],
        Call::Find(Child::Secret) => vec![Unhoped::Touched],
        _ => vec![],
    }
}

/// The answer in words of the API server.
pub fn answer(unhoped: Unhoped, call: &Call, world: &World) -> Answer {
    use crate::domain::observed::{DeciderSeen, RoleSeen};
    match unhoped {
        Unhoped::MayNot if *call == Call::CheckAccess => Answer::Access(false),
        Unhoped::MayNot => Answer::Decider(DeciderSeen { may: false, acts_as_requester: false }),
        Unhoped::Full => Answer::Full(Refusal::NotBeforeTooFar),
        Unhoped::RoleGone => Answer::Role(None),
        Unhoped::RoleWidened => Answer::Role(Some(RoleSeen { uid: "role".into(), rules: vec![rule(&["*"])] })),
        Unhoped::Otherwise => Answer::Reviewed(world.live_tokens() == 0),
        Unhoped::Touched => match world.objects.get(&Child::Secret) {
            Some((id, true)) => Answer::Touched(id.clone()),
            _ => Answer::Absent,
        },
    }
}

/// An object that is not the lease's.
pub fn strangers(child: &Child) -> ObjectId {
    ObjectId { namespace: "ns".into(), name: "s".into(), uid: format!("stranger {child:?}") }
}
