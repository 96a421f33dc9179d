//! The audit stream: one JSON line a record on standard output, with the same hashes as the histories in the statuses.
//!
//! At least once, and only by the replica that leads: when one begins to lead, records of the last hour are told again with
//! `"replayed": true`, because the process before may have died between a status write and its line. `uid`, `seq` and `hash` tell
//! which lines are the same.

use std::{
    io::{ErrorKind, Write},
    sync::mpsc,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::api::{names::LeaseUid, status::Record};

/// Bytes after which no more of the lines that wait are joined to a write.
const MOST_AT_ONCE: usize = 16 * 1024;

/// How often a write is tried that fails, and the pause before the next try.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

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

/// The writing end; dropping every [`Audit`] and waiting for this says that every line is out.
pub struct Writer(oneshot::Receiver<()>);

/// Writes all of it, and tries for a while.
fn write(out: &mut impl Write, text: &[u8]) -> std::io::Result<()> {
    let (mut rest, mut tries) = (text, 0);
    loop {
        let failed = match out.write(rest) {
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                if rest.is_empty() {
                    return out.flush();
                }
                (written == 0).then(|| ErrorKind::WriteZero.into())
            }
            Err(error) => (error.kind() != ErrorKind::Interrupted).then_some(error),
        };
        if let Some(error) = failed {
            tries += 1;
            if tries == TRIES {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Audit {
    /// A stream into `out`.
    ///
    /// # Errors
    /// If the machine has no room for one thread more.
    pub fn to(mut out: impl Write + Send + 'static) -> std::io::Result<(Self, Writer)> {
        let (sender, lines) = mpsc::channel::<Vec<u8>>();
        let (ended, writer) = oneshot::channel();
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            let mut cut = vec![];
            while let Ok(first) = lines.recv() {
                // What waits is written at once: a replica that begins to lead tells tens of thousands of lines.
                let mut text = std::mem::take(&mut cut);
                text.extend(first);
                while text.len() < MOST_AT_ONCE
                    && let Ok(line) = lines.try_recv()
                {
                    text.extend(line);
                }
                if let Err(error) = write(&mut out, &text) {
                    let lost = text.iter().filter(|byte| **byte == b'\n').count();
                    tracing::error!(%error, lost, "lines of the audit stream could not be written");
                    // Part of one may have been.
                    cut = b"\n".to_vec();
                }
            }
            _ = ended.send(());
        })?;
        Ok((Self(sender), Writer(writer)))
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
    pub async fn finish(self) {
        if self.0.await.is_err() {
            tracing::error!("the audit stream's writer died, and may have lost its last lines");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};

    use serde_json::json;

    use super::*;

    /// Says that it is asked to write, and writes once it is let.
    struct Slow {
        asked: Sender<Vec<u8>>,
        let_go: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            _ = self.asked.send(text.to_vec());
            _ = self.let_go.recv();
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Fails so often before it writes, and each write takes no more than three bytes.
    struct Failing(u32, Sender<Vec<u8>>);

    impl Write for Failing {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            if self.0 > 0 {
                self.0 -= 1;
                return Err(ErrorKind::StorageFull.into());
            }
            let some = &text[..text.len().min(3)];
            _ = self.1.send(some.to_vec());
            Ok(some.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_tried_again_and_given_up_in_the_end() {
        let (sender, written) = mpsc::channel();
        write(&mut Failing(2, sender.clone()), b"a line\n").unwrap();
        assert_eq!(written.try_iter().flatten().collect::<Vec<u8>>(), b"a line\n");
        assert!(write(&mut Failing(TRIES, sender), b"a line\n").is_err());
    }

    #[tokio::test]
    async fn lines_that_wait_for_a_slow_reader_are_written_at_once_and_in_order() {
        let ((asked, writes), (go, let_go)) = (mpsc::channel(), mpsc::channel());
        let (audit, writer) = Audit::to(Slow { asked, let_go }).unwrap();
        let uid = LeaseUid::parse("5f2c8a8e-0000-4000-8000-000000000000").unwrap();
        let tell = |seq: i64| {
            let record =
                json!({"seq": seq, "time": "2027-01-15T08:00:00Z", "event": "Requested", "actor": "ci", "detail": ""});
            let record: Record = serde_json::from_value(record).unwrap();
            let entry = Entry {
                uid: &uid,
                namespace: "ns",
                name: "lease",
                lifecycle: "lc",
                record: &record,
                hash: "h",
                replayed: false,
            };
            audit.tell(&entry);
        };
        let written = || -> Vec<serde_json::Value> {
            let text = String::from_utf8(writes.recv().unwrap()).unwrap();
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].clone()).collect()
        };
        tell(1);
        assert_eq!(written(), [1]);
        (2..=9).for_each(tell);
        go.send(()).unwrap();
        assert_eq!(written(), (2..=9).map(serde_json::Value::from).collect::<Vec<_>>());
        drop((audit, go));
        writer.finish().await;
    }
}
