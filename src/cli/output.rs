//! How commands print: formats, colour, aligned tables, ages, and one way to write that a closed pipe does not break.

use std::io::{self, IsTerminal, Write};

use anstyle::AnsiColor;
use clap::{ValueEnum, builder::TypedValueParser};
use kube::Resource;
use serde::Serialize;

use super::{exit::Failure, reference::qualified};

/// How objects are written. Absent means a table, or a sentence, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `kind.group/name`, as other commands take it.
    Name,
    Json,
    Yaml,
    /// Comma-separated values (RFC 4180), where a command has rows.
    Csv,
}

impl Format {
    /// The parser of `--output` for commands that have no rows: all but CSV.
    pub fn of_objects() -> impl TypedValueParser<Value = Self> {
        Self::of(["name", "json", "yaml"])
    }

    /// The parser of `--output` for commands whose results are no objects of the cluster.
    pub fn of_findings() -> impl TypedValueParser<Value = Self> {
        Self::of(["json", "yaml"])
    }

    fn of<const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = Self> {
        clap::builder::PossibleValuesParser::new(words).try_map(|word| Self::from_str(&word, false))
    }
}

/// An object, or a list of some, as a document. Objects of Kubernetes have to bring `apiVersion` and `kind` themselves.
///
/// # Errors
/// If it has no such form; no type of ours is like that.
pub fn document(format: Format, object: &impl Serialize) -> Result<String, Failure> {
    let unwritable = |e: &dyn std::fmt::Display| Failure::Other(format!("this cannot be written as {format:?}: {e}"));
    match format {
        Format::Yaml => serde_saphyr::to_string(object).map_err(|e| unwritable(&e)),
        _ => serde_json::to_string_pretty(object).map(|text| text + "\n").map_err(|e| unwritable(&e)),
    }
}

/// An object without its managedFields, as kubectl shows it.
fn bare(object: &impl Serialize) -> Result<serde_json::Value, Failure> {
    let mut value = serde_json::to_value(object).map_err(|e| Failure::Other(format!("this cannot be written: {e}")))?;
    if let Some(metadata) = value.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(value)
}

/// One object of the cluster, as `--output` says.
///
/// # Errors
/// As [`document`].
pub fn object<K>(format: Format, object: &K) -> Result<String, Failure>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match format {
        Format::Name => Ok(qualified(object) + "\n"),
        _ => document(format, &bare(object)?),
    }
}

/// Several objects of the cluster, as `--output` says: names one a line, or a `List`.
///
/// # Errors
/// As [`document`].
pub fn objects<K>(format: Format, objects: &[K]) -> Result<String, Failure>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match format {
        Format::Name => Ok(objects.iter().map(|object| qualified(object) + "\n").collect()),
        _ => {
            let items: Vec<serde_json::Value> = objects.iter().map(bare).collect::<Result<_, _>>()?;
            document(format, &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}))
        }
    }
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
///
/// # Errors
/// If it cannot be written otherwise, such as to a full disk.
pub fn emit(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("standard output cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. That nobody can read it stops no command.
pub fn tell(line: &str) {
    _ = writeln!(io::stderr().lock(), "{line}");
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hue {
    Good,
    Bad,
    Waiting,
    Faint,
}

/// Whether one stream is written in colour: on a terminal, unless `--no-color`, `$NO_COLOR` or a dumb terminal says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Of standard output.
    #[must_use]
    pub fn stdout(no_color: bool) -> Self {
        Self::of(no_color, io::stdout().is_terminal())
    }

    /// Of standard error.
    #[must_use]
    pub fn stderr(no_color: bool) -> Self {
        Self::of(no_color, io::stderr().is_terminal())
    }

    /// Without colour.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    fn of(no_color: bool, terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: terminal && !no_color && !set("NO_COLOR") && !dumb }
    }

    /// The text in its colour.
    #[must_use]
    pub fn paint(self, hue: Hue, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let style = match hue {
            Hue::Good => AnsiColor::Green.on_default(),
            Hue::Bad => AnsiColor::Red.on_default(),
            Hue::Waiting => AnsiColor::Yellow.on_default(),
            Hue::Faint => anstyle::Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Aligned columns, three blanks apart, as kubectl writes them.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With this head; an empty one is none.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        let mut table = Self::default();
        if !head.is_empty() {
            table.row(head.iter().copied());
        }
        table
    }

    /// Adds a row. Cells may be painted; what else a terminal would obey in them is dropped.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table as text. Colour does not count as width.
    #[must_use]
    pub fn render(&self) -> String {
        let mut writer = tabwriter::TabWriter::new(vec![]).padding(3).minwidth(0).ansi(true);
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| one_line(cell)).collect();
            // Writing to a `Vec` cannot fail.
            _ = writeln!(writer, "{}", cells.join("\t"));
        }
        let text = writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        text.lines().fold(String::with_capacity(text.len()), |out, line| out + line.trim_end() + "\n")
    }
}

/// A cell as one line, without control characters other than those that begin a colour of ours.
fn one_line(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut rest = cell;
    while let Some(c) = rest.chars().next() {
        let length = colour(rest).unwrap_or(c.len_utf8());
        let (head, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(if c.is_control() && head.chars().count() == 1 { " " } else { head });
        rest = tail;
    }
    out
}

/// The length of the escape sequence for a colour that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let (code, _) = text.strip_prefix("\u{1b}[")?.split_once('m')?;
    (code.len() <= 8 && code.bytes().all(|b| b.is_ascii_digit() || b == b';')).then_some(code.len() + 3)
}

/// A length of time as kubectl's column AGE has it: `45s`, `3m10s`, `12m`, `2h5m`, `7h`, `3d2h`, `20d`.
#[must_use]
pub fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    let (d, h, m) = (s / 86400, s / 3600, s / 60);
    let two = |a: i64, unit: &str, b: i64, of: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{of}") }
    };
    match s {
        ..120 => format!("{s}s"),
        120..600 => two(m, "m", s % 60, "s"),
        600..10_800 => format!("{m}m"),
        10_800..28_800 => two(h, "h", m % 60, "m"),
        28_800..172_800 => format!("{h}h"),
        172_800..691_200 => two(d, "d", h % 24, "h"),
        _ => format!("{d}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_cell_moves_the_cursor() {
        let mut table = Table::new(&["NAME", "PHASE"]);
        let painted = Style { colour: true }.paint(Hue::Good, "Active");
        table.row(["rollout", &painted]);
        table.row(["x\u{1b}[2Ay\tz\n", "Pending"]);
        assert_eq!(table.render(), "NAME        PHASE\nrollout     \u{1b}[32mActive\u{1b}[0m\nx [2Ay z    Pending\n");
        assert_eq!(Table::default().render(), "");
    }

    #[test]
    fn no_colour_means_none() {
        assert_eq!(Style::of(true, true), Style::plain());
        assert_eq!(Style::of(false, false).paint(Hue::Bad, "x"), "x");
    }

    #[test]
    fn ages_are_those_of_kubectl() {
        let table = [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (190, "3m10s"),
            (600, "10m"),
            (10_799, "179m"),
            (11_100, "3h5m"),
            (90_000, "25h"),
            (200_000, "2d7h"),
            (1_000_000, "11d"),
        ];
        for (seconds, text) in table {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn objects_are_a_list_or_names() {
        let lease = super::super::view::lease::tests::waiting(|_| {});
        assert_eq!(object(Format::Name, &lease).unwrap(), "credentiallease.leasehold.dev/rollout\n");
        let list = objects(Format::Json, std::slice::from_ref(&lease)).unwrap();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&"List".into(), &"CredentialLease".into()));
        assert_eq!(objects(Format::Name, &[lease.clone(), lease]).unwrap().lines().count(), 2);
    }

    #[test]
    fn documents_end_with_a_line_feed() {
        for (format, text) in [(Format::Json, "[\n  1\n]\n"), (Format::Yaml, "- 1\n")] {
            assert_eq!(document(format, &[1]).unwrap(), text);
        }
    }
}
