//! What rules of RBAC allow, compared: does one set of rules cover another, and what did a role gain?
//!
//! The semantics are those of the API server's own escalation check, `k8s.io/component-helpers/auth/rbac/validation`
//! (`Covers`, `BreakdownRule`): what is wanted is broken down into single verb, group, resource and name, and each piece must be
//! covered by one rule. In particular `*` is only covered by `*`.

use k8s_openapi::api::rbac::v1;

use super::digest::{self, Json};
use crate::api::status::PolicyRule;

/// How many gained pieces a message names.
const MAX_GAINED: usize = 8;
/// How many comparisons of two rules one question may take. Only a role made to be expensive needs more; then what could not be
/// looked at counts as not covered.
const MAX_COMPARISONS: usize = 100_000;

impl From<&v1::PolicyRule> for PolicyRule {
    fn from(rule: &v1::PolicyRule) -> Self {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        Self {
            verbs: rule.verbs.clone(),
            api_groups: list(&rule.api_groups),
            resources: list(&rule.resources),
            resource_names: list(&rule.resource_names),
            non_resource_urls: list(&rule.non_resource_urls),
        }
    }
}

/// The rules of a `Role` or `ClusterRole`.
#[must_use]
pub fn rules(of_role: Option<&Vec<v1::PolicyRule>>) -> Vec<PolicyRule> {
    of_role.into_iter().flatten().map(PolicyRule::from).collect()
}

/// Whether whoever has `have` may do everything that `want` allows.
#[must_use]
pub fn covers(have: &[PolicyRule], want: &[PolicyRule]) -> bool {
    missing(have, want, 1).is_empty()
}

/// What `after` allows and `before` did not, in single pieces; at most eight, enough for a message.
#[must_use]
pub fn gained(before: &[PolicyRule], after: &[PolicyRule]) -> Vec<PolicyRule> {
    missing(before, after, MAX_GAINED)
}

/// What `have` allows of what `forbidden` names, in pieces, at most eight: enough for a message. Two rules overlap as soon as
/// one request exists that both speak of: a rule for one Secret overlaps one for all of them, and `*` overlaps everything.
#[must_use]
pub fn overlap(have: &[PolicyRule], forbidden: &[PolicyRule]) -> Vec<PolicyRule> {
    let pairs = have.iter().flat_map(|rule| forbidden.iter().map(move |other| (rule, other)));
    let pieces = pairs.flat_map(|(rule, other)| [shared_resources(rule, other), shared_urls(rule, other)]);
    let mut out: Vec<PolicyRule> = vec![];
    for piece in pieces.flatten() {
        if out.len() == MAX_GAINED {
            break;
        }
        if !out.contains(&piece) {
            out.push(piece);
        }
    }
    out
}

fn shared_resources(a: &PolicyRule, b: &PolicyRule) -> Option<PolicyRule> {
    let names = match (a.resource_names.is_empty(), b.resource_names.is_empty()) {
        (true, _) => b.resource_names.clone(),
        (_, true) => a.resource_names.clone(),
        _ => shared(&a.resource_names, &b.resource_names, |x, y| x == y),
    };
    let any_name = a.resource_names.is_empty() && b.resource_names.is_empty();
    let piece = PolicyRule {
        verbs: shared(&a.verbs, &b.verbs, is_or_star),
        api_groups: shared(&a.api_groups, &b.api_groups, is_or_star),
        resources: shared(&a.resources, &b.resources, |x, y| resource_covered(std::slice::from_ref(x), y)),
        resource_names: names,
        non_resource_urls: vec![],
    };
    let any = !(piece.verbs.is_empty() || piece.api_groups.is_empty() || piece.resources.is_empty());
    (any && (any_name || !piece.resource_names.is_empty())).then_some(piece)
}

fn shared_urls(a: &PolicyRule, b: &PolicyRule) -> Option<PolicyRule> {
    let piece = PolicyRule {
        verbs: shared(&a.verbs, &b.verbs, is_or_star),
        non_resource_urls: shared(&a.non_resource_urls, &b.non_resource_urls, |x, y| {
            url_covered(std::slice::from_ref(x), y)
        }),
        ..PolicyRule::default()
    };
    (!(piece.verbs.is_empty() || piece.non_resource_urls.is_empty())).then_some(piece)
}

/// The entries of either list that an entry of the other one covers: the narrower of each pair.
fn shared(a: &[String], b: &[String], covers: impl Fn(&String, &String) -> bool) -> Vec<String> {
    let mut out: Vec<String> = vec![];
    for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (x, y))) {
        let narrower = if covers(x, y) { Some(y) } else { Some(x).filter(|_| covers(y, x)) };
        if let Some(entry) = narrower.filter(|entry| !out.contains(entry)) {
            out.push(entry.clone());
        }
    }
    out
}

fn is_or_star(entry: &String, other: &String) -> bool {
    entry == "*" || entry == other
}

/// `sha256:` of the canonical JSON of the rules, in their order.
#[must_use]
pub fn digest(rules: &[PolicyRule]) -> String {
    digest::sha256(&Json::List(rules.iter().map(json).collect()).canonical())
}

/// A rule as it is written in a status: without empty lists.
fn json(rule: &PolicyRule) -> Json {
    let lists = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
        ("nonResourceURLs", &rule.non_resource_urls),
    ];
    let member = |(name, list): (_, &Vec<String>)| (name, Json::List(list.iter().map(Json::text).collect()));
    Json::object(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(member))
}

/// The pieces of `want` that no rule of `have` covers, the first `limit` of them.
fn missing(have: &[PolicyRule], want: &[PolicyRule], limit: usize) -> Vec<PolicyRule> {
    let mut search = Search { comparisons: MAX_COMPARISONS, limit, missing: Vec::new() };
    let have: Vec<_> = have.iter().collect();
    for rule in want {
        for part in [resources_of(rule), urls_of(rule)].into_iter().flatten() {
            search.look_for(&part, &have);
        }
    }
    search.missing
}

/// The part of a rule that is about resources, if it allows any.
fn resources_of(rule: &PolicyRule) -> Option<PolicyRule> {
    let any = !(rule.verbs.is_empty() || rule.api_groups.is_empty() || rule.resources.is_empty());
    any.then(|| PolicyRule { non_resource_urls: Vec::new(), ..rule.clone() })
}

/// The part of a rule that is about paths, if it allows any.
fn urls_of(rule: &PolicyRule) -> Option<PolicyRule> {
    let any = !(rule.verbs.is_empty() || rule.non_resource_urls.is_empty());
    any.then(|| PolicyRule {
        verbs: rule.verbs.clone(),
        non_resource_urls: rule.non_resource_urls.clone(),
        ..PolicyRule::default()
    })
}

/// A search for pieces that are not covered, with a budget.
struct Search {
    comparisons: usize,
    limit: usize,
    missing: Vec<PolicyRule>,
}

impl Search {
    /// Breaks `piece` down only as far as it must: what one rule covers as a whole, it covers in every piece. On the way down,
    /// rules that share nothing with the piece are left behind.
    fn look_for(&mut self, piece: &PolicyRule, have: &[&PolicyRule]) {
        if self.missing.len() >= self.limit {
            return;
        }
        let affordable = self.comparisons >= have.len();
        self.comparisons = self.comparisons.saturating_sub(have.len());
        if affordable && have.iter().any(|rule| rule_covers(rule, piece)) {
            return;
        }
        let parts = if affordable { broken_down(piece) } else { Vec::new() };
        if parts.is_empty() {
            self.missing.push(piece.clone());
        }
        for part in parts {
            let related: Vec<_> = have.iter().copied().filter(|rule| rule_touches(rule, &part)).collect();
            self.look_for(&part, &related);
        }
    }
}

/// A piece in parts that have one entry less to break down; none if it is a single piece already.
fn broken_down(piece: &PolicyRule) -> Vec<PolicyRule> {
    let lists: [fn(&mut PolicyRule) -> &mut Vec<String>; 5] = [
        |rule| &mut rule.verbs,
        |rule| &mut rule.api_groups,
        |rule| &mut rule.resources,
        |rule| &mut rule.resource_names,
        |rule| &mut rule.non_resource_urls,
    ];
    let mut rest = piece.clone();
    for list in lists {
        if list(&mut rest).len() < 2 {
            continue;
        }
        let entries = std::mem::take(list(&mut rest));
        let one = |entry| {
            let mut part = rest.clone();
            list(&mut part).push(entry);
            part
        };
        return entries.into_iter().map(one).collect();
    }
    Vec::new()
}

/// Whether one rule covers another as a whole: `ruleCovers` of upstream.
fn rule_covers(rule: &PolicyRule, piece: &PolicyRule) -> bool {
    let names = rule.resource_names.is_empty()
        || !piece.resource_names.is_empty()
            && piece.resource_names.iter().all(|name| rule.resource_names.contains(name));
    names
        && piece.verbs.iter().all(|verb| has_or_star(&rule.verbs, verb))
        && piece.api_groups.iter().all(|group| has_or_star(&rule.api_groups, group))
        && piece.resources.iter().all(|resource| resource_covered(&rule.resources, resource))
        && piece.non_resource_urls.iter().all(|url| url_covered(&rule.non_resource_urls, url))
}

/// Whether a rule covers at least the entries that are single in `piece`. Otherwise it covers no part of it.
fn rule_touches(rule: &PolicyRule, piece: &PolicyRule) -> bool {
    let single =
        |list: &[String], covered: &dyn Fn(&str) -> bool| if let [entry] = list { covered(entry) } else { true };
    single(&piece.verbs, &|verb| has_or_star(&rule.verbs, verb))
        && single(&piece.api_groups, &|group| has_or_star(&rule.api_groups, group))
        && single(&piece.resources, &|resource| resource_covered(&rule.resources, resource))
        && single(&piece.non_resource_urls, &|url| url_covered(&rule.non_resource_urls, url))
}

fn has_or_star(list: &[String], entry: &str) -> bool {
    list.iter().any(|e| e == "*" || e == entry)
}

/// `*/scale` covers the subresource `scale` of every resource, and no resource itself.
fn resource_covered(list: &[String], resource: &str) -> bool {
    let any_of_subresource = |entry: &str| {
        let subresource = resource.split_once('/').map(|(_, subresource)| subresource);
        subresource.is_some() && entry.strip_prefix("*/") == subresource
    };
    list.iter().any(|entry| entry == "*" || entry == resource || any_of_subresource(entry))
}

/// A `*` at the end of a path stands for any rest.
fn url_covered(list: &[String], url: &str) -> bool {
    list.iter().any(|entry| entry == url || entry.ends_with('*') && url.starts_with(entry.trim_end_matches('*')))
}

/// The most rules, and the most bytes of canonical JSON, of one role that a status holds: 16 grants have to fit.
const RECORDED: (usize, usize) = (32, 16 << 10);
/// The bounds of the schema of a recorded rule: values in a list, and bytes of a verb, a name, a path.
const LISTED: usize = 64;
const VERB: usize = 128;
const NAME: usize = 253;
const PATH: usize = 512;

/// Whether a status can hold these rules; where it cannot, their digest speaks for them.
#[must_use]
pub fn recordable(rules: &[PolicyRule]) -> bool {
    let fits =
        |list: &[String], max: usize| list.len() <= LISTED && list.iter().all(|text| text.chars().count() <= max);
    let bounded = |rule: &PolicyRule| {
        fits(&rule.verbs, VERB)
            && [&rule.api_groups, &rule.resources, &rule.resource_names].into_iter().all(|list| fits(list, NAME))
            && fits(&rule.non_resource_urls, PATH)
    };
    let small = || super::digest::canonical(&rules).is_ok_and(|text| text.len() <= RECORDED.1);
    rules.len() <= RECORDED.0 && rules.iter().all(bounded) && small()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn list(words: &str) -> Vec<String> {
        // `core` stands for the empty group, so that a table stays readable.
        words.split_whitespace().map(|word| if word == "core" { "" } else { word }.to_owned()).collect()
    }

    fn rule(verbs: &str, groups: &str, resources: &str) -> PolicyRule {
        PolicyRule { verbs: list(verbs), api_groups: list(groups), resources: list(resources), ..PolicyRule::default() }
    }

    fn named(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
        PolicyRule { resource_names: list(names), ..rule(verbs, groups, resources) }
    }

    fn urls(verbs: &str, urls: &str) -> PolicyRule {
        PolicyRule { verbs: list(verbs), non_resource_urls: list(urls), ..PolicyRule::default() }
    }

    #[test]
    fn rules_cover_each_other_as_the_api_server_says() {
        let table: Vec<(Vec<PolicyRule>, Vec<PolicyRule>, bool)> = vec![
            (vec![], vec![], true),
            (vec![], vec![rule("get", "core", "pods")], false),
            (vec![rule("get list", "core", "pods secrets")], vec![rule("list", "core", "pods")], true),
            (
                vec![rule("get", "core", "pods"), rule("list", "core", "pods")],
                vec![rule("get list", "core", "pods")],
                true,
            ),
            (
                vec![rule("get", "core", "pods"), rule("list", "core", "secrets")],
                vec![rule("get list", "core", "pods secrets")],
                false,
            ),
            // Wildcards cover; only a wildcard covers a wildcard.
            (vec![rule("*", "*", "*")], vec![rule("get", "apps", "deployments/scale")], true),
            (vec![rule("*", "*", "*")], vec![rule("*", "*", "*")], true),
            (vec![rule("get list watch", "core", "pods")], vec![rule("*", "core", "pods")], false),
            (vec![rule("get", "core apps", "pods")], vec![rule("get", "*", "pods")], false),
            (vec![rule("get", "core", "pods")], vec![rule("get", "core", "*")], false),
            // Subresources.
            (vec![rule("get", "core", "pods")], vec![rule("get", "core", "pods/log")], false),
            (vec![rule("get", "core", "*/log")], vec![rule("get", "core", "pods/log")], true),
            (vec![rule("get", "core", "*/log")], vec![rule("get", "core", "pods")], false),
            (vec![rule("get", "core", "*/log")], vec![rule("get", "core", "*/log")], true),
            (vec![rule("get", "core", "*/log")], vec![rule("get", "core", "pods/exec")], false),
            (vec![rule("get", "core", "*/")], vec![rule("get", "core", "pods")], false),
            // Names.
            (vec![rule("get", "core", "secrets")], vec![named("get", "core", "secrets", "a b")], true),
            (vec![named("get", "core", "secrets", "a")], vec![named("get", "core", "secrets", "a b")], false),
            (
                vec![named("get", "core", "secrets", "a"), named("get", "core", "secrets", "b")],
                vec![named("get", "core", "secrets", "a b")],
                true,
            ),
            (vec![named("get", "core", "secrets", "a")], vec![rule("get", "core", "secrets")], false),
            // Paths.
            (vec![urls("get", "/healthz")], vec![urls("get", "/healthz")], true),
            (vec![urls("get", "/healthz")], vec![urls("get", "/healthz/etcd")], false),
            (vec![urls("get", "/healthz/*")], vec![urls("get", "/healthz/etcd")], true),
            (vec![urls("get", "/healthz/*")], vec![urls("get", "/healthz")], false),
            (vec![urls("*", "*")], vec![urls("post", "/anything /else")], true),
            (vec![urls("get", "/a*")], vec![urls("get", "/a/*")], true),
            (vec![urls("get", "/a/*")], vec![urls("get", "/a*")], false),
            (vec![urls("*", "*")], vec![rule("get", "core", "pods")], false),
            (vec![rule("*", "*", "*")], vec![urls("get", "/healthz")], false),
            // Rules that allow nothing.
            (
                vec![],
                vec![rule("", "core", "pods"), rule("get", "", "pods"), rule("get", "core", ""), urls("", "/")],
                true,
            ),
        ];
        for (have, want, expected) in table {
            assert_eq!(covers(&have, &want), expected, "{have:?} covers {want:?}");
            assert_eq!(gained(&have, &want).is_empty(), expected);
        }
    }

    #[test]
    fn rules_overlap_where_one_request_is_in_both() {
        let secrets = rule("get list", "core", "secrets");
        let table: Vec<(PolicyRule, PolicyRule, Option<PolicyRule>)> = vec![
            (rule("get", "core", "pods"), secrets.clone(), None),
            (rule("get watch", "core", "pods secrets"), secrets.clone(), Some(rule("get", "core", "secrets"))),
            (rule("*", "*", "*"), secrets.clone(), Some(secrets.clone())),
            (rule("delete", "core", "secrets"), secrets.clone(), None),
            (rule("get", "apps", "secrets"), secrets.clone(), None),
            // A wildcard on either side.
            (rule("get", "core", "secrets"), rule("*", "*", "*"), Some(rule("get", "core", "secrets"))),
            // Subresources are other resources.
            (rule("create", "core", "pods/exec"), rule("create", "core", "pods"), None),
            (rule("create", "core", "pods"), rule("create", "core", "pods/exec"), None),
            (
                rule("create", "core", "*/exec"),
                rule("create", "core", "pods/exec"),
                Some(rule("create", "core", "pods/exec")),
            ),
            (rule("create", "core", "*"), rule("create", "core", "*/exec"), Some(rule("create", "core", "*/exec"))),
            // Names: none is all.
            (named("get", "core", "secrets", "a b"), secrets.clone(), Some(named("get", "core", "secrets", "a b"))),
            (
                rule("get", "core", "secrets"),
                named("get", "core", "secrets", "a"),
                Some(named("get", "core", "secrets", "a")),
            ),
            (named("get", "core", "secrets", "a"), named("get", "core", "secrets", "b"), None),
            // Paths.
            (urls("get", "/metrics"), urls("*", "/*"), Some(urls("get", "/metrics"))),
            (urls("get", "/metrics"), urls("get", "/healthz"), None),
            (rule("*", "*", "*"), urls("get", "/healthz"), None),
        ];
        for (have, forbidden, expected) in table {
            let found = overlap(std::slice::from_ref(&have), std::slice::from_ref(&forbidden));
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{have:?} and {forbidden:?}");
        }
    }

    #[test]
    fn a_role_that_was_narrowed_or_rewritten_gains_nothing() {
        let before = [rule("get list watch", "core", "pods services"), rule("get", "apps", "deployments")];
        let after = [
            rule("list get", "core", "services"),
            rule("get", "core", "pods"),
            named("get", "apps", "deployments", "a"),
        ];
        assert_eq!(gained(&before, &after), []);
    }

    #[test]
    fn what_is_gained_is_told_in_single_pieces() {
        let before = [rule("get list", "core", "pods")];
        let after = [rule("get list delete", "core", "pods secrets"), urls("get", "/metrics")];
        assert_eq!(
            gained(&before, &after),
            [
                rule("get", "core", "secrets"),
                rule("list", "core", "secrets"),
                rule("delete", "core", "pods"),
                rule("delete", "core", "secrets"),
                urls("get", "/metrics"),
            ]
        );
        assert_eq!(gained(&[], &[rule("a b c", "d e", "f g")]).len(), MAX_GAINED);
    }

    #[test]
    fn a_role_made_to_be_expensive_costs_little_and_counts_as_gained() {
        let words = |prefix: &str| (0..64).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
        let want = PolicyRule {
            verbs: words("v"),
            api_groups: words("g"),
            resources: words("r"),
            resource_names: words("n"),
            non_resource_urls: vec![],
        };
        // Each rule lacks one name, and names are broken down last: nothing is decided before the last level.
        let have: Vec<_> = (0..64)
            .map(|n| {
                let mut rule = want.clone();
                rule.resource_names.remove(n);
                rule
            })
            .collect();
        let start = Instant::now();
        assert!(!gained(&have[..1], std::slice::from_ref(&want)).is_empty());
        assert!(!covers(&have, std::slice::from_ref(&want)), "16 million pieces are not looked at");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn rules_of_the_api_server_are_taken_over_whole() {
        let role = vec![v1::PolicyRule {
            verbs: list("get"),
            api_groups: Some(list("core")),
            resources: Some(list("pods")),
            resource_names: Some(list("a")),
            non_resource_urls: Some(list("/x")),
        }];
        let expected = PolicyRule { non_resource_urls: list("/x"), ..named("get", "core", "pods", "a") };
        assert_eq!(rules(Some(&role)), [expected]);
        assert_eq!(rules(None), []);
    }

    #[test]
    fn the_digest_is_over_the_rules_as_the_status_shows_them() {
        let all = [named("get list", "core apps", "pods", "a"), urls("get", "/x"), PolicyRule::default()];
        for rules in [&all[..], &all[..1], &[]] {
            assert_eq!(digest(rules), digest::sha256(&digest::canonical(&rules).unwrap()));
        }
    }

    #[test]
    fn only_rules_that_a_status_can_hold_are_recorded() {
        let rule = |names: usize| PolicyRule {
            verbs: vec!["get".into()],
            resources: vec!["pods".into()],
            resource_names: (0..names).map(|n| format!("n{n}")).collect(),
            ..PolicyRule::default()
        };
        assert!(recordable(&[]) && recordable(&[rule(64)]) && recordable(&vec![rule(0); 32]));
        assert!(!recordable(&[rule(65)]), "a list longer than the schema's");
        assert!(!recordable(&vec![rule(0); 33]), "more rules than the schema's");
    }
}
