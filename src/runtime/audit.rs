//! The audit stream: one JSON line a record on standard output, with the same hashes as the histories in the statuses.
//!
//! At least once, and only by the replica that leads: when one begins to lead, records of the last hour are told again with
//! `"replayed": true`, because the process before may have died between a status write and its line. `uid`, `seq` and `hash` tell
//! which lines are the same.

use std::{io::Write, sync::mpsc};

use serde::Serialize;

use crate::api::{names::LeaseUid, status::Record};

/// No more lines are written at once when they have so many bytes.
const MOST_AT_ONCE: usize = 16 * 1024;

/// One line of the stream.
pub struct Entry<'a> {
    pub uid: &'a LeaseUid,
    pub namespace: &'a str,
    pub name: &'a str,
    pub lifecycle: &'a str,
    pub record: &'a Record,
    pub hash: &'a str,
    pub replayed: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    target: &'static str,
    lease: Lease<'a>,
    #[serde(flatten)]
    record: &'a Record,
    hash: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

#[derive(Serialize)]
struct Lease<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    lifecycle: &'a str,
}

/// Where records go. Writing happens on a thread of its own: a reader that is slow to take lines delays no lease.
#[derive(Clone)]
pub struct Audit(mpsc::Sender<Vec<u8>>);

/// The writing end; dropping every [`Audit`] and joining this says that every line is out.
pub struct Writer(std::thread::JoinHandle<()>);

impl Audit {
    /// A stream into `out`.
    pub fn to(mut out: impl Write + Send + 'static) -> (Self, Writer) {
        let (sender, lines) = mpsc::channel::<Vec<u8>>();
        let writer = std::thread::spawn(move || {
            while let Ok(first) = lines.recv() {
                // What waits is written at once: a replica that begins to lead tells tens of thousands of lines.
                let mut text = first;
                while text.len() < MOST_AT_ONCE
                    && let Ok(line) = lines.try_recv()
                {
                    text.extend(line);
                }
                if let Err(error) = out.write_all(&text).and_then(|()| out.flush()) {
                    tracing::error!(%error, "lines of the audit stream could not be written");
                }
            }
        });
        (Self(sender), Writer(writer))
    }

    /// Tells one record.
    pub fn tell(&self, entry: &Entry) {
        let uid = entry.uid.text();
        let lease = Lease { namespace: entry.namespace, name: entry.name, uid: &uid, lifecycle: entry.lifecycle };
        let line = Line { target: "audit", lease, record: entry.record, hash: entry.hash, replayed: entry.replayed };
        match serde_json::to_vec(&line) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                // The writer ends only after every sender is gone.
                _ = self.0.send(bytes);
            }
            Err(error) => tracing::error!(%error, "a record of the audit stream has no JSON form"),
        }
    }
}

impl Writer {
    /// Waits until every line is out. Every [`Audit`] must be dropped first.
    pub fn finish(self) {
        if self.0.join().is_err() {
            tracing::error!("the audit stream's writer died");
        }
    }
}
