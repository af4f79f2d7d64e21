//! A fault of this program in one task is that task's alone.
//!
//! Owns nothing. Whoever starts a task that others rely on runs it through [`caught`] and decides what its end means.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work panicked; the panic is in the log already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Panicked;

/// Does the work to its end, or to a panic in it: then all that it owned has been dropped.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    // Behind a panic nothing looks at the work again, so it does not matter what it left half done.
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_panic_drops_what_the_work_owned_and_ends_there() {
        let owned = Arc::new(());
        let held = Arc::clone(&owned);
        let work = async move {
            let _held = held;
            tokio::task::yield_now().await;
            panic!("injected");
        };
        let ended: Result<(), Panicked> = caught(work).await;
        assert_eq!((ended, Arc::strong_count(&owned)), (Err(Panicked), 1));
        assert_eq!(caught(async { 5 }).await, Ok(5));
    }
}
