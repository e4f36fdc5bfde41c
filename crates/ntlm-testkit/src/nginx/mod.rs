//! An nginx of a test's own: its prefix, its ports, its logs, its end.
//!
//! It must never signal a process it did not start, and never let a test pass whose nginx complained.

mod binary;
mod builder;
mod form;
mod logs;
mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::Signal;

pub use self::binary::Binary;
pub use self::builder::{Builder, ConfigTest};

use self::process::Process;
use crate::client::{Endpoint, Target};
use crate::patience;
use crate::ports::Reserved;

/// A running nginx. Dropping it quits it, and panics if its logs hold a complaint (see [`Builder::allow_log`]).
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    workers: usize,
    master: bool,
    allowed: Vec<String>,
    ports: BTreeMap<String, Reserved>,
    prefix: tempfile::TempDir,
    judged: bool,
}

impl Nginx {
    /// An nginx to order.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The nginx under test: version and configure arguments.
    #[must_use]
    pub fn binary() -> &'static Binary {
        binary::get()
    }

    /// Chooses what [`Self::binary`] is, in place of the environment; once, and before anything asks for it.
    ///
    /// # Errors
    /// When `path` does not run or is no nginx, or the choice was made.
    pub fn choose(path: &Path, module: Option<&Path>) -> Result<(), String> {
        binary::choose(path, module)
    }

    // Where it is.

    /// The port behind `{{port:name}}`, or `{{port}}` for an empty name.
    #[must_use]
    pub fn at(&self, name: &str) -> Endpoint {
        Endpoint::Socket(self.socket_addr(name))
    }

    /// The socket address of the port behind `{{port:name}}`.
    #[must_use]
    pub fn socket_addr(&self, name: &str) -> SocketAddr {
        let Some(reserved) = self.ports.get(name) else {
            panic!("the configuration names no port \"{name}\"")
        };
        reserved.address()
    }

    /// `http://127.0.0.1:port` of `{{port}}`, and `target`.
    #[must_use]
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.socket_addr(""))
    }

    /// Its prefix.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        self.prefix.path()
    }

    /// The PEM files behind `{{ca}}`, `{{cert}}`, `{{key}}`, `{{client_cert}}`, `{{client_key}}`.
    #[cfg(feature = "full")]
    #[must_use]
    pub fn files(&self) -> crate::pki::Files {
        crate::pki::Files::of(self.prefix())
    }

    // Its processes.

    /// The process that was started: the master, or the only one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The workers that serve (those shutting down left out).
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        match self.process.id() {
            only if !self.master => vec![only],
            master if binary::get().is_wrapped() => process::workers_by_log(master, &self.error_log()),
            master => process::workers_of(master),
        }
    }

    /// Loads the configuration anew, and waits until all workers are new and the old ones gone or shutting down.
    pub async fn reload(&self) {
        let before = self.worker_pids();
        let offset = self.error_log().len();
        self.signal(Signal::SIGHUP);
        self.poll("new workers", || {
            let log = self.error_log();
            let refused = log.get(offset..).is_some_and(|text| text.contains("[emerg]"));
            assert!(!refused, "the configuration is refused\n{}", logs::tail(&log));
            let now = self.worker_pids();
            now.len() == self.workers && now.iter().all(|pid| !before.contains(pid))
        })
        .await;
    }

    /// Writes another configuration in place of the one it was started with; [`Self::reload`] takes it up.
    /// Its placeholders and ports get the values of the first one.
    pub fn rewrite(&self, builder: &Builder) {
        builder.rewrite(self);
    }

    /// Waits until none of these processes (workers of this nginx) is left.
    pub async fn wait_gone(&self, pids: &[u32]) {
        self.poll("the end of workers", || {
            pids.iter().all(|&pid| !process::is_child(self.process.id(), pid))
        })
        .await;
    }

    /// Asks for a graceful end, and does not wait for it.
    pub fn quit(&self) {
        self.signal(Signal::SIGQUIT);
    }

    /// Asks for a fast end, and does not wait for it.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Asks it to reopen its logs.
    pub fn reopen(&self) {
        self.signal(Signal::SIGUSR1);
    }

    /// Waits until it is gone.
    pub async fn wait_exit(&mut self) {
        let (process, prefix) = (&mut self.process, self.prefix.path());
        poll("the end of nginx", || process.has_exited(), || logs::tail(&logs::errors(prefix))).await;
    }

    fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    // Logs.

    /// All of its error log.
    #[must_use]
    pub fn error_log(&self) -> String {
        logs::lines(&self.prefix.path().join("error.log"))
    }

    /// All of its access log; each line is `"request" status=… upstream_addr=… upstream_status=… connection=… requests=…`.
    #[must_use]
    pub fn access_log(&self) -> String {
        logs::lines(&self.prefix.path().join("access.log"))
    }

    /// Waits until the error log satisfies `condition`.
    pub async fn wait_log(&self, condition: impl Fn(&str) -> bool) {
        self.poll("the error log", || condition(&self.error_log())).await;
    }

    /// Waits until the access log satisfies `condition`.
    pub async fn wait_access_log(&self, condition: impl Fn(&str) -> bool) {
        self.poll("the access log", || condition(&self.access_log())).await;
    }

    /// The lines of its logs that fail a test, those of [`Builder::allow_log`] included.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = logs::errors(self.prefix.path());
        logs::complaints(&log, &[]).into_iter().map(str::to_owned).collect()
    }

    async fn poll(&self, what: &str, condition: impl FnMut() -> bool) {
        poll(what, condition, || logs::tail(&self.error_log())).await;
    }

    // Its end.

    /// Quits it, waits for its end without blocking the test's other tasks, and panics if its logs hold a complaint.
    pub async fn stop(mut self) {
        self.signal(Signal::SIGQUIT);
        let deadline = tokio::time::Instant::now() + patience();
        while !self.process.has_exited() && tokio::time::Instant::now() < deadline {
            crate::pause().await;
        }
        self.finish();
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.judged, true) {
            return;
        }
        let killed = self.process.end();
        let log = logs::errors(self.prefix.path());
        if std::thread::panicking() {
            eprintln!("{}", logs::tail(&log));
            return;
        }
        assert!(!killed, "nginx had to be killed\n{}", logs::tail(&log));
        let complaints = logs::complaints(&log, &self.allowed);
        assert!(complaints.is_empty(), "nginx complained:\n{}\n{}", complaints.join("\n"), logs::tail(&log));
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Target for Nginx {
    fn endpoint(&self) -> Endpoint {
        self.at("")
    }
}

/// Looks every few milliseconds whether `condition` holds; panics when patience runs out.
async fn poll(what: &str, mut condition: impl FnMut() -> bool, tail: impl Fn() -> String) {
    let deadline = tokio::time::Instant::now() + patience();
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited {} s in vain for {what}\n{}",
            patience().as_secs(),
            tail()
        );
        crate::pause().await;
    }
}
