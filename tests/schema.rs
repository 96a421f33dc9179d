//! What holds for every field of the definitions: there is no conversion, so a shape that slips in is there for life.

use leasehold::schema::definitions;
use serde_json::Value;

/// Calls `look` with every schema below this one and the path to it.
fn each(path: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each(&format!("{path}.{name}"), property, look);
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[inner].is_object() {
            each(&format!("{path}{mark}"), &schema[inner], look);
        }
    }
}

/// Every schema of both kinds that the look finds fault with.
fn faults(is_wrong: impl Fn(&Value) -> bool) -> Vec<String> {
    let (mut found, mut seen) = (vec![], 0);
    for definition in definitions() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default();
        for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
            each(kind, &version["schema"]["openAPIV3Schema"], &mut |path, schema| {
                seen += 1;
                if is_wrong(schema) {
                    found.push(path.to_owned());
                }
            });
        }
    }
    assert!(seen > 100, "only {seen} schemas were looked at");
    found
}

fn is(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind
}

#[test]
fn absent_has_one_spelling() {
    assert_eq!(faults(|s| s.get("nullable").is_some()), [""; 0], "nullable");
    assert_eq!(faults(|s| s["enum"].as_array().is_some_and(|e| e.contains(&Value::Null))), [""; 0], "null in an enum");
}

#[test]
fn nothing_has_a_default() {
    assert_eq!(faults(|s| s.get("default").is_some()), [""; 0]);
}

#[test]
fn every_schema_says_its_type() {
    let combined = |s: &Value| ["anyOf", "oneOf", "allOf", "not", "$ref"].iter().any(|word| s.get(word).is_some());
    assert_eq!(faults(combined), [""; 0], "combined");
    assert_eq!(faults(|s| !s["type"].is_string()), [""; 0], "without type");
    assert_eq!(faults(|s| s.get("x-kubernetes-preserve-unknown-fields").is_some()), [""; 0], "open");
}

#[test]
fn every_string_is_bounded() {
    let bounded = |s: &Value| s["maxLength"].is_u64() || s["enum"].is_array() || s["format"].is_string();
    assert_eq!(faults(|s| is(s, "string") && !bounded(s)), [""; 0]);
}

#[test]
fn every_list_is_bounded_and_says_how_it_merges() {
    assert_eq!(faults(|s| is(s, "array") && !s["maxItems"].is_u64()), [""; 0], "maxItems");
    assert_eq!(faults(|s| is(s, "array") && !s["x-kubernetes-list-type"].is_string()), [""; 0], "list type");
}

#[test]
fn every_integer_says_its_width() {
    let wide = |s: &Value| matches!(s["format"].as_str(), Some("int32" | "int64"));
    assert_eq!(faults(|s| is(s, "integer") && !wide(s)), [""; 0]);
    assert_eq!(faults(|s| is(s, "number")), [""; 0], "a number that is no integer");
}
