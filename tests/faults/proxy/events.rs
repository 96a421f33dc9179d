//! The events of one watch: late, twice, again, or in another order.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::fault::Weather;

/// After how long an event comes again.
const ECHO: Duration = Duration::from_millis(1000);
/// What comes within it may come in another order.
const WINDOW: Duration = Duration::from_millis(200);

/// When something is due, and its place among what is due at that time.
type Due = (Instant, i64);

pub struct Events {
    weather: Weather,
    waiting: BTreeMap<Due, Bytes>,
    seen: i64,
    begun: Instant,
}

impl Events {
    pub fn new(weather: Weather) -> Self {
        Self { weather, waiting: BTreeMap::new(), seen: 0, begun: Instant::now() }
    }

    /// Passes the lines of `body` on until either side has had enough.
    pub async fn pass(
        mut self,
        body: impl Stream<Item = kube::Result<Bytes>> + Send,
        pass: mpsc::UnboundedSender<Bytes>,
    ) {
        let mut body = std::pin::pin!(body);
        let (mut rest, mut open) = (BytesMut::new(), true);
        while open || !self.waiting.is_empty() {
            let due = self.waiting.first_key_value().map(|((due, _), _)| *due);
            tokio::select! {
                frame = body.next(), if open => match frame {
                    Some(Ok(bytes)) => {
                        rest.extend_from_slice(&bytes);
                        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                            self.take(rest.split_to(end + 1).freeze());
                        }
                    }
                    Some(Err(_)) | None => open = false,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = pass.closed() => return,
            }
            while let Some(entry) = self.waiting.first_entry().filter(|e| e.key().0 <= Instant::now()) {
                if pass.send(entry.remove()).is_err() {
                    return;
                }
            }
        }
    }

    /// Says when a line is passed on, and how often.
    fn take(&mut self, line: Bytes) {
        let (now, n) = (Instant::now(), self.seen);
        self.seen += 1;
        // A bookmark says that all before it was sent: it stays behind that.
        let is_event = !line.windows(10).any(|w| w == b"\"BOOKMARK\"");
        match self.weather {
            Weather::Late(millis) => _ = self.waiting.insert((now + Duration::from_millis(millis), n), line),
            Weather::Twice if is_event => {
                self.waiting.insert((now, 2 * n), line.clone());
                self.waiting.insert((now, 2 * n + 1), line);
            }
            Weather::Echoed if is_event => {
                self.waiting.insert((now, n), line.clone());
                self.waiting.insert((now + ECHO, n), line);
            }
            Weather::Reversed => {
                let windows = now.duration_since(self.begun).as_millis() / WINDOW.as_millis() + 1;
                let end = self.begun + WINDOW * u32::try_from(windows).unwrap_or(u32::MAX);
                self.waiting.insert((end, if is_event { -n } else { i64::MAX }), line);
            }
            _ => _ = self.waiting.insert((now, 2 * n), line),
        }
    }
}
