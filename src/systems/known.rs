//! What one call's expressions know: the facts as they are named, and no more than is used where they are kept.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use cel::Value;
use serde::{Deserialize, Serialize};

use super::{
    facts::{Facts, TokenFact},
    problem::{Part, Problem},
};
use crate::{
    api::{Time, system::Operation},
    domain::expression::{self, Environment, Expression, Weight, duration, timestamp},
};

/// The one leaf that proves something to others.
pub(super) const TOKEN: &str = "credential.token";
/// What stands for the token where it is only shown what would be sent.
const MASK: &str = "***";
/// The most values, in each other, that expressions can look at in an answer.
pub(super) const MAX_VALUES: u64 = 8192;
/// The longest answer that is read, in bytes.
pub(super) const MAX_ANSWER: usize = 256 << 10;
/// The most headers of an answer that expressions see, and the longest of these, in characters.
pub(super) const MAX_HEADERS: u64 = 64;
pub(super) const MAX_HEADER: usize = 1024;

/// What expressions of any part know, with the bounds of the resources' schemas.
const FIELDS: &[(&str, Weight)] = &[
    ("lease.name", Weight::chars(253)),
    ("lease.namespace", Weight::chars(63)),
    ("lease.uid", Weight::chars(64)),
    ("lease.reason", Weight::chars(512)),
    ("lease.ticket", Weight::chars(128)),
    ("lease.grants", Weight::texts(16, 63)),
    ("lease.ttl", Weight::SMALL),
    ("lease.requestDigest", Weight::chars(71)),
    ("lease.endReason", Weight::chars(64)),
    ("lease.endTime", Weight::chars(64)),
    ("lease.evidence", Weight::chars(64)),
    ("lease.approvers", Weight::texts(64, 512)),
    ("lifecycle.name", Weight::chars(253)),
    ("lifecycle.namespace", Weight::chars(63)),
    ("lifecycle.class", Weight::chars(16)),
    ("lifecycle.owner.team", Weight::chars(128)),
    ("lifecycle.owner.contact", Weight::chars(256)),
    ("lifecycle.purpose", Weight::chars(512)),
    ("requester.username", Weight::chars(512)),
    ("requester.uid", Weight::chars(256)),
    ("requester.groups", Weight::texts(256, 256)),
    ("credential.serviceAccount", Weight::chars(253)),
    ("credential.expirationTime", Weight::chars(64)),
    ("credential.server", Weight::chars(512)),
    ("credential.ca", Weight::chars(65536)),
    ("now", Weight::SMALL),
];

fn fields(params: &[String]) -> Vec<(Cow<'static, str>, Weight)> {
    let params = params.iter().map(|name| (format!("params.{name}").into(), Weight::chars(1024)));
    FIELDS.iter().map(|(name, weight)| ((*name).into(), *weight)).chain(params).collect()
}

/// What path, headers and body may know.
pub(super) fn rendering(operation: &Operation) -> Environment {
    let mut fields = fields(&operation.params);
    fields.push((TOKEN.into(), Weight::chars(16384)));
    Environment::new(super::problem::MAX_EXPRESSION, fields).encoding()
}

/// What `success` and `retryable` may know: everything but the token, and the answer. Of a stored request the params are those
/// that it was rendered with.
pub(super) fn judging(params: &[String]) -> Environment {
    let mut fields = fields(params);
    fields.push(("response.status".into(), Weight::SMALL));
    fields.push(("response.headers".into(), Weight::shapeless(MAX_HEADERS, MAX_HEADERS as usize * 4 * MAX_HEADER)));
    fields.push(("response.body".into(), Weight::shapeless(MAX_VALUES, MAX_ANSWER)));
    Environment::new(super::problem::MAX_EXPRESSION, fields)
}

/// Every name that some expression of an operation with these params may know, for the reference.
#[must_use]
pub fn known_names(params: &[String]) -> Vec<String> {
    judging(params).names().map(str::to_owned).chain([TOKEN.to_owned()]).collect()
}

/// One leaf of what expressions know.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Fact {
    Text(String),
    Texts(Vec<String>),
    Seconds(i64),
    At(Time),
}

/// Leaves, by path.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Known(BTreeMap<String, Fact>);

impl Known {
    /// All that there is to know for a call of this operation.
    ///
    /// # Errors
    /// If the params are not exactly those that it declares.
    pub(super) fn of(operation: &Operation, facts: &Facts) -> Result<Self, Problem> {
        let declared = operation.params.iter().all(|name| facts.params.contains_key(name));
        if !declared || facts.params.len() != operation.params.len() {
            let names = if operation.params.is_empty() { "none".to_owned() } else { operation.params.join(", ") };
            return Err(Problem::Params(names));
        }
        let mut leaves = BTreeMap::new();
        let mut text = |path: &str, text: &str| _ = leaves.insert(path.to_owned(), Fact::Text(text.to_owned()));
        let time = |time: Option<Time>| time.map(|t| t.to_string()).unwrap_or_default();
        for (name, value) in &facts.params {
            text(&format!("params.{name}"), value);
        }
        let (lease, lifecycle, requester) = (&facts.lease, &facts.lifecycle, &facts.requester);
        text("lease.name", &lease.name);
        text("lease.namespace", &lease.namespace);
        text("lease.uid", &lease.uid);
        text("lease.reason", &lease.reason);
        text("lease.ticket", lease.ticket.as_deref().unwrap_or_default());
        text("lease.requestDigest", &lease.request_digest);
        text("lease.endReason", &lease.end_reason);
        text("lease.endTime", &time(lease.end_time));
        text("lease.evidence", &lease.evidence);
        text("lifecycle.name", &lifecycle.name);
        text("lifecycle.namespace", &lifecycle.namespace);
        text("lifecycle.class", &lifecycle.class);
        text("lifecycle.owner.team", &lifecycle.owner.team);
        text("lifecycle.owner.contact", &lifecycle.owner.contact);
        text("lifecycle.purpose", &lifecycle.purpose);
        text("requester.username", &requester.username);
        text("requester.uid", requester.uid.as_deref().unwrap_or_default());
        if let Some(credential) = &facts.credential {
            text("credential.serviceAccount", &credential.service_account);
            text("credential.expirationTime", &time(credential.expiration_time));
            text("credential.server", &credential.server);
            text("credential.ca", &credential.ca);
            match &credential.token {
                TokenFact::Held(token) => text(TOKEN, token.expose()),
                TokenFact::Masked => text(TOKEN, MASK),
                TokenFact::Absent => {}
            }
        }
        leaves.insert("lease.grants".into(), Fact::Texts(lease.grants.clone()));
        leaves.insert("lease.approvers".into(), Fact::Texts(lease.approvers.clone()));
        leaves.insert("lease.ttl".into(), Fact::Seconds(lease.ttl.as_secs()));
        leaves.insert("requester.groups".into(), Fact::Texts(requester.groups.clone()));
        leaves.insert("now".into(), Fact::At(facts.now));
        Ok(Self(leaves))
    }

    /// What these expressions use of it, without the token.
    pub(super) fn used_by<'e>(&self, expressions: impl IntoIterator<Item = &'e Expression>) -> Self {
        let mut used = BTreeMap::new();
        for expression in expressions {
            let leaves = self.0.iter().filter(|(name, _)| *name != TOKEN && expression.uses(name));
            used.extend(leaves.map(|(name, fact)| (name.clone(), fact.clone())));
        }
        Self(used)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of params that are known.
    pub(super) fn params(&self) -> Vec<String> {
        self.0.keys().filter_map(|name| name.strip_prefix("params.")).map(str::to_owned).collect()
    }

    /// Whether everything is known that the expression uses.
    ///
    /// # Errors
    /// What is missing: nothing but the credential, or its token, can be.
    pub(super) fn suffices(&self, part: &Part, expression: &Expression, env: &Environment) -> Result<(), Problem> {
        let missing =
            |name: &&str| !name.starts_with("response.") && expression.uses(name) && !self.0.contains_key(*name);
        match env.names().find(missing) {
            None => Ok(()),
            Some(TOKEN) if self.0.contains_key("credential.server") => Err(Problem::TokenNotHeld(part.clone())),
            Some(_) => Err(Problem::NothingIssued(part.clone())),
        }
    }

    /// What the expression uses, as its variables.
    pub(super) fn variables(&self, expression: &Expression, env: &Environment) -> Result<Tree, expression::Problem> {
        let mut tree = Tree::default();
        for (name, fact) in self.0.iter().filter(|(name, _)| expression.uses(name)) {
            let value = match fact {
                Fact::Text(text) => env.text(name, text)?,
                Fact::Texts(texts) => env.list(name, texts)?,
                Fact::Seconds(seconds) => duration(name, *seconds)?,
                Fact::At(time) => timestamp(name, *time)?,
            };
            tree.put(name, value);
        }
        Ok(tree)
    }
}

/// Values by path, as objects in each other.
#[derive(Default)]
pub(super) struct Tree(BTreeMap<String, Branch>);

enum Branch {
    Leaf(Value),
    Object(Tree),
}

impl Tree {
    pub(super) fn put(&mut self, path: &str, value: Value) {
        match path.split_once('.') {
            None => _ = self.0.insert(path.to_owned(), Branch::Leaf(value)),
            Some((first, rest)) => {
                let branch = self.0.entry(first.to_owned()).or_insert_with(|| Branch::Object(Self::default()));
                if let Branch::Object(tree) = branch {
                    tree.put(rest, value);
                }
            }
        }
    }

    pub(super) fn into_variables(self) -> Vec<(String, Value)> {
        self.0.into_iter().map(|(name, branch)| (name, branch.into_value())).collect()
    }
}

impl Branch {
    fn into_value(self) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::Object(tree) => Value::Map(tree.into_variables().into_iter().collect::<HashMap<_, _>>().into()),
        }
    }
}
