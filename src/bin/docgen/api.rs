//! The fields of the custom resources, from the definitions as they are shipped.

use std::fmt::Write;

use leasehold::schema::definitions;
use serde_json::Value;

use super::{cell, code};

pub fn page() -> String {
    let mut out = String::from(
        "# API: `leasehold.dev/v1alpha1`\n\n\
         Every field, its type and bounds, and the rules the API server itself checks. Times are RFC 3339 with milliseconds, \
         durations are like `90s`, `15m` or `1h30m`. A field marked * must be given.\n",
    );
    for definition in definitions() {
        kind(&mut out, &definition);
    }
    out
}

fn kind(out: &mut String, definition: &Value) {
    let names = &definition["spec"]["names"];
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap_or(&Value::Null);
    _ = write!(
        out,
        "\n## {}\n\n{}\n\nShort name `{}`; {} scope.\n",
        text(&names["kind"]),
        text(&schema["description"]),
        names["shortNames"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join("`, `"),
        text(&definition["spec"]["scope"]).to_lowercase(),
    );
    for part in ["spec", "status"] {
        _ = write!(
            out,
            "\n### {}: `{part}`\n\n| field | type | bounds | meaning |\n|---|---|---|---|\n",
            text(&names["kind"])
        );
        fields(out, part, &schema["properties"][part]);
    }
    let mut rules = vec![];
    gather_rules("", schema, &mut rules);
    _ = write!(out, "\n### {}: rules\n\n", text(&names["kind"]));
    for (at, rule) in rules {
        let place = if at.is_empty() { String::new() } else { format!("{}: ", code(&at)) };
        _ = writeln!(out, "- {place}{} {}", text(&rule["message"]), code(text(&rule["rule"])));
    }
}

fn fields(out: &mut String, path: &str, schema: &Value) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let star = if required.contains(&name.as_str()) { "*" } else { "" };
        let (of, path) = match field.get("items") {
            Some(items) => (items, format!("{path}[]")),
            None => (field, path),
        };
        _ = writeln!(
            out,
            "| {}{star} | {} | {} | {} |",
            code(&path),
            kind_of(field),
            cell(&bounds(field)),
            cell(text(&field["description"]))
        );
        fields(out, &path, of);
    }
}

fn kind_of(field: &Value) -> String {
    if let Some(items) = field.get("items") {
        let of = match text(&field["x-kubernetes-list-type"]) {
            "map" => "map",
            "set" => "set",
            _ => "list",
        };
        return format!("{of} of {}", kind_of(items));
    }
    match (text(&field["type"]), text(&field["format"])) {
        ("string", "date-time") => "time".into(),
        (kind, _) => kind.into(),
    }
}

fn bounds(field: &Value) -> String {
    let mut said = vec![];
    if let Some(values) = field["enum"].as_array() {
        said.push(values.iter().map(text).collect::<Vec<_>>().join(", "));
    }
    let number = |key: &str| field[key].as_f64();
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => said.push(format!("{least} to {most}")),
        (Some(least), None) => said.push(format!("at least {least}")),
        (None, Some(most)) => said.push(format!("at most {most}")),
        (None, None) => {}
    }
    if let Some(most) = field["maxLength"].as_u64() {
        said.push(format!("at most {most} characters"));
    }
    if let Some(most) = field["maxItems"].as_u64() {
        said.push(format!("at most {most}"));
    }
    if let Some(pattern) = field["pattern"].as_str() {
        said.push(code(pattern));
    }
    if let Some(items) = field.get("items").filter(|i| i["type"] != "object") {
        let each = bounds(items);
        if !each.is_empty() {
            said.push(format!("each: {each}"));
        }
    }
    said.join("; ")
}

fn gather_rules<'a>(path: &str, schema: &'a Value, rules: &mut Vec<(String, &'a Value)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        rules.push((path.to_owned(), rule));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        gather_rules(&path, field, rules);
    }
    if let Some(items) = schema.get("items") {
        gather_rules(&format!("{path}[]"), items, rules);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
