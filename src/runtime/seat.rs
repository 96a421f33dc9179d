//! The place of the one replica that leads: how it is sought, lost, and given back.

use std::{future::pending, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{cluster::election::Elector, domain::election::Lost};

/// How long giving back may take.
const GRACE: Duration = Duration::from_secs(5);

/// A place that is sought or held. Without an election it is held from the beginning, and never lost.
pub struct Seat(Option<Sought>);

struct Sought {
    won: oneshot::Receiver<()>,
    give_back: CancellationToken,
    task: JoinHandle<Result<(), Lost>>,
}

impl Seat {
    /// Seeks it as this candidate does; `None`: there is no election.
    #[must_use]
    pub fn seek(elector: Option<Elector>) -> Self {
        Self(elector.map(|elector| {
            let (won, told) = oneshot::channel();
            let give_back = CancellationToken::new();
            let task = tokio::spawn(elector.run(won, give_back.clone()));
            Sought { won: told, give_back, task }
        }))
    }

    /// Waits until it is held.
    ///
    /// # Errors
    /// If it never will be.
    pub async fn held(&mut self) -> Result<(), Lost> {
        let Some(sought) = &mut self.0 else { return Ok(()) };
        // Only an election that has ended tells nothing.
        (&mut sought.won).await.map_err(|_| Lost::Broken)
    }

    /// Waits until it is lost, however long that is.
    pub async fn lost(&mut self) -> Lost {
        let Some(sought) = &mut self.0 else { return pending().await };
        match (&mut sought.task).await {
            Ok(Err(lost)) => lost,
            Ok(Ok(())) | Err(_) => Lost::Broken,
        }
    }

    /// Gives it back, if it is held, so that the next replica need not wait.
    pub async fn give_back(self) {
        let Some(sought) = self.0 else { return };
        sought.give_back.cancel();
        match tokio::time::timeout(GRACE, sought.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(lost))) => tracing::warn!(%lost, "the lead was lost while the operator was stopping"),
            Ok(Err(error)) => tracing::error!(%error, "the election ended in a panic: this is a bug"),
            Err(_) => tracing::warn!("the Lease of the election was not given back in time"),
        }
    }
}
