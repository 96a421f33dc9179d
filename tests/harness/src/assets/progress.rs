//! Says on stderr that a long build is alive.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

const EVERY: Duration = Duration::from_secs(15);

/// One line to the person who waits. Written to stderr itself: `eprintln!` would be captured by the test runner until
/// the test has failed.
pub(super) fn say(line: &str) {
    // Nobody reads stderr: then there is nobody to tell.
    writeln!(std::io::stderr(), "leasehold-harness: {line}").ok();
}

/// Await `work` and say every 15 seconds that it goes on.
pub(super) async fn while_waiting<T>(what: &str, usually: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let mut ticks = interval_at(started + EVERY, EVERY);
    say(&format!("{what}: started ({usually})"));
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                say(&format!("{what}: ended after {} s", started.elapsed().as_secs()));
                return done;
            }
            _ = ticks.tick() => say(&format!("{what}: {} s so far ({usually})", started.elapsed().as_secs())),
        }
    }
}
