//! Values as they were measured, and what is said of them.

use crate::arm::Kind;

/// One value of one repeat.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What was measured, with its unit, such as `10 at once, ms`.
    pub case: String,
    pub kind: Kind,
    pub repeat: usize,
    pub value: f64,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    pub id: &'static str,
    pub what: String,
    pub figure: String,
    pub yardstick: String,
    pub ratio: Option<f64>,
    pub goal: String,
    /// None: there is no goal, or this run says nothing about it.
    pub met: Option<Met>,
}

/// Whether a figure is what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Yes,
    No,
    /// Nor is that of R, which does only what cannot be left out: this machine is too slow for the goal.
    OutOfReach,
}

impl Met {
    pub fn of(is_met: bool) -> Self {
        if is_met { Self::Yes } else { Self::No }
    }
}

/// What one row of benchmarks has found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub id: &'static str,
    pub title: &'static str,
    /// How it was measured, and where it is smaller than it should be.
    pub how: String,
    pub samples: Vec<Sample>,
    pub lines: Vec<Line>,
}

impl Found {
    pub fn new(id: &'static str, title: &'static str, how: String) -> Self {
        Self { id, title, how, ..Self::default() }
    }

    pub fn add(&mut self, case: &str, kind: Kind, repeat: usize, value: f64) {
        self.samples.push(Sample { case: case.to_owned(), kind, repeat, value });
    }

    pub fn extend(&mut self, case: &str, kind: Kind, repeat: usize, values: impl IntoIterator<Item = f64>) {
        for value in values {
            self.add(case, kind, repeat, value);
        }
    }

    /// The statistic of each repeat, in the order of repeats.
    pub fn each(&self, case: &str, kind: Kind, of: Stat) -> Vec<f64> {
        let ours = |s: &&Sample| s.case == case && s.kind == kind;
        let repeats = self.samples.iter().filter(ours).map(|s| s.repeat).max().map_or(0, |last| last + 1);
        let of_repeat = |n: usize| -> Vec<f64> {
            self.samples.iter().filter(ours).filter(|s| s.repeat == n).map(|s| s.value).collect()
        };
        (0..repeats).map(of_repeat).filter(|values| !values.is_empty()).map(|values| of.of(values)).collect()
    }

    /// The median of the repeats.
    pub fn median(&self, case: &str, kind: Kind, of: Stat) -> Option<f64> {
        let each = self.each(case, kind, of);
        (!each.is_empty()).then(|| Stat::Median.of(each))
    }

    /// The median of the ratios of the repeats: each to the yardstick that ran next to it.
    pub fn ratio(&self, case: &str, to: Kind, of: Stat) -> Option<f64> {
        let ours = self.each(case, Kind::Leasehold, of);
        let theirs = self.each(case, to, of);
        let ratios: Vec<f64> = ours.iter().zip(&theirs).filter(|(_, t)| **t > 0.0).map(|(o, t)| o / t).collect();
        (!ratios.is_empty()).then(|| Stat::Median.of(ratios))
    }

    /// The median of the repeats and their spread, as the table has it.
    pub fn told(&self, case: &str, kind: Kind, of: Stat, unit: &str) -> String {
        let each = self.each(case, kind, of);
        if each.is_empty() {
            return "-".to_owned();
        }
        let (least, most) = (Stat::Min.of(each.clone()), Stat::Max.of(each.clone()));
        let middle = short(Stat::Median.of(each.clone()));
        if each.len() == 1 {
            format!("{middle} {unit}")
        } else {
            format!("{middle} {unit} ({} to {})", short(least), short(most))
        }
    }

    /// Adds a line that is a ratio to R, with N beside it where N ran.
    pub fn against(&mut self, what: &str, case: &str, of: Stat, unit: &str, goal: Goal) {
        let ratio = self.ratio(case, Kind::Raw, of);
        let mut yardstick = format!("R {}", self.told(case, Kind::Raw, of, unit));
        if self.median(case, Kind::Naive, of).is_some() {
            yardstick += &format!("; N {}", self.told(case, Kind::Naive, of, unit));
        }
        self.lines.push(Line {
            id: self.id,
            what: what.to_owned(),
            figure: self.told(case, Kind::Leasehold, of, unit),
            yardstick,
            ratio,
            goal: goal.told("x R"),
            met: ratio.and_then(|ratio| goal.met(ratio)).map(Met::of),
        });
    }

    /// Adds a line with an absolute goal.
    pub fn absolute(&mut self, what: &str, case: &str, of: Stat, unit: &str, goal: Goal) {
        let yardstick = [Kind::Raw, Kind::Naive]
            .into_iter()
            .filter(|kind| self.median(case, *kind, of).is_some())
            .map(|kind| format!("{} {}", kind.label(), self.told(case, kind, of, unit)))
            .collect::<Vec<_>>()
            .join("; ");
        let is_met = |kind| self.median(case, kind, of).and_then(|figure| goal.met(figure));
        let met = match (is_met(Kind::Leasehold), is_met(Kind::Raw)) {
            (Some(false), Some(false)) => Some(Met::OutOfReach),
            (ours, _) => ours.map(Met::of),
        };
        self.lines.push(Line {
            id: self.id,
            what: what.to_owned(),
            figure: self.told(case, Kind::Leasehold, of, unit),
            yardstick: if yardstick.is_empty() { "-".to_owned() } else { yardstick },
            ratio: self.ratio(case, Kind::Raw, of),
            goal: goal.told(unit),
            met,
        });
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    None,
}

impl Goal {
    pub fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::None => None,
        }
    }

    fn told(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("<= {} {unit}", short(most)),
            Self::AtLeast(least) => format!(">= {} {unit}", short(least)),
            Self::None => "-".to_owned(),
        }
    }
}

/// A statistic of the values of one repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stat {
    Median,
    P99,
    Min,
    Max,
}

impl Stat {
    /// Of at least one value; not a number for none.
    pub fn of(self, mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
        match self {
            Self::Min => values[0],
            Self::Max => values[last],
            Self::Median => f64::midpoint(values[last / 2], values[values.len() / 2]),
            // The nearest rank: with less than a hundred values that is the largest.
            Self::P99 => values[(values.len() * 99).div_ceil(100) - 1],
        }
    }
}

/// As many digits as say something.
pub fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Milliseconds from one moment to another; negative if the other was earlier.
pub fn millis(from: std::time::Instant, to: std::time::Instant) -> f64 {
    to.checked_duration_since(from)
        .map_or_else(|| -from.duration_since(to).as_secs_f64() * 1e3, |later| later.as_secs_f64() * 1e3)
}
