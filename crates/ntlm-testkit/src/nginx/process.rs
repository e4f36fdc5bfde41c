//! The processes of one nginx: signals, workers, the end.
//!
//! It must never signal anything but the child it holds.

use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child that is ours until it was waited for, so that its number cannot be another's.
#[derive(Debug)]
pub(super) struct Process(pub(super) Child);

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            // Fails if it is gone already, which its waiters see.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    pub(super) fn has_exited(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Ends it: QUIT, then TERM, then KILL. `true` if it came to that.
    pub(super) fn end(&mut self) -> bool {
        for (signal, seconds) in [(Signal::SIGQUIT, 5), (Signal::SIGTERM, 5)] {
            if self.has_exited() {
                return false;
            }
            self.signal(signal);
            let deadline = Instant::now() + Duration::from_secs(seconds) * crate::slowness();
            while !self.has_exited() && Instant::now() < deadline {
                // Drop cannot await, and only a poll by the parent tells that a process has ended.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if self.has_exited() {
            return false;
        }
        // Workers first: a killed master would leave them behind.
        for worker in children_of(self.id()) {
            if let Ok(pid) = i32::try_from(worker) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
        true
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// `child` is a child of `pid` and alive.
pub(super) fn is_child(pid: u32, child: u32) -> bool {
    children_of(pid).contains(&child)
}

/// The workers of master `pid` that serve: nginx writes into its title when one "is shutting down". The title is cut off
/// at the length of the path that nginx was started by, where that was by a loader.
pub(super) fn workers_of(pid: u32) -> Vec<u32> {
    let mut workers = children_of(pid);
    workers.retain(|child| {
        let title = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        let title = String::from_utf8_lossy(&title);
        title.contains("worker process") && !title.contains("worker process is")
    });
    workers
}

/// As [`workers_of`], by the log at `notice`, where `NTLM_NGINX_WRAP` stands before nginx and hides its title.
pub(super) fn workers_by_log(pid: u32, log: &str) -> Vec<u32> {
    let mut workers = children_of(pid);
    workers.retain(|child| {
        log.contains(&format!("start worker process {child}\n"))
            && !log.contains(&format!(" {child}#{child}: gracefully shutting down\n"))
    });
    workers
}
