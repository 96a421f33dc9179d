//! Between JSON and the values of expressions.

use std::collections::HashMap;

use cel::{Value, objects::Key};
use serde_json::{Map, Number, Value as Json};

/// A value as JSON: what has no JSON form of its own is refused. Keys come out sorted, so equal values give equal texts.
pub(super) fn from_value(value: &Value) -> Result<Json, &'static str> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Int(int) => Json::Number((*int).into()),
        Value::UInt(uint) => Json::Number((*uint).into()),
        Value::Float(float) => Json::Number(Number::from_f64(*float).ok_or("a number in it is not finite")?),
        Value::String(text) => Json::String(text.as_str().to_owned()),
        Value::Timestamp(time) => Json::String(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
        // As protobuf's JSON has durations.
        Value::Duration(duration) => Json::String(format!("{}s", duration.num_seconds())),
        Value::List(entries) => Json::Array(entries.iter().map(from_value).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let mut object = Map::new();
            for (key, value) in map.map.iter() {
                let Key::String(key) = key else { return Err("a key in it is not a text") };
                object.insert(key.as_str().to_owned(), from_value(value)?);
            }
            Json::Object(object)
        }
        _ => return Err("a value in it has no JSON form"),
    })
}

/// JSON as a value, if it has at most `left` values, with keys counted as well; `left` is counted down.
pub(super) fn to_value(json: Json, left: &mut u64) -> Option<Value> {
    *left = left.checked_sub(1)?;
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Bool(bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64()?),
        },
        Json::String(text) => Value::from(text),
        Json::Array(entries) => {
            Value::List(entries.into_iter().map(|entry| to_value(entry, left)).collect::<Option<Vec<_>>>()?.into())
        }
        Json::Object(object) => {
            let mut map = HashMap::new();
            for (key, value) in object {
                *left = left.checked_sub(1)?;
                map.insert(key, to_value(value, left)?);
            }
            Value::Map(map.into())
        }
    })
}
