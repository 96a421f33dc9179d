//! What an expression may know: names, and the most that each can weigh.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use cel::Value;

use super::{
    Problem,
    weight::{self, Weight},
};
use crate::api::Time;

/// What an expression may know: names, and the most that each can weigh.
#[derive(Clone, Debug)]
pub struct Environment {
    longest: usize,
    fields: Vec<(Cow<'static, str>, Weight)>,
    encodes: bool,
}

impl Environment {
    /// Expressions of at most `longest` characters over these leaves, by path.
    #[must_use]
    pub(crate) fn new(longest: usize, fields: Vec<(Cow<'static, str>, Weight)>) -> Self {
        Self { longest, fields, encodes: false }
    }

    /// The same with `urlquery()`.
    #[must_use]
    pub(crate) fn encoding(self) -> Self {
        Self { encodes: true, ..self }
    }

    /// The longest expression, in characters.
    #[must_use]
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn encodes(&self) -> bool {
        self.encodes
    }

    /// The names of all leaves.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_ref())
    }

    /// The most a variable or field can weigh. `None`: there is none of this path.
    pub(super) fn weight(&self, path: &str) -> Option<Weight> {
        let object = |object: Option<Weight>, field: Weight| {
            let object = object.unwrap_or(Weight::SMALL);
            Some(object.plus(Weight { items: 1, each: field.total, ..field }))
        };
        match self.fields.iter().find(|(name, _)| name == path) {
            Some((_, weight)) => Some(*weight),
            None => {
                let known = self.fields.iter().filter(|(name, _)| is_within(name, path));
                let object = known.map(|(_, weight)| *weight).fold(None, object);
                object.or_else(|| self.shapeless_around(path).map(|(_, weight)| *weight))
            }
        }
    }

    /// How a path that is known is noted as used: a field of something shapeless as that thing.
    pub(super) fn used_name(&self, path: String) -> String {
        self.shapeless_around(&path).map_or(path, |(name, _)| name.clone().into_owned())
    }

    fn shapeless_around(&self, path: &str) -> Option<&(Cow<'static, str>, Weight)> {
        self.fields.iter().find(|(name, weight)| weight.is_shapeless() && is_within(path, name))
    }

    /// A text, if it is within the bounds that costs were reckoned with.
    pub(crate) fn text(&self, path: &str, text: &str) -> Result<Value, Problem> {
        let fits = self.weight(path).is_some_and(|bound| weight::text(text.len()) <= bound.total);
        if fits { Ok(Value::String(Arc::new(text.to_owned()))) } else { Err(Problem::InputTooLarge(path.to_owned())) }
    }

    /// A list of texts, if it is within the bounds that costs were reckoned with.
    pub(crate) fn list(&self, path: &str, entries: &[String]) -> Result<Value, Problem> {
        let too_large = || Problem::InputTooLarge(path.to_owned());
        let bound = self.weight(path).ok_or_else(too_large)?;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if count > bound.items || entries.iter().any(|entry| weight::text(entry.len()) > bound.each) {
            return Err(too_large());
        }
        Ok(Value::List(Arc::new(entries.iter().map(|entry| Value::String(Arc::new(entry.clone()))).collect())))
    }
}

/// Whether `name` is a field, at any depth, of `object`. Nothing is one of itself.
pub(crate) fn is_within(name: &str, object: &str) -> bool {
    name.strip_prefix(object).is_some_and(|rest| rest.starts_with('.'))
}

pub(crate) fn object<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    Value::Map(HashMap::from(fields).into())
}

pub(crate) fn duration(path: &str, seconds: i64) -> Result<Value, Problem> {
    let duration = chrono::Duration::try_seconds(seconds).map(Value::Duration);
    duration.ok_or_else(|| Problem::InputTooLarge(path.to_owned()))
}

pub(crate) fn timestamp(path: &str, time: Time) -> Result<Value, Problem> {
    let time = chrono::DateTime::from_timestamp_millis(time.as_millis());
    let time = time.ok_or_else(|| Problem::InputTooLarge(path.to_owned()))?;
    Ok(Value::Timestamp(time.fixed_offset()))
}
