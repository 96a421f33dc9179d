//! The page, its raw rows and its pictures.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};

use crate::{figures::Found, machine::Machine, plot, table};

const INTRO: &str = "# Benchmarks

How fast Leasehold issues and ends, and what it costs, each figure beside what it could be at best and beside what one would have written in an afternoon.

This page is written by a run:

```console
$ make bench
```

Every figure is taken in turns with its yardstick, on one control plane that runs beside it on the same machine, so absolute values say as much about the machine as about Leasehold, and ratios say more. Leasehold is the release build with the flags it is shipped with, and acts with the rights it is shipped with.

- **R**, the raw replay, makes exactly the calls that cannot be left out, as many at once as Leasehold, with bodies and statuses of the same content, and decides nothing. It is the upper bound: a goal that the table says is not met, nor by R, is out of the reach of the machine.
- **N**, the naive operator, makes the same calls from a kube-rs `Controller` with its defaults: whole objects in its caches, one queue, one call after the other.

An observer that asks neither of them watches leases, Secrets and RoleBindings, and reads with the delivered tokens. A figure is the median of the repeats, with the least and the most in parentheses; p99 is the nearest rank, and with fewer than a hundred values the largest. A ratio is the median of the ratios of each repeat. How [others](comparison.md) compare that need a deployment of their own is told there.
";

/// Writes everything into this directory: the page, and beside it `benchmarks/` with CSV and SVG.
pub fn write(directory: &Path, found: &[Found], machine: &Machine) -> Result<()> {
    let beside = directory.join("benchmarks");
    std::fs::create_dir_all(&beside).with_context(|| format!("make {}", beside.display()))?;
    let mut page = INTRO.to_owned();
    _ = write!(page, "\n## The run\n\n{}\n## The table\n\n{}\n", machine.markdown(), table::markdown(found));
    for found in found {
        let id = found.id;
        _ = write!(page, "\n## {id}\n\n{}. {}\n", found.title, found.how);
        std::fs::write(beside.join(format!("{id}.csv")), csv(found))?;
        if let Some(picture) = plot::svg(found) {
            std::fs::write(beside.join(format!("{id}.svg")), picture)?;
            _ = write!(page, "\n![{id}: {}](benchmarks/{id}.svg)\n", found.title);
        }
        _ = write!(page, "\nRaw rows: [{id}.csv](benchmarks/{id}.csv)\n");
    }
    std::fs::write(directory.join("benchmarks.md"), page)?;
    Ok(())
}

fn csv(found: &Found) -> String {
    let mut text = "case,who,repeat,value\n".to_owned();
    for sample in &found.samples {
        // No case has a quotation mark.
        _ = writeln!(text, "\"{}\",{},{},{:.3}", sample.case, sample.kind.label(), sample.repeat, sample.value);
    }
    text
}
