//! Foul weather (B-10): what is left of the throughput when one call in ten goes wrong, and what it costs.

use anyhow::Result;

use crate::{
    arm::{Arm, Kind},
    drive::turns,
    field::Field,
    figures::{Found, Goal, Line, Met, Stat, short},
    proxy::{Proxy, Weather},
    raw::REPEATS,
};

/// B-10.
pub async fn foul(field: &Field) -> Result<Found> {
    let sizes = &field.sizes;
    let how = format!(
        "The closed loop of B-2 through a proxy that lets every tenth call go wrong: answered 429 with Retry-After 1 s, answered 500, or \
         2 s late, in turn. The yardstick is the same through the proxy with nothing going wrong. {} lives each. R waits as long as it is \
         asked to, 100 ms after a 500, and has a place for every lease, which costs it \
         throughput in fair weather already.",
        sizes.lifecycles
    );
    let mut found = Found::new("B-10", "Foul weather", how);
    for repeat in 0..sizes.repeats {
        for kind in turns(&[Kind::Raw, Kind::Leasehold], repeat) {
            let mut weathers = [Weather::Fair, Weather::Foul];
            if repeat % 2 == 1 {
                weathers.reverse();
            }
            for weather in weathers {
                let (rate, calls) = lives(field, kind, weather).await?;
                found.add(&case(RATE, weather), kind, repeat, rate);
                found.add(&case(CALLS, weather), kind, repeat, calls);
            }
        }
    }
    for (what, of, unit, goal) in [
        ("goodput with one call in ten going wrong", RATE, "/s", Goal::AtLeast(0.85)),
        ("calls of one life then", CALLS, "calls", Goal::AtMost(1.15)),
    ] {
        let line = line(&found, what, of, unit, goal);
        found.lines.push(line);
    }
    Ok(found)
}

const RATE: &str = "lives a second";
const CALLS: &str = "calls a life";

fn case(of: &str, weather: Weather) -> String {
    format!("{of}, {}", if weather == Weather::Fair { "fair" } else { "foul" })
}

fn line(found: &Found, what: &str, of: &str, unit: &str, goal: Goal) -> Line {
    let told = |kind: Kind, weather: Weather| found.told(&case(of, weather), kind, Stat::Median, unit);
    let ratio = |kind: Kind| {
        let [foul, fair] = [Weather::Foul, Weather::Fair].map(|w| found.each(&case(of, w), kind, Stat::Median));
        Stat::Median.of(foul.iter().zip(fair).map(|(foul, fair)| foul / fair).collect())
    };
    let (ours, raw) = (ratio(Kind::Leasehold), ratio(Kind::Raw));
    let met = match (goal.met(ours).filter(|_| !ours.is_nan()), goal.met(raw).filter(|_| !raw.is_nan())) {
        (Some(false), Some(false)) => Some(Met::OutOfReach),
        (met, _) => met.map(Met::of),
    };
    Line {
        id: "B-10",
        what: what.to_owned(),
        figure: told(Kind::Leasehold, Weather::Foul),
        yardstick: format!(
            "fair {}; R {}, fair {}, ratio {}",
            told(Kind::Leasehold, Weather::Fair),
            told(Kind::Raw, Weather::Foul),
            told(Kind::Raw, Weather::Fair),
            format_args!("{raw:.2}")
        ),
        ratio: Some(ours),
        goal: match goal {
            Goal::AtLeast(least) => format!(">= {} x fair", short(least)),
            Goal::AtMost(most) => format!("<= {} x fair", short(most)),
            Goal::None => String::new(),
        },
        met,
    }
}

#[allow(clippy::cast_precision_loss)]
async fn lives(field: &Field, kind: Kind, weather: Weather) -> Result<(f64, f64)> {
    let sizes = &field.sizes;
    field.eyes.forget();
    let proxy = Proxy::with(&field.lab.plane, weather).await?;
    let kubeconfig = proxy.kubeconfig(&field.kubeconfig)?;
    let flags: &[&str] = if kind == Kind::Raw { &[REPEATS] } else { &[] };
    let arm = Arm::start_with(field, kind, &kubeconfig, flags).await?;
    let before = proxy.calls();
    let rate = field.lives(sizes.lifecycles, sizes.width).await?;
    let calls = (proxy.calls() - before) as f64 / sizes.lifecycles as f64;
    arm.stop().await?;
    field.clear().await?;
    Ok((rate, calls))
}
