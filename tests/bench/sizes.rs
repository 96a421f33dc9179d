//! How much is measured: a full run for the page, a quick one that shows that everything works.

/// The sizes of one run.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Whether it is as much as the page is to tell of.
    pub whole: bool,
    /// How often each figure is taken.
    pub repeats: usize,
    pub namespaces: usize,
    /// Leases that are asked for at once (B-1).
    pub bursts: &'static [usize],
    /// Lifecycles of one closed loop (B-2, B-10).
    pub lifecycles: usize,
    /// Leases that are under way at once in it: so many that the machine is what limits it, not the 12 s that each waits for its proof.
    pub width: usize,
    /// Leases that are ended one by one (B-3).
    pub ends: usize,
    /// Deadlines, spread and in the same second (B-4).
    pub spread: usize,
    pub drain: usize,
    /// Leases that just are there (B-5, B-6, B-8).
    pub leases: usize,
    /// Seconds without anything to do (B-8).
    pub idle: u64,
    /// Leases that queue in one namespace (B-11).
    pub queue: usize,
}

const FULL: Sizes = Sizes {
    whole: true,
    repeats: 5,
    namespaces: 50,
    bursts: &[1, 10, 100],
    lifecycles: 2_400,
    width: 800,
    ends: 20,
    spread: 300,
    drain: 400,
    leases: 10_000,
    idle: 90,
    queue: 500,
};

const QUICK: Sizes = Sizes {
    whole: false,
    repeats: 1,
    namespaces: 5,
    bursts: &[1, 10],
    lifecycles: 45,
    width: 15,
    ends: 4,
    spread: 20,
    drain: 40,
    leases: 300,
    idle: 10,
    queue: 60,
};

impl Sizes {
    /// As the environment asks: `QUICK=1` for all of it in minutes, `FULL=1` for 50,000 leases, `LEASES=n` for so many, `REPEATS=n`.
    pub fn chosen() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty() && value != "0");
        let mut sizes = if set("QUICK").is_some() { QUICK } else { FULL };
        if set("FULL").is_some() {
            sizes.leases = 50_000;
        }
        if let Some(leases) = set("LEASES").and_then(|text| text.parse().ok()) {
            sizes.leases = leases;
            sizes.whole &= leases >= FULL.leases;
        }
        if let Some(repeats) = set("REPEATS").and_then(|text| text.parse().ok()) {
            sizes.repeats = repeats;
        }
        sizes
    }
}
