use super::{super::model::fixture, *};

#[test]
fn no_text_of_others_becomes_markup() {
    let mut report = fixture::report();
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onmouseover=alert(1) \u{202e}";
    for lease in &mut report.leases {
        (lease.reason, lease.requester, lease.name) = (evil.into(), evil.into(), evil.into());
        (lease.lifecycle, lease.ticket, lease.end_message) = (evil.into(), Some(evil.into()), evil.into());
        lease.concerns = vec![evil.into()];
        lease.uid = evil.into();
    }
    for decision in &mut report.decisions {
        (decision.by, decision.reason, decision.lease) = (evil.into(), Some(evil.into()), evil.into());
    }
    for lifecycle in &mut report.lifecycles {
        (lifecycle.purpose, lifecycle.team, lifecycle.contact) = (evil.into(), evil.into(), evil.into());
    }
    for attention in &mut report.attention {
        (attention.about, attention.what) = (evil.into(), evil.into());
    }
    (report.made.by, report.made.namespace) = (evil.into(), Some(evil.into()));
    report.made.filter = vec![evil.into()];
    let page = page(&report);
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    // Quotes end an attribute: none of theirs is left as it is.
    assert!(!page.contains("\"' onmouseover"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn the_policy_knows_the_style_and_the_script_of_the_page_and_nothing_else() {
    let page = page(&fixture::report());
    let policy = policy();
    assert!(page.contains("http-equiv=\"Content-Security-Policy\"") && policy.starts_with("default-src 'none';"));
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
    for (tag, hashed) in [("style", STYLE), ("script", SCRIPT)] {
        assert!(page.contains(&format!("<{tag}>{hashed}</{tag}>")), "{tag} is in the page as it is hashed");
        assert!(!hashed.contains("</"), "nothing in it ends its element");
    }
    for foreign in [" style=\"", "http://", "https://", "url(", "@import", " src="] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn every_section_is_there_and_every_bar_has_its_row() {
    let report = fixture::report();
    let page = page(&report);
    let sections = [
        "attention",
        "timeline",
        "leases",
        "decisions",
        "lags",
        "refusals",
        "lifecycles",
        "standing",
        "policies",
        "evidence",
        "made",
    ];
    for id in sections {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    for lease in &report.leases {
        let id = timeline::id(lease);
        assert!(page.contains(&format!("href=\"#{id}\"")) && page.contains(&format!("id=\"{id}\"")), "{}", lease.name);
    }
    assert!(page.contains("Not permitted: whoever made this page may not read them"));
}

#[test]
fn ten_thousand_leases_are_a_page_of_bounded_size_that_hides_no_alarm() {
    let mut report = fixture::many(10_000, 50);
    report.leases[9_999].state = super::super::model::State::Overdue;
    let page = page(&report);
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert!(page.contains("9000 more leases, older and without anything to look at,"));
    assert!(
        page.contains(&format!("id=\"{}\"", timeline::id(&report.leases[9_999]))),
        "the oldest is the one that is overdue"
    );
}

#[test]
fn a_history_that_differs_is_shown_however_many_leases_live() {
    use super::super::model::{State, Trail};
    let mut report = fixture::many(3_000, 50);
    for lease in &mut report.leases {
        lease.state = State::Live;
    }
    let oldest = report.leases.last_mut().unwrap();
    (oldest.state, oldest.trail) = (State::Proven, Trail::Differs(vec!["record 3 is another one".into()]));
    let id = timeline::id(report.leases.last().unwrap());
    assert!(page(&report).contains(&format!("<tr id=\"{id}\"")), "it is what somebody should look at");
}
