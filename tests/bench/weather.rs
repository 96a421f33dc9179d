//! Foul weather (B-10): what is left of the throughput when one call in ten goes wrong, and what it costs.

use anyhow::Result;

use crate::{
    arm::{Arm, Kind},
    field::Field,
    figures::{Found, Goal, Line, Met, Stat, short},
    proxy::{Proxy, Weather},
};

/// B-10.
pub async fn foul(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "The closed loop of B-2 through a proxy that lets every tenth call of Leasehold go wrong: answered 429 with Retry-After 1 s, answered \
         500, or 2 s late, in turn. The yardstick is the same through the proxy with nothing going wrong. {} lives each, {} \
         under way at most. Of calls, all but watches are counted: Events and what is written of lifecycles as well.",
        sizes.lifecycles, sizes.width
    );
    let mut found = Found::new("B-10", "Foul weather", how);
    for repeat in 0..sizes.repeats {
        let mut weathers = [("fair", Weather::Fair), ("foul", Weather::Foul)];
        if repeat % 2 == 1 {
            weathers.reverse();
        }
        for (name, weather) in weathers {
            let (rate, calls) = lives(field, weather).await?;
            found.add(&format!("lives a second, {name}"), Kind::Leasehold, repeat, rate);
            found.add(&format!("calls a life, {name}"), Kind::Leasehold, repeat, calls);
        }
    }
    for (what, case, unit, goal) in [
        ("goodput with one call in ten going wrong", "lives a second", "/s", Goal::AtLeast(0.85)),
        ("calls of one life then", "calls a life", "calls", Goal::AtMost(1.15)),
    ] {
        let each = |name: &str| found.each(&format!("{case}, {name}"), Kind::Leasehold, Stat::Median);
        let told = |name: &str| found.told(&format!("{case}, {name}"), Kind::Leasehold, Stat::Median, unit);
        let ratio = Stat::Median.of(each("foul").iter().zip(each("fair")).map(|(foul, fair)| foul / fair).collect());
        let goal_told = match goal {
            Goal::AtLeast(least) => format!(">= {} x fair", short(least)),
            Goal::AtMost(most) => format!("<= {} x fair", short(most)),
            Goal::None => String::new(),
        };
        let line = Line {
            id: "B-10",
            what: what.to_owned(),
            figure: told("foul"),
            yardstick: format!("fair {}", told("fair")),
            ratio: Some(ratio),
            goal: goal_told,
            met: goal.met(ratio).map(Met::of),
        };
        found.lines.push(line);
    }
    Ok(found)
}

#[allow(clippy::cast_precision_loss)]
async fn lives(field: &Field, weather: Weather) -> Result<(f64, f64)> {
    let sizes = &field.sizes;
    field.eyes.forget();
    let proxy = Proxy::with(&field.lab.plane, weather).await?;
    let kubeconfig = proxy.kubeconfig(&field.kubeconfig)?;
    let arm = Arm::start_with(field, Kind::Leasehold, &kubeconfig, &[]).await?;
    let before = proxy.calls();
    let rate = field.lives(sizes.lifecycles, sizes.width).await?;
    let calls = (proxy.calls() - before) as f64 / sizes.lifecycles as f64;
    arm.stop().await?;
    field.clear().await?;
    Ok((rate, calls))
}
