//! Attacks as rows: who does what, and which policy answers.

use super::{
    call::Call,
    ground::{Ground, Who},
};

/// A request and what has to be there for it.
pub struct Plan {
    pub before: Vec<(Who, Call)>,
    pub act: Call,
}

impl From<Call> for Plan {
    fn from(act: Call) -> Self {
        Self { before: vec![], act }
    }
}

impl Call {
    /// Do that first.
    pub fn after(self, who: Who, before: Call) -> Plan {
        Plan { before: vec![(who, before)], act: self }
    }
}

/// One row: planned anew each time it is done, since what it makes has a name of its own.
pub struct Row {
    /// The number under which whoever attacked the design noted it, to tell rows of one attack from another's; empty for what is no
    /// attack.
    pub of: &'static str,
    pub who: Who,
    pub what: String,
    /// What the answer must hold if the attack succeeds: a Secret that was read.
    pub reads: Option<&'static str>,
    pub plan: Box<dyn Fn(&Ground) -> Plan + Send + Sync>,
}

/// What one policy refuses, and what it must let pass.
pub struct Table {
    pub policy: &'static str,
    pub attacks: Vec<Row>,
    pub lawful: Vec<Row>,
}

impl Table {
    pub fn of(policy: &'static str) -> Self {
        Self { policy, attacks: vec![], lawful: vec![] }
    }

    /// This must be refused by the policy, and succeed without it.
    pub fn attack<P: Into<Plan>>(
        mut self,
        of: &'static str,
        who: Who,
        what: impl Into<String>,
        plan: impl Fn(&Ground) -> P + Send + Sync + 'static,
    ) -> Self {
        self.attacks.push(Row { of, who, what: what.into(), reads: None, plan: Box::new(move |g| plan(g).into()) });
        self
    }

    /// As [`Table::attack`]; where it succeeds, this is read.
    pub fn reading<P: Into<Plan>>(
        mut self,
        of: &'static str,
        who: Who,
        (what, read): (&'static str, &'static str),
        plan: impl Fn(&Ground) -> P + Send + Sync + 'static,
    ) -> Self {
        self = self.attack(of, who, what, plan);
        self.attacks.last_mut().expect("just pushed").reads = Some(read);
        self
    }

    /// This must pass.
    pub fn lawful<P: Into<Plan>>(
        mut self,
        who: Who,
        what: impl Into<String>,
        plan: impl Fn(&Ground) -> P + Send + Sync + 'static,
    ) -> Self {
        self.lawful.push(Row { of: "", who, what: what.into(), reads: None, plan: Box::new(move |g| plan(g).into()) });
        self
    }
}
