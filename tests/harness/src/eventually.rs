//! Waiting for something to become true.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(50);

/// What one look at the world answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<T> {
    /// It came true.
    Done(T),
    /// Not yet; the text is what was seen instead and is quoted if time runs out.
    NotYet(String),
}

/// Ask `look` again and again until it answers `Some`, for at most `timeout`.
///
/// An `Err` of `look` counts as "not yet": the API server may be restarting. `what` completes the sentence
/// "waited for ...". To have the timeout say what was seen instead of the awaited, use [`eventually_seeing`].
///
/// # Errors
/// When time runs out: says what was waited for, how long, and what the last look saw.
pub async fn eventually<T, E, F, Fut>(what: &str, timeout: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>, E>>,
    E: Debug,
{
    eventually_seeing(what, timeout, || {
        let looking = look();
        async move {
            looking.await.map(|answer| match answer {
                Some(value) => Look::Done(value),
                None => Look::NotYet("nothing yet".to_owned()),
            })
        }
    })
    .await
}

/// Like [`eventually`], for a `look` that tells what it saw instead.
///
/// # Errors
/// When time runs out: says what was waited for, how long, and what the last look saw.
pub async fn eventually_seeing<T, E, F, Fut>(what: &str, timeout: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Look<T>, E>>,
    E: Debug,
{
    let deadline = Instant::now() + timeout;
    let mut last_seen = "no look was finished".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(Look::Done(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(seen))) => last_seen = seen,
            Ok(Err(error)) => last_seen = format!("an error: {error:?}"),
            Err(_elapsed) => {
                bail!("waited {timeout:?} for {what}; the last look did not return, the one before saw {last_seen}")
            }
        }
        if Instant::now() + PAUSE >= deadline {
            bail!("waited {timeout:?} for {what}; last seen: {last_seen}");
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn the_first_some_ends_the_wait() {
        let mut looks = 0;
        let found: u32 = eventually("the third look", Duration::from_mins(1), || {
            looks += 1;
            let answer = (looks == 3).then_some(looks);
            async move { Ok::<_, Infallible>(answer) }
        })
        .await
        .unwrap();
        assert_eq!(found, 3);
    }

    #[tokio::test]
    async fn running_out_of_time_says_what_was_awaited_and_what_was_seen() {
        let outcome = eventually_seeing("a Ready lease", Duration::from_millis(1), || async {
            Ok::<Look<()>, Infallible>(Look::NotYet("phase Pending".to_owned()))
        })
        .await;
        let said = outcome.unwrap_err().to_string();
        assert!(said.contains("a Ready lease") && said.contains("phase Pending"), "{said}");
    }

    #[tokio::test]
    async fn errors_are_waited_out_and_the_last_one_is_quoted() {
        let outcome = eventually("calm", Duration::from_millis(1), || async { Err::<Option<()>, _>("storm") }).await;
        assert!(outcome.unwrap_err().to_string().contains("storm"));
    }
}
