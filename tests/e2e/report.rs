//! The report, as an auditor makes it of a real cluster, and opened in a real browser.

mod browser;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use leasehold::api::reasons::{EndReason, Evidence, Happening, Phase};
use leasehold_harness::{Look, User, eventually_seeing};
use serde_json::{Value, json};

use self::browser::Browser;
use crate::support::{Lab, Person, Tenant, run, trail::trail};

/// What a requester may write as his reason, if he means ill.
const EVIL: &str =
    "</script><script>document.title='owned'</script><img src=http://evil.example/x.png onerror=alert(1)>=1+1";

/// Runs the plugin as somebody; its standard output, if it ended with this code.
async fn report(user: &Path, args: &[&str], stdin: Option<&Path>, code: i32) -> Result<(String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lease"));
    command.env("KUBECONFIG", user).arg("report").args(args);
    command.stdin(stdin.map_or_else(|| Ok(Stdio::null()), |path| fs::File::open(path).map(Stdio::from))?);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.code() == Some(code), "{:?}, not {code}: {out}{err}", output.status);
    Ok((out, err))
}

/// Somebody with the shipped auditor's rights in the tenant's namespace, and nowhere else.
async fn auditor(tenant: &Tenant<'_>) -> Result<User> {
    let name = format!("{}-auditor", tenant.namespace);
    let user = tenant.lab.plane.user(&name, &[])?;
    let args =
        ["create", "rolebinding", &name, "-n", &tenant.namespace, "--clusterrole=leasehold-auditor", "--user", &name];
    tenant.lab.kubectl(&args, None).await?;
    Ok(user)
}

/// Leases in several ends: one lives, one is proven dead, one was refused by two rules, one denied by a person, one waits, and
/// one was deleted and is known from the audit stream only.
async fn story(tenant: &Tenant<'_>) -> Result<()> {
    let lead = Person::approver(tenant, "lead").await?;
    tenant.lifecycle("nightly", |_| {}).await?;
    tenant.lifecycle("careful", |spec| spec["terms"]["approval"] = json!({"type": "Required"})).await?;
    tenant.lease("deleted", "nightly", |_| {}).await?;
    tenant.lease("live", "nightly", |spec| spec["ttl"] = json!("30m")).await?;
    tenant
        .lease("revoked", "nightly", |spec| {
            (spec["reason"], spec["ttl"]) = (json!(EVIL), json!("10m"));
        })
        .await?;
    tenant
        .lease("greedy", "nightly", |spec| (spec["ttl"], spec["grants"]) = (json!("9h"), json!(["read", "admin"])))
        .await?;
    tenant.lease("waits", "careful", |_| {}).await?;
    tenant.lease("no", "careful", |_| {}).await?;
    let uid = tenant.lease_in("deleted", Phase::Active).await?.metadata.uid.context("no uid")?;
    tenant.delete_lease("deleted").await?;
    lead.decides(&tenant.lease_in("revoked", Phase::Active).await?, "Revoked").await?;
    lead.decides(&tenant.lease_in("no", Phase::AwaitingApproval).await?, "Denied").await?;
    tenant.lease_in("no", Phase::Denied).await?;
    tenant.lease_in("greedy", Phase::Denied).await?;
    tenant.lease_in("live", Phase::Active).await?;
    tenant.lease_in("waits", Phase::AwaitingApproval).await?;
    tenant.lease_ended("revoked", EndReason::DecisionRevoked, Evidence::AccountGoneAndWaited).await?;
    eventually_seeing("the proof of the deleted lease's end", Duration::from_secs(60), || async {
        let told = trail(&tenant.lab.said()?, &uid);
        let proven = told.iter().any(|line| line.record.event == Happening::Revoked);
        Ok::<_, anyhow::Error>(if proven { Look::Done(()) } else { Look::NotYet(format!("{} records", told.len())) })
    })
    .await
}

/// What the operator has printed, as a file.
fn stream(tenant: &Tenant<'_>, dir: &Path) -> Result<PathBuf> {
    let path = dir.join("operator.log");
    fs::write(&path, tenant.lab.said()?)?;
    Ok(path)
}

#[test]
fn an_auditors_report_tells_of_every_lease_and_is_a_page_that_asks_nobody() {
    run(async {
        let lab = Lab::shared().await?;
        let tenant = lab.tenant("report").await?;
        // It stays, for whoever wants to look: the page, its pictures, and the browser's log.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        story(&tenant).await?;
        let auditor = auditor(&tenant).await?;
        let log = stream(&tenant, &dir)?;
        let (namespace, log) = (tenant.namespace.as_str(), log.to_str().context("a path that is no text")?);

        forms(&auditor, namespace, log).await?;
        rights(&tenant, &auditor).await?;

        let page = dir.join("report.html");
        let file = page.to_str().context("a path that is no text")?;
        let args = ["-n", namespace, "--from-audit", log, "--output-file", file];
        let (out, _) = report(&auditor.kubeconfig, &args, None, 0).await?;
        ensure!(out.is_empty(), "it is in the file: {out}");
        ensure!(fs::metadata(&page)?.permissions().mode() & 0o077 == 0, "readable by its maker only");

        let mut browser = Browser::start(&dir.join("browser.log")).await?;
        browser.look(1280, "screen", "light").await?;
        browser.open(&page).await?;
        seen(&mut browser, namespace).await?;
        filtered(&mut browser, namespace).await?;
        pictures(&mut browser, &dir).await?;
        let asked: Vec<String> = browser.requests().into_iter().filter(|url| !url.starts_with("data:")).collect();
        ensure!(asked == [format!("file://{}", page.display())], "it asked for {asked:?}");
        ensure!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
        browser.close().await
    });
}

/// Every form says the same.
async fn forms(auditor: &User, namespace: &str, log: &str) -> Result<()> {
    let (json, _) = report(&auditor.kubeconfig, &["-n", namespace, "-o", "json", "--from-audit", log], None, 0).await?;
    let json: Value = serde_json::from_str(&json)?;
    let lease = |name: &str| json["leases"].as_array().and_then(|all| all.iter().find(|l| l["name"] == name)).cloned();
    let states =
        [("live", "Live"), ("waits", "Waiting"), ("revoked", "Proven"), ("greedy", "Refused"), ("no", "Refused")];
    for (name, state) in states {
        let lease = lease(name).with_context(|| format!("{name} is not in {json:#}"))?;
        ensure!(lease["state"] == state && lease["origin"] == "Both", "{lease:#}");
        ensure!(lease["trail"] == json!({"state": "Verified"}), "{lease:#}");
    }
    let deleted = lease("deleted").context("the deleted lease is missing")?;
    ensure!(
        deleted["origin"] == "Stream" && deleted["state"] == "Proven" && deleted["trail"]["state"] == "Verified",
        "{deleted:#}"
    );
    let lag = lease("revoked").context("missing")?["removalLagSeconds"].as_f64().context("no lag")?;
    ensure!((0.0..10.0).contains(&lag), "{lag}");
    let rules: Vec<&str> =
        json["refusals"].as_array().into_iter().flatten().filter_map(|r| r["rule"].as_str()).collect();
    ensure!(["Ttl", "Grants", "Person"].iter().all(|rule| rules.contains(rule)), "{rules:?}");
    let words = json["decisions"].as_array().context("no decisions")?;
    ensure!(
        words.len() == 2 && words.iter().all(|d| d["by"] == format!("{namespace}-lead") && d["counts"] == true),
        "{words:?}"
    );
    ensure!(json["made"]["by"] == auditor.name && json["summary"]["leases"] == 6, "{}", json["made"]);

    let from = Path::new(log);
    let (csv, _) =
        report(&auditor.kubeconfig, &["-n", namespace, "-o", "csv", "--from-audit", "-"], Some(from), 0).await?;
    ensure!(csv.split_terminator("\r\n").count() == 7 && csv.contains(",AccountGoneAndWaited,"), "{csv}");
    let args = ["-n", namespace, "-o", "markdown", "--lifecycle", "careful"];
    let (markdown, _) = report(&auditor.kubeconfig, &args, None, 0).await?;
    ensure!(
        markdown.contains("# Lease report") && markdown.contains("/waits |") && !markdown.contains("greedy"),
        "{markdown}"
    );
    Ok(())
}

/// What may not be read is said; leases that may not be read are an error.
async fn rights(tenant: &Tenant<'_>, auditor: &User) -> Result<()> {
    let args = ["-n", &tenant.namespace, "-o", "json"];
    let (text, _) = report(&auditor.kubeconfig, &args, None, 0).await?;
    let json: Value = serde_json::from_str(&text)?;
    let policies =
        json["made"]["sources"].as_array().into_iter().flatten().find(|s| s["what"] == "credentialleasepolicies");
    let why =
        policies.and_then(|s| s["notPermitted"].as_str()).context("it must say that policies are not permitted")?;
    ensure!(why.contains("forbidden"), "{why}");
    let (_, err) = report(&auditor.kubeconfig, &["-A", "-o", "json"], None, 120).await?;
    ensure!(err.contains("credentialleases.leasehold.dev is forbidden"), "{err}");
    let (_, err) = report(&auditor.kubeconfig, &["--since", "1h", "--until", "2h", "-o", "json"], None, 2).await?;
    ensure!(err.contains("--since is not before --until"), "{err}");
    Ok(())
}

/// How many elements a selector finds that are shown.
async fn shown(browser: &mut Browser, selector: &str) -> Result<Value> {
    let script =
        format!("[...document.querySelectorAll({selector:?})].filter((e) => e.getClientRects().length > 0).length");
    browser.eval(&script).await
}

/// Everything is there, for the eye and for a screen reader, and what others wrote is text.
async fn seen(browser: &mut Browser, namespace: &str) -> Result<()> {
    ensure!(shown(browser, "#leases tbody tr").await? == 6, "six rows");
    ensure!(shown(browser, "svg a.bar").await? == 6, "six bars");
    ensure!(shown(browser, ".lane[data-lane] svg[role=img][aria-label]").await? == 2, "two lanes, each told in words");
    ensure!(
        browser.eval("document.querySelectorAll('table:not(:has(caption))').length").await? == 0,
        "every table has a caption"
    );
    ensure!(
        browser.eval("document.querySelectorAll('script, img, iframe, object').length").await? == 1,
        "the page's own script"
    );
    let title = browser.eval("document.title").await?;
    ensure!(title.as_str().is_some_and(|title| title.starts_with("Lease report")), "{title}");
    let text = browser.eval("document.body.textContent").await?;
    let text = text.as_str().context("no text")?;
    for part in
        [EVIL, "proven dead", "AccountGoneAndWaited", "verified", "audit stream only", "not permitted", namespace]
    {
        ensure!(text.contains(part), "{part} is not on the page");
    }
    // Whoever is not at a wide screen can still read it: nothing but tables scrolls sideways.
    for width in [1280, 390] {
        browser.look(width, "screen", "light").await?;
        let wide = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth").await?;
        ensure!(wide == 0, "at {width} it is {wide} too wide");
    }
    browser.look(1280, "screen", "light").await
}

/// The filter leaves what was asked for, on the timeline, in the tables, and in its own words; and lets go again.
async fn filtered(browser: &mut Browser, namespace: &str) -> Result<()> {
    let set = |id: &str, value: &str| {
        format!(
            "(() => {{ const e = document.getElementById({id:?}); e.value = {value:?}; e.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
        )
    };
    browser.eval(&set("state", "refused")).await?;
    ensure!(
        shown(browser, "#leases tbody tr").await? == 2 && shown(browser, "svg a.bar").await? == 2,
        "two were refused"
    );
    browser.eval(&set("life", &format!("{namespace}/careful"))).await?;
    ensure!(shown(browser, "#leases tbody tr").await? == 1, "one of them of lifecycle careful");
    ensure!(
        shown(browser, ".lane[data-lane]").await? == 1 && shown(browser, "#decisions tbody tr").await? == 1,
        "also elsewhere"
    );
    ensure!(browser.eval("document.getElementById('shown').textContent").await? == "1 of 6 leases", "it says so");
    browser.eval(&set("find", "nothing like that")).await?;
    ensure!(shown(browser, "#leases tbody tr").await? == 0, "no lease is like that");
    browser
        .eval("document.querySelector('#filter button').click(), new Promise((done) => setTimeout(done, 50))")
        .await?;
    ensure!(shown(browser, "#leases tbody tr").await? == 6, "all of them again");
    Ok(())
}

/// Light, dark, narrow and on paper, kept beside the page for whoever wants to look.
async fn pictures(browser: &mut Browser, dir: &Path) -> Result<()> {
    let mut seen = vec![];
    for (name, width, scheme) in [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 390, "light")] {
        browser.look(width, "screen", scheme).await?;
        let picture = browser.picture().await?;
        ensure!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{name}: {} bytes", picture.len());
        fs::write(dir.join(format!("{name}.png")), &picture)?;
        seen.push(browser.eval("getComputedStyle(document.body).backgroundColor").await?);
    }
    ensure!(seen[0] != seen[1] && seen[0] == seen[2], "dark is dark: {seen:?}");
    browser.look(1280, "screen", "light").await?;
    let paper = browser.print().await?;
    ensure!(paper.starts_with(b"%PDF"), "no PDF");
    fs::write(dir.join("paper.pdf"), &paper)?;
    Ok(())
}
