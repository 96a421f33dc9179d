//! One scene: what was seen in it, and which promises it broke.

use std::time::Instant;

/// Keeps what a scene finds.
pub struct Scene {
    pub name: &'static str,
    /// Fewer leases, for whoever has minutes.
    pub quick: bool,
    begun: Instant,
    broken: Vec<String>,
}

impl Scene {
    pub fn new(name: &'static str, quick: bool) -> Self {
        Self { name, quick, begun: Instant::now(), broken: vec![] }
    }

    /// Something that was seen.
    pub fn say(&self, what: impl AsRef<str>) {
        println!("  {:>4} s  {}", self.begun.elapsed().as_secs(), what.as_ref());
    }

    /// A promise that was not kept.
    pub fn broken(&mut self, what: String) {
        println!("  {:>4} s  BROKEN {what}", self.begun.elapsed().as_secs());
        self.broken.push(what);
    }

    /// A promise; what is wrong if it is not kept.
    pub fn must(&mut self, kept: bool, otherwise: impl FnOnce() -> String) {
        if !kept {
            self.broken(otherwise());
        }
    }

    /// What was broken, and how long it took.
    pub fn end(self) -> (Vec<String>, u64) {
        (self.broken, self.begun.elapsed().as_secs())
    }
}
