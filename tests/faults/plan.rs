//! A plan: what is done to which calls of which flow.

use std::fmt;

use crate::{
    fault::{Fault, Weather},
    flow::Flow,
};

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

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plan {
    pub flow: Flow,
    /// One after the other.
    pub traps: Vec<Trap>,
    pub weather: Weather,
}

impl Plan {
    /// The flow as it is without any fault.
    pub fn undisturbed(flow: Flow) -> Self {
        Self { flow, traps: vec![], weather: Weather::Fair }
    }

    /// How often it takes the operator away from all.
    pub fn outages(&self) -> usize {
        self.traps.iter().filter(|t| t.fault.is_felt_by_all()).count()
    }
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
