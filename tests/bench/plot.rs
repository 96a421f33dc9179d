//! What was found as a picture: a dot for every value, a tick for the median of each repeat, one band for each case and each who
//! acted, one panel for each unit. On paper, so that it is the same wherever it is shown.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    arm::Kind,
    figures::{Found, Sample, Stat, short},
};

const WIDTH: f64 = 860.0;
/// Where the axis begins and ends.
const LEFT: f64 = 330.0;
const RIGHT: f64 = 830.0;
const BAND: f64 = 22.0;
const HEAD: f64 = 30.0;
const AXIS: f64 = 34.0;
/// A band with more dots than this says no more.
const DOTS: usize = 400;

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Raw => "#6e6e6e",
        Kind::Leasehold => "#1458a8",
        Kind::Naive => "#b85c00",
    }
}

/// The unit of a case: what is after the last comma.
fn unit(case: &str) -> &str {
    case.rsplit_once(", ").map_or(case, |(_, unit)| unit)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Where values are on the axis: logarithmic if they span more than a factor of 20.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    fn of(values: &[f64]) -> Self {
        let (low, high) = (Stat::Min.of(values.to_vec()), Stat::Max.of(values.to_vec()));
        if low > 0.0 && high / low > 20.0 {
            return Self { low: 10f64.powf(low.log10().floor()), high: 10f64.powf(high.log10().ceil()), log: true };
        }
        let step = 10f64.powf(high.abs().max(1e-9).log10().floor());
        Self { low: low.min(0.0), high: (high / step).ceil() * step, log: false }
    }

    fn x(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return (0..=4).map(|n| self.low + (self.high - self.low) * f64::from(n) / 4.0).collect();
        }
        let mut ticks = vec![self.low];
        while let Some(last) = ticks.last().filter(|last| **last < self.high * 0.99) {
            ticks.push(last * 10.0);
        }
        ticks
    }
}

/// The picture as SVG; nothing if there is nothing to be seen.
pub fn svg(found: &Found) -> Option<String> {
    let mut panels: BTreeMap<&str, Vec<(&str, Kind)>> = BTreeMap::new();
    for sample in &found.samples {
        let bands = panels.entry(unit(&sample.case)).or_default();
        if !bands.contains(&(sample.case.as_str(), sample.kind)) {
            bands.push((&sample.case, sample.kind));
        }
    }
    // Counts are a table, not a picture.
    if panels.is_empty() || found.id == "B-7" {
        return None;
    }
    let mut body = String::new();
    let mut top = HEAD;
    for (unit, bands) in &mut panels {
        let mut order: Vec<&str> = vec![];
        for (case, _) in bands.iter() {
            if !order.contains(case) {
                order.push(case);
            }
        }
        bands.sort_by_key(|(case, kind)| (order.iter().position(|c| c == case), *kind));
        top = panel(&mut body, found, unit, bands, top);
    }
    let legend: String = [(Kind::Raw, 250.0), (Kind::Leasehold, 205.0), (Kind::Naive, 110.0)]
        .into_iter()
        .filter(|(kind, _)| found.samples.iter().any(|sample| sample.kind == *kind))
        .map(|(kind, left)| {
            format!("<text x=\"{}\" y=\"20\" fill=\"{}\">● {}</text>\n", WIDTH - left, colour(kind), kind.label())
        })
        .collect();
    Some(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" font-family="sans-serif" font-size="12">
<title>{id}: {title}</title>
<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>
<text x="10" y="20" font-size="14" font-weight="bold" fill="#222222">{id}: {title}</text>
{legend}{body}</svg>
"##,
        id = found.id,
        title = escaped(found.title),
    ))
}

fn panel(body: &mut String, found: &Found, unit: &str, bands: &[(&str, Kind)], top: f64) -> f64 {
    let of = |case: &str, kind: Kind| -> Vec<&Sample> {
        found.samples.iter().filter(|s| s.case == case && s.kind == kind).collect()
    };
    let values: Vec<f64> = bands.iter().flat_map(|(case, kind)| of(case, *kind)).map(|s| s.value).collect();
    let scale = Scale::of(&values);
    #[allow(clippy::cast_precision_loss)]
    let bottom = top + 6.0 + bands.len() as f64 * BAND;
    // Writing to a `String` cannot fail.
    for tick in scale.ticks() {
        let x = scale.x(tick);
        _ = writeln!(body, r##"<line x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{bottom}" stroke="#dddddd"/>"##);
        let label = short(tick);
        let label = if label.contains('.') { label.trim_end_matches('0').trim_end_matches('.') } else { &label };
        _ = writeln!(
            body,
            r##"<text x="{x:.1}" y="{}" text-anchor="middle" fill="#555555">{label}</text>"##,
            bottom + 14.0
        );
    }
    _ = writeln!(
        body,
        r##"<text x="{}" y="{}" text-anchor="end" fill="#555555">{}</text>"##,
        LEFT - 24.0,
        bottom + 14.0,
        escaped(unit)
    );
    let mut y = top + 6.0 + BAND / 2.0;
    for (case, kind) in bands {
        let samples = of(case, *kind);
        let name = case.strip_suffix(unit).unwrap_or(case).trim_end_matches(", ");
        let name = if name.is_empty() { case } else { name };
        _ = writeln!(
            body,
            r##"<text x="{}" y="{:.1}" text-anchor="end" fill="{}">{}</text>"##,
            LEFT - 10.0,
            y + 4.0,
            colour(*kind),
            escaped(name)
        );
        for sample in samples.iter().step_by(samples.len().div_ceil(DOTS).max(1)) {
            let x = scale.x(sample.value);
            _ = writeln!(
                body,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{}" fill-opacity="0.35"/>"#,
                colour(*kind)
            );
        }
        for median in found.each(case, *kind, Stat::Median) {
            let x = scale.x(median);
            let (above, below) = (y - 8.0, y + 8.0);
            _ = writeln!(
                body,
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{above:.1}" y2="{below:.1}" stroke="{}" stroke-width="2"/>"#,
                colour(*kind)
            );
        }
        y += BAND;
    }
    bottom + AXIS
}
