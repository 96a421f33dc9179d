//! What several sections are made of.

use maud::{Markup, html};

use crate::{
    api::Time,
    cli::{
        report::model::{Millis, State, Trail},
        view::text,
    },
};

/// A text of others, with what hides or turns writing spelled out.
pub fn text(words: &str) -> Markup {
    html! { (text::safe(words)) }
}

/// A name that may be long, with the places where a line may break.
pub fn identity(name: &str) -> Markup {
    let name = text::safe(name);
    html! { @for part in name.split_inclusive([':', '@', '.', '/']) { (part) wbr; } }
}

/// A lifecycle as the filter knows it: `<namespace>/<name>`.
pub fn life(namespace: &str, name: &str) -> String {
    text::safe(&format!("{namespace}/{name}"))
}

/// `2026-11-24`.
pub fn day(time: Time) -> String {
    time.to_string().chars().take(10).collect()
}

/// A point in time to the second, in UTC; the whole of it is in the markup.
pub fn moment(time: Option<Time>) -> Markup {
    let Some(time) = time else { return html! { span.none { "–" } } };
    let whole = time.to_string();
    let clock: String = whole.chars().skip(11).take(8).collect();
    html! { time datetime=(whole) title=(whole) { span.day { (day(time)) } " " (clock) } }
}

/// A lag.
pub fn lag(lag: Option<Millis>) -> Markup {
    match lag {
        Some(lag) => html! { (lag) " s" },
        None => html! { span.none { "–" } },
    }
}

/// The word that the style and the script know a state by.
pub fn key(state: State) -> &'static str {
    match state {
        State::Overdue => "overdue",
        State::Unproven => "unproven",
        State::Live => "live",
        State::Waiting => "waiting",
        State::Ending => "ending",
        State::Proven => "proven",
        State::Refused => "refused",
        State::NotIssued => "notissued",
    }
}

/// A state in a word; its colour only helps.
pub fn badge(state: State) -> Markup {
    html! { span class={ "badge " (key(state)) } title=(state.meaning()) { (state.label()) } }
}

/// Whether a history verifies.
pub fn trail(trail: &Trail) -> Markup {
    match trail {
        Trail::Verified => html! { span.ok { "verified" } },
        Trail::Incomplete(_) => html! { span { "incomplete" } },
        Trail::Differs(_) => html! { span.bad { "differs" } },
        Trail::None => html! { span.none { "–" } },
    }
}

/// A section with its title and what it is about.
pub fn section(id: &str, title: &str, about: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            p.about { (about) }
            (content)
        }
    }
}

/// A table that scrolls by itself where the window is narrow.
pub fn table(caption: &str, head: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { @for cell in head { th scope="col" { (cell) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// What a bounded table does not show.
pub fn left_out(left: usize, what: &str) -> Markup {
    html! {
        @if left > 0 {
            p.left { (left) " more " (what) " are not shown here. " code { "-o json" } " and " code { "-o csv" } " have every lease." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_milliseconds_in_the_markup() {
        let time = "2026-11-24T12:00:05.123Z".parse().unwrap();
        let expected = "<time datetime=\"2026-11-24T12:00:05.123Z\" title=\"2026-11-24T12:00:05.123Z\"><span class=\"day\">2026-11-24</span> 12:00:05</time>";
        assert_eq!(moment(Some(time)).into_string(), expected);
    }
}
