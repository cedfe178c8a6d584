//! Threads for work that takes the CPU for long, so that no runtime worker does it.
//!
//! Not `spawn_blocking`: its threads are many, for work that waits; these are as many as there
//! are cores, for work that computes, and run behind the workers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use thiserror::Error;
use tokio::sync::oneshot;

use super::{hooks::Hooks, nice};

/// A pool of threads that compute; cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct CpuPool {
    jobs: Sender<Message>,
    threads: usize,
    hooks: Hooks,
}

/// The reason why a job was not done.
#[derive(Debug, Error, PartialEq)]
pub enum CpuError {
    /// The queue is full: as many jobs wait for a thread as may.
    #[error("as many jobs wait for a thread as may")]
    Full,
    /// The job panicked, or the pool was stopped before it ran.
    #[error("the job was not finished")]
    Lost,
}

enum Message {
    Job(Box<dyn FnOnce() + Send>),
    Stop,
}

impl CpuPool {
    /// Most jobs that wait for a thread.
    const WAITING: usize = 16 * 1024;

    /// Starts `threads` threads with the nice value `nice`, 0 for that of the caller; joining the
    /// handles waits for [`CpuPool::stop`].
    pub fn start(
        threads: usize,
        nice: u8,
        hooks: Hooks,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, waiting) = crossbeam_channel::bounded(Self::WAITING);
        let thread = |index| {
            let waiting = waiting.clone();
            thread::Builder::new().name(format!("cpu-{index}")).spawn(move || {
                nice::lower(nice);
                work(&waiting);
            })
        };
        let handles = (0..threads).map(thread).collect::<Result<_, _>>()?;
        Ok((Self { jobs, threads, hooks }, handles))
    }

    /// Puts a job in the queue; a panic in it is reported, and ends the job only.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), CpuError> {
        let context = self.hooks.context();
        let job = move || {
            context.attach();
            job();
        };
        self.jobs.try_send(Message::Job(Box::new(job))).map_err(|error| match error {
            TrySendError::Full(_) => CpuError::Full,
            TrySendError::Disconnected(_) => CpuError::Lost,
        })
    }

    /// Runs a job and waits for its result. Dropped, it lets a job that runs finish for nobody.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CpuError> {
        let (done, result) = oneshot::channel();
        self.spawn(move || {
            if !done.is_closed() {
                // The client may leave while the job runs.
                let _ = done.send(job());
            }
        })?;
        result.await.map_err(|_| CpuError::Lost)
    }

    /// Hooks that attribute the jobs of this pool to requests.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Ends the threads once what was queued before is done.
    pub fn stop(&self) {
        for _ in 0..self.threads {
            // Without a receiver the threads have ended already.
            let _ = self.jobs.send(Message::Stop);
        }
    }
}

fn work(waiting: &Receiver<Message>) {
    while let Ok(Message::Job(job)) = waiting.recv() {
        // The panic hook has reported it; whoever waits for the job sees its channel close.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_job_and_not_the_thread() {
        let (pool, threads) = CpuPool::start(1, 0, Hooks::default()).expect("started");
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(CpuError::Lost));
        assert_eq!(pool.run(|| 42).await, Ok(42));
        pool.stop();
        for thread in threads {
            thread.join().expect("ended");
        }
        assert_eq!(pool.run(|| 42).await, Err(CpuError::Lost));
    }
}
