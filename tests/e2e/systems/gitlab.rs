//! GitLab: project-level CI/CD variables, `/projects/:id/variables`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use leasehold::domain::outcome::Outcome;
use serde_json::{Value, json};

use super::{
    stage::{self, Stage, TOKEN, issued, requested, with},
    vendor::{Answer, Call, Contract, Vendor, decoded, only},
};
use crate::support::{Lab, run};

const PROJECT: &str = "/api/v4/projects/4711";
const VARIABLES: &str = "/api/v4/projects/4711/variables";
const OPTIONAL: &[&str] =
    &["description", "environment_scope", "masked", "masked_and_hidden", "protected", "raw", "variable_type"];

/// A project.
struct GitLab {
    variables: BTreeMap<String, Value>,
}

/// A masked variable's value is one line of at least eight characters, each of Base64, `@`, `:`, `.`, `~`, `-` or `_`.
fn is_maskable(value: &str) -> bool {
    value.len() >= 8 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=/@:.~-".contains(&byte))
}

fn invalid(field: &str, why: &str) -> Answer {
    Answer::json(400, json!({"message": {field: [why]}}))
}

impl GitLab {
    fn create(&mut self, call: &Call) -> Result<Answer, String> {
        let variable = call.json()?;
        only(&variable, &["key", "value"], OPTIONAL)?;
        let key = variable["key"].as_str().ok_or("a key is a text")?.to_owned();
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(invalid("key", "can contain only letters, digits and '_'."));
        }
        if self.variables.contains_key(&key) {
            return Ok(invalid("key", &format!("({key}) has already been taken")));
        }
        if variable["masked"] == true && !is_maskable(variable["value"].as_str().unwrap_or_default()) {
            return Ok(invalid("value", "is invalid"));
        }
        self.variables.insert(key, variable.clone());
        Ok(Answer::json(201, variable))
    }

    /// PUT and DELETE of the one with this key, in the scope that the filter names.
    fn change(&mut self, call: &Call, key: &str) -> Result<Answer, String> {
        if call.param("filter[environment_scope]") != Some("*") {
            return Err("without a filter, variables of the same key in other scopes would be meant too".to_owned());
        }
        if !self.variables.contains_key(key) {
            return Ok(Answer::json(404, json!({"message": "404 Variable Not Found"})));
        }
        if call.method == "DELETE" {
            call.nobody()?;
            self.variables.remove(key);
            return Ok(Answer::empty(204));
        }
        let change = call.json()?;
        only(&change, &["value"], OPTIONAL)?;
        if change["masked"] == true && !is_maskable(change["value"].as_str().unwrap_or_default()) {
            return Ok(invalid("value", "is invalid"));
        }
        self.variables.insert(key.to_owned(), change.clone());
        Ok(Answer::json(200, change))
    }
}

impl Contract for GitLab {
    fn answer(&mut self, call: &Call) -> Result<Answer, String> {
        if call.header("private-token") != "glpat-1" {
            return Ok(Answer::json(401, json!({"message": "401 Unauthorized"})));
        }
        if (call.method.as_str(), call.path.as_str()) == ("GET", PROJECT) {
            return Ok(Answer::json(200, json!({"id": 4711, "path_with_namespace": "example/payments"})));
        }
        match (call.method.as_str(), call.path.strip_prefix(VARIABLES).ok_or("another project")?) {
            ("POST", "") => self.create(call),
            ("PUT" | "DELETE", key) => self.change(call, &decoded(key.trim_start_matches('/'))),
            _ => Err("no such resource".to_owned()),
        }
    }
}

#[test]
fn the_variable_holds_the_token_protected_and_masked_until_it_is_taken_back_and_each_call_may_be_repeated() {
    run(async {
        let vendor = Vendor::open(GitLab { variables: BTreeMap::new() }).await?;
        let stage = Stage::of(Lab::shared().await?, "gitlab.yaml", vendor.url(), &[("token", "glpat-1")]).await?;
        let (facts, gone) = (with(issued(), "name", "TOKEN"), with(requested(), "name", "TOKEN"));
        stage.done("probe", &requested()).await?;
        ensure!(stage::is_refused(&stage.call("set-variable", &facts).await?), "there is none to set yet");
        for operation in ["ensure-variable", "ensure-variable", "set-variable", "set-variable", "ensure-variable"] {
            stage.done(operation, &facts).await?;
        }
        let held = vendor.with(|it| it.variables["LEASEHOLD_TOKEN"].clone());
        ensure!(
            held["value"] == TOKEN && held["protected"] == true && held["masked"] == true,
            "it is not as it should be"
        );
        for _ in 0..2 {
            stage.done("delete-variable", &gone).await?;
            ensure!(vendor.with(|it| it.variables.is_empty()));
        }
        vendor.was_kept()
    });
}

#[test]
fn a_name_that_leads_elsewhere_touches_nothing_but_variables_of_the_prefix() {
    run(async {
        let own = json!({"value": "the project's own"});
        let vendor = Vendor::open(GitLab { variables: [("DEPLOY_KEY".to_owned(), own)].into() }).await?;
        let stage = Stage::of(Lab::shared().await?, "gitlab.yaml", vendor.url(), &[("token", "glpat-1")]).await?;
        for name in ["../DEPLOY_KEY", "x/../../DEPLOY_KEY", "%2e%2e%2fDEPLOY_KEY", "?a=b", "X-Y"] {
            let facts = with(issued(), "name", name);
            // Some are not even rendered.
            let made = stage.call("ensure-variable", &facts).await;
            ensure!(made.is_ok_and(|outcome| stage::is_refused(&outcome)), "{name} was made");
            let set = stage.call("set-variable", &facts).await;
            ensure!(!matches!(set, Ok(Outcome::Done)), "{name} was set");
            stage.call("delete-variable", &with(requested(), "name", name)).await.ok();
        }
        ensure!(
            vendor.with(|it| it.variables.keys().eq(["DEPLOY_KEY"])),
            "the project's own variable is not left alone"
        );
        vendor.was_kept()
    });
}
