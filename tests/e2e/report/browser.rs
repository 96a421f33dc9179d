//! A real browser, driven by its DevTools protocol over a pipe: <https://chromedevtools.github.io/devtools-protocol/>.
//! No port is opened, and no driver or WebSocket is needed.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use leasehold_harness::assets;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The longest answer that is waited for.
const PATIENCE: Duration = Duration::from_secs(45);

/// The browser reads commands from its file descriptor 3 and writes answers to 4 (`--remote-debugging-pipe`): our ends of its
/// standard input and output. What it says of itself goes to the log.
const TO_PIPES: &str = r#"log=$1; shift; exec "$@" 3<&0 4>&1 0</dev/null 1>>"$log" 2>&1"#;

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _profile: tempfile::TempDir,
    session: Option<String>,
    last: u64,
    /// What the page did, event by event, since it was opened.
    events: Vec<Value>,
}

impl Browser {
    /// Starts one that has never run before, and that finds no host.
    pub async fn start(log: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let chromium = assets::debian_program("chromium", "chromium").await?;
        let mut command = Command::new("sh");
        command.args(["-c", TO_PIPES, "sh"]).arg(log).arg(chromium).args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-default-apps",
            "--disable-extensions",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--metrics-recording-only",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            // As root it cannot make its sandbox; it opens nothing but our own file.
            "--no-sandbox",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let commands = child.stdin.take().context("no pipe to the browser")?;
        let answers = BufReader::new(child.stdout.take().context("no pipe from the browser")?);
        let mut browser = Self { child, commands, answers, _profile: profile, session: None, last: 0, events: vec![] };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach).await?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    /// Opens a file and waits until it is loaded.
    pub async fn open(&mut self, path: &Path) -> Result<()> {
        self.events.clear();
        let answer = self.call("Page.navigate", json!({"url": format!("file://{}", path.display())})).await?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("{} does not open: {error}", path.display());
        }
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let message = self.next().await?;
            self.events.push(message);
        }
        Ok(())
    }

    /// What an expression is in the page.
    pub async fn eval(&mut self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Shows the page so wide, as the medium has it, in the colour scheme.
    pub async fn look(&mut self, width: u32, medium: &str, scheme: &str) -> Result<()> {
        let size = json!({"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": medium, "features": features})).await?;
        Ok(())
    }

    /// The whole page as a PNG.
    pub async fn picture(&mut self) -> Result<Vec<u8>> {
        let answer = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await?;
        bytes(&answer)
    }

    /// The page as it is printed.
    pub async fn print(&mut self) -> Result<Vec<u8>> {
        let answer = self.call("Page.printToPDF", json!({"preferCSSPageSize": true, "printBackground": false})).await?;
        bytes(&answer)
    }

    /// Every address that the page asked for.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).map(str::to_owned).collect()
    }

    /// Everything that the page, or the browser about it, had to say.
    pub fn complaints(&self) -> Vec<String> {
        let loud =
            ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"];
        self.events.iter().filter(|e| loud.iter().any(|l| e["method"] == *l)).map(Value::to_string).collect()
    }

    /// Ends it.
    pub async fn close(mut self) -> Result<()> {
        self.session = None;
        self.call("Browser.close", json!({})).await?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the browser does not end")??;
        Ok(())
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).await.context("the browser is gone")?;
        loop {
            let message = self.next().await.with_context(|| format!("no answer to {method}"))?;
            if message["id"] != self.last {
                self.events.push(message);
            } else if let Some(error) = message.get("error") {
                bail!("{method}: {error}");
            } else {
                return Ok(message["result"].clone());
            }
        }
    }

    async fn next(&mut self) -> Result<Value> {
        let mut message = vec![];
        let read = self.answers.read_until(0, &mut message);
        if tokio::time::timeout(PATIENCE, read).await.context("the browser says nothing")?? == 0 {
            bail!("the browser has ended: its log says why");
        }
        message.pop();
        Ok(serde_json::from_slice(&message)?)
    }
}

fn bytes(answer: &Value) -> Result<Vec<u8>> {
    Ok(BASE64_STANDARD.decode(answer["data"].as_str().context("no data")?)?)
}
