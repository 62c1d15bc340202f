//! The thread of the connections. A worker whose handler blocks therefore delays no operation of another worker.

use std::{sync::OnceLock, thread};

use actix_protect_api::StoreError;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Starts the thread when it is first needed. The thread ends when the driver is dropped.
#[derive(Default)]
pub(crate) struct Driver(OnceLock<Result<Running, String>>);

struct Running {
    handle: Handle,
    /// Dropped with the driver, which ends the thread.
    _end: oneshot::Sender<()>,
}

impl Driver {
    /// Runs the operation on the thread. The operation continues if the returned future is dropped, so it must limit its
    /// time.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let handle = self.handle()?;
        match handle.spawn(operation).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::new("the operation was stopped")),
        }
    }

    fn handle(&self) -> Result<&Handle, StoreError> {
        match self.0.get_or_init(start) {
            Ok(running) => Ok(&running.handle),
            Err(problem) => Err(StoreError::new(problem.clone())),
        }
    }
}

fn start() -> Result<Running, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel();
    thread::Builder::new()
        .name("protect-api-redis".into())
        .spawn(move || {
            // Ends when the sender is dropped.
            let _dropped = runtime.block_on(ended);
            runtime.shutdown_background();
        })
        .map_err(|error| error.to_string())?;
    Ok(Running { handle, _end: end })
}
