//! The operator: started, killed, stopped for a while, and what it said.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::{Life, lock};
use crate::{
    fault::CALL_TIMEOUT,
    support::{Lab, Operator, trail::trail},
};

/// How long an outage waits for other leases to come to theirs: well within the operator's deadline for a call.
pub const GATHER: Duration = Duration::from_millis(2500);

/// How long it may take to do what was left, once it is there again.
const SETTLES: SignedDuration = SignedDuration::from_secs(3);

pub struct Runner<'a> {
    lab: &'a Lab,
    kubeconfig: PathBuf,
    operator: tokio::sync::Mutex<Option<Operator>>,
    starts: AtomicU32,
    outages: AtomicU32,
    /// No operator is running, or it is stopped.
    dead: AtomicBool,
    /// When there was no operator that would end anything.
    down: Mutex<Vec<(Timestamp, Timestamp)>>,
    /// How far each log was read.
    read: Mutex<BTreeMap<PathBuf, u64>>,
}

impl<'a> Runner<'a> {
    pub fn new(lab: &'a Lab, kubeconfig: PathBuf) -> Self {
        Self {
            lab,
            kubeconfig,
            operator: tokio::sync::Mutex::default(),
            starts: AtomicU32::default(),
            outages: AtomicU32::default(),
            dead: AtomicBool::new(true),
            down: Mutex::default(),
            read: Mutex::default(),
        }
    }

    pub async fn start(&self) -> Result<()> {
        let label = format!("operator-{}", self.starts.fetch_add(1, Ordering::Relaxed));
        let deadline = format!("--call-timeout={}s", CALL_TIMEOUT.as_secs());
        let flags = [deadline.as_str(), "--issue-width=32", "--end-width=32", "--retry-width=32"];
        let operator = Operator::launch_as(&self.lab.plane, &label, &self.kubeconfig, &flags)?;
        operator.wait_until_enforced().await?;
        self.operator.lock().await.replace(operator);
        self.dead.store(false, Ordering::Release);
        Ok(())
    }

    /// Kills it, tells so, and starts its successor.
    pub async fn kill(&self, killed: impl FnOnce()) -> Result<()> {
        self.dead.store(true, Ordering::Release);
        if let Some(operator) = self.operator.lock().await.take() {
            operator.kill()?;
        }
        let since = Timestamp::now();
        self.outages.fetch_add(1, Ordering::Relaxed);
        killed();
        self.start().await?;
        lock(&self.down).push((since, Timestamp::now()));
        Ok(())
    }

    /// Stops it for longer than it waits for any answer; `before_waking` is done last.
    pub async fn stop(&self, before_waking: impl FnOnce()) -> Result<()> {
        let operator = self.operator.lock().await;
        let operator = operator.as_ref().context("no operator is running")?;
        self.dead.store(true, Ordering::Release);
        operator.pause()?;
        let since = Timestamp::now();
        self.outages.fetch_add(1, Ordering::Relaxed);
        sleep(CALL_TIMEOUT + Duration::from_secs(2)).await;
        before_waking();
        operator.resume()?;
        self.dead.store(false, Ordering::Release);
        lock(&self.down).push((since, Timestamp::now()));
        Ok(())
    }

    /// Whether one runs, and has for long enough to do what the outage before has left.
    pub fn is_settled(&self) -> bool {
        let back = lock(&self.down).last().map(|(_, until)| *until);
        let for_long = back.is_none_or(|back| Timestamp::now().duration_since(back) > SETTLES);
        !self.dead.load(Ordering::Acquire) && for_long
    }

    /// How often it was taken away so far.
    pub fn outages(&self) -> u32 {
        self.outages.load(Ordering::Relaxed)
    }

    /// For how many seconds of this time there was none.
    pub fn seconds_down(&self, from: Timestamp, to: Timestamp) -> f64 {
        let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
        lock(&self.down).iter().map(|(since, until)| seconds((*since).max(from), (*until).min(to))).sum()
    }

    /// Gives each lease what the audit stream has told of it since the last time, and whether its token was said anywhere.
    pub fn heard(&self, lives: &mut [Life]) -> Result<()> {
        let mut said = String::new();
        for number in 0..self.starts.load(Ordering::Relaxed) {
            let path = self.lab.plane.dir().join(format!("logs/operator-{number}.log"));
            let mut read = lock(&self.read);
            let from = read.entry(path.clone()).or_default();
            let mut file = File::open(&path).with_context(|| path.display().to_string())?;
            file.seek(SeekFrom::Start(*from))?;
            let mut bytes = vec![];
            file.read_to_end(&mut bytes)?;
            *from += bytes.len() as u64;
            said.push_str(&String::from_utf8_lossy(&bytes));
        }
        for life in lives {
            life.trail = trail(&said, &life.uid);
            if life.tokens.iter().any(|token| token.is_in(&said)) {
                life.leaks.push("the operator's log".to_owned());
            }
        }
        Ok(())
    }
}
