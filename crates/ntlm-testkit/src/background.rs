//! Threads for what must go on while a test blocks: origins, and the drivers of HTTP/2 and HTTP/3 connections.
//!
//! A test that drops an nginx waits for its end without yielding; nginx in turn waits for its peers. Nothing a test
//! awaits by itself may run here but the making of connections.

use std::sync::OnceLock;

use tokio::runtime::Runtime;

/// The runtime behind the tests, one for each process.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("background").enable_all().build().expect("a runtime")
    })
}

/// Runs `future` there, so that what it opens lives there; its panic is the caller's.
#[cfg(feature = "http2")]
pub(crate) async fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    match runtime().spawn(future).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
