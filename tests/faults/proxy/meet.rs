//! What is done to one call, of the API server's or of another system.

use std::{future::Future, time::Duration};

use tokio::{sync::oneshot, time::sleep};

use super::{
    Hit, Proxy, What,
    answer::{Answer, Cut, Whole, dripped, halved, refusal, whole},
    slots::Counted,
};
use crate::fault::{DELAY, Fault, RETRY_AFTER};

/// Longer than the operator waits for any call.
const FOR_EVER: Duration = Duration::from_secs(40);

impl Proxy {
    /// A call of another system, named by its method and path.
    pub async fn meet_system(
        &self,
        slot: usize,
        what: &str,
        carry_out: impl Future<Output = Result<Whole, Cut>>,
    ) -> Result<Answer, Cut> {
        self.meet(self.slots.count_system(slot, what), carry_out).await
    }

    /// Does to it what its lease's plan says; `carry_out` carries it out, if it is.
    pub(super) async fn meet(
        &self,
        counted: Counted,
        carry_out: impl Future<Output = Result<Whole, Cut>>,
    ) -> Result<Answer, Cut> {
        let Counted { slot, index, key, fault } = counted;
        let answer = self.answer(slot, fault, carry_out).await;
        let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.told(slot, &key, fault, code);
        self.slots.note(slot, index, code);
        answer
    }

    async fn answer(
        &self,
        slot: usize,
        fault: Option<Fault>,
        carry_out: impl Future<Output = Result<Whole, Cut>>,
    ) -> Result<Answer, Cut> {
        match fault {
            None => carry_out.await.map(whole),
            Some(Fault::CrashBefore) => {
                self.hold(slot, What::Kill).await;
                Err(Cut)
            }
            Some(Fault::CrashAfter) => {
                carry_out.await?;
                self.hold(slot, What::Kill).await;
                Err(Cut)
            }
            Some(Fault::Stop) => {
                let answer = carry_out.await?;
                self.hold(slot, What::Stop).await;
                Ok(whole(answer))
            }
            Some(Fault::DropBefore) => Err(Cut),
            Some(Fault::DropAfter) => {
                carry_out.await?;
                Err(Cut)
            }
            Some(Fault::CutAnswer) => carry_out.await.map(halved),
            Some(Fault::Hang) => {
                sleep(FOR_EVER).await;
                Err(Cut)
            }
            Some(Fault::Mute) => {
                carry_out.await?;
                sleep(FOR_EVER).await;
                Err(Cut)
            }
            Some(Fault::Drip) => carry_out.await.map(dripped),
            Some(Fault::Delay) => {
                sleep(DELAY).await;
                carry_out.await.map(whole)
            }
            Some(Fault::Answer(code)) => Ok(whole(refusal(code, Some(RETRY_AFTER)))),
            Some(Fault::Busy) => Ok(whole(refusal(429, None))),
            // A 429 that says how long to wait is waited for: how often it comes is its own doing.
            Some(Fault::Persists(code)) => Ok(whole(refusal(code, None))),
            Some(Fault::EndBefore) => {
                self.hold(slot, What::End).await;
                carry_out.await.map(whole)
            }
            Some(Fault::EndAfter) => {
                let answer = carry_out.await;
                self.hold(slot, What::End).await;
                answer.map(whole)
            }
        }
    }

    async fn hold(&self, slot: usize, what: What) {
        let (go, gone_on) = oneshot::channel();
        if self.hits.send(Hit { slot, what, go }).is_ok() {
            // Whether it was answered or dropped: the driver has done its part.
            tokio::time::timeout(FOR_EVER, gone_on).await.ok();
        }
    }
}
