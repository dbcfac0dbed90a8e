//! Many small reads at once: over a network it is round trips that cost, and for many objects, or where each has a signature
//! to check, the work of this machine, which is then shared among its threads.

use futures::{Future, StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;

use super::Error;

/// Reads that are under way at once.
pub(super) const AT_ONCE: usize = 32;
/// Fewer are not worth tasks of their own.
const FEW: usize = 2 * AT_ONCE;
/// The most tasks among which they are shared.
const MOST_TASKS: usize = 4;

/// What `work` makes of each of `items`, in their order, at most [`AT_ONCE`] at a time.
///
/// # Errors
/// The first error ends it, and what is under way.
pub(super) async fn in_order<T, R, F, W>(items: Vec<T>, work: W) -> Result<Vec<R>, Error>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<R, Error>> + Send + 'static,
    W: Fn(T) -> F + Clone + Send + 'static,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tasks = threads.saturating_mul(2).min(MOST_TASKS);
    if items.len() <= FEW {
        return one_task(items, work, AT_ONCE).await;
    }
    let each = items.len().div_ceil(tasks);
    let (mut items, mut running, mut done) = (items.into_iter(), JoinSet::new(), Vec::new());
    loop {
        let own: Vec<T> = items.by_ref().take(each).collect();
        if own.is_empty() {
            break;
        }
        let (place, work) = (done.len(), work.clone());
        done.push(Vec::new());
        running.spawn(async move { one_task(own, work, AT_ONCE / tasks).await.map(|made| (place, made)) });
    }
    // Dropped before its end, the set ends its tasks.
    while let Some(ended) = running.join_next().await {
        let (place, made) = ended??;
        if let Some(slot) = done.get_mut(place) {
            *slot = made;
        }
    }
    Ok(done.into_iter().flatten().collect())
}

async fn one_task<T, R, F>(items: Vec<T>, work: impl Fn(T) -> F, at_once: usize) -> Result<Vec<R>, Error>
where
    F: Future<Output = Result<R, Error>>,
{
    stream::iter(items).map(work).buffered(at_once).try_collect().await
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_made_keeps_its_order_and_no_more_are_under_way_than_the_bound() {
        for count in [0, 1, FEW, FEW + 1, 1_003] {
            let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
            let work = {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                move |n: usize| {
                    let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                    async move {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        for _ in 0..n % 5 {
                            tokio::task::yield_now().await;
                        }
                        now.fetch_sub(1, Ordering::SeqCst);
                        Ok(n)
                    }
                }
            };
            assert_eq!(in_order((0..count).collect(), work).await.unwrap(), (0..count).collect::<Vec<_>>());
            assert!(most.load(Ordering::SeqCst) <= AT_ONCE, "{most:?} at once of {count}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_error_ends_it_and_without_one_all_is_done() {
        for (bad, count) in [(Some(3), 10), (Some(900), 1_000), (None, 1_000)] {
            let done = in_order((0..count).collect(), move |n| async move {
                if Some(n) == bad { Err(Error::Internal("a test".to_owned())) } else { Ok(n) }
            });
            assert_eq!(done.await.is_err(), bad.is_some());
        }
    }
}
