//! `report`: what auditors ask, on one page, and for programs as JSON and CSV.
//!
//! [`gather`] reads; [`model`] judges, with the time as an argument; [`html`], [`csv`], [`markdown`] write what the model says.

mod csv;
mod gather;
mod html;
mod markdown;
pub mod model;
mod rule;
mod window;

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use self::{
    model::{Made, Report},
    window::{Moment, Window},
};
use super::{
    connect::{Cluster, Global, connect},
    exit::Failure,
    fetch,
    output::{self, Format},
    view::lease::Filter,
};

/// Flags of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportFlags {
    /// About all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// From when on: how long ago, like 24h, 7d or 4w, or a time like 2026-11-24T12:00:00Z.
    #[arg(long, value_name = "AGO|TIME", default_value = "7d")]
    pub since: Moment,
    /// Until when, in the same words. Default: now.
    #[arg(long, value_name = "AGO|TIME")]
    pub until: Option<Moment>,
    #[command(flatten)]
    pub filter: Filter,
    /// Also what the operator's audit stream tells, as its log has it (`-` is standard input): leases that the cluster no longer
    /// has, and whether the others are what was told of them.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from_audit: Vec<PathBuf>,
    /// The form.
    #[arg(short, long, value_enum, default_value_t = Form::Html, value_name = "FORMAT")]
    pub output: Form,
    /// Write it into this file, readable by you only, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One page for a browser, which asks nobody for anything.
    Html,
    Json,
    /// One line a lease (RFC 4180).
    Csv,
    /// For a ticket or a wiki.
    Markdown,
}

/// Writes a report.
///
/// # Errors
/// If the leases cannot be read, or the report cannot be written.
pub async fn run(global: &Global, flags: &ReportFlags) -> Result<u8, Failure> {
    if flags.output == Form::Html && flags.output_file.is_none() && io::stdout().is_terminal() {
        let what = "an HTML page is nothing for a terminal: say --output-file report.html, or -o markdown";
        return Err(Failure::Usage(what.into()));
    }
    let now = fetch::now();
    let window = Window::of(flags.since, flags.until, now)
        .ok_or_else(|| Failure::Usage("--since is not before --until: nothing lies between them".into()))?;
    let cluster = connect(global).await?;
    let by = cluster.whoami().await?.username;
    let (gathered, sources) = gather::gather(&cluster, flags.all_namespaces, &flags.filter, &flags.from_audit).await?;
    let made = Made {
        time: now,
        by,
        server: server(&cluster),
        namespace: (!flags.all_namespaces).then(|| cluster.namespace.clone()),
        window,
        filter: filter(&flags.filter),
        version: env!("CARGO_PKG_VERSION"),
        sources,
    };
    let text = written(&model::build(made, &gathered), flags.output)?;
    match &flags.output_file {
        None => output::emit(&text)?,
        Some(path) => save(path, &text)?,
    }
    Ok(0)
}

/// The report in one of its forms.
fn written(report: &Report, form: Form) -> Result<String, Failure> {
    Ok(match form {
        Form::Html => html::page(report),
        Form::Json => output::document(Format::Json, report)?,
        Form::Csv => csv::leases(report),
        Form::Markdown => markdown::document(report),
    })
}

/// Host and port only: what else an address may hold is nobody's business who reads a report.
fn server(cluster: &Cluster) -> String {
    let url = &cluster.config.cluster_url;
    let host = url.host().unwrap_or_default();
    url.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn filter(filter: &Filter) -> Vec<String> {
    let flags = [("lifecycle", &filter.lifecycle), ("requester", &filter.requester), ("reaching", &filter.reaching)];
    flags.into_iter().filter_map(|(flag, value)| value.as_ref().map(|value| format!("{flag} {value}"))).collect()
}

/// Writes a file beside the one that is to be, and puts it there whole: a reader never sees half a report.
fn save(path: &Path, text: &str) -> Result<(), Failure> {
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let saved = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.persist(path).map_err(|e| e.error)
    });
    saved.map(drop).map_err(|e| Failure::Other(format!("{} cannot be written: {e}", path.display())))
}
