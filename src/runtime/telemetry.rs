//! Logs, on standard error: standard output belongs to the audit stream.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::settings::LogFormat;

/// The filter cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("--log {filter} is not a filter ({source}): write a level like info, or target=level,…")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging.
///
/// # Errors
/// If the filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), BadFilter> {
    // kube prints answers that it cannot decode at WARN, and an answer may hold a token; ours never go through it, and this makes sure.
    let directives = format!("{filter},kube_client::client=error");
    let filter = EnvFilter::try_new(directives).map_err(|source| BadFilter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init(),
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr)).init(),
    }
    Ok(())
}
