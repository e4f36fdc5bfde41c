//! Where it is allowed (as root), what measures and what is measured goes before all other processes, so that a busy machine
//! shows less in times. None of them takes a processor for long.

use std::process::{Command, Stdio};

/// The processes that go before all others until this is dropped.
pub struct First(Vec<u32>);

impl First {
    /// This process and `others`; none where one of them must not.
    pub fn of(others: impl IntoIterator<Item = u32>) -> Option<Self> {
        let first = Self(others.into_iter().chain([std::process::id()]).collect());
        first.0.iter().all(|&pid| chrt("--fifo", "1", pid)).then_some(first)
    }
}

impl Drop for First {
    fn drop(&mut self) {
        for &pid in &self.0 {
            chrt("--other", "0", pid);
        }
    }
}

/// Sets the policy and priority of all threads of a process, by a tool of util-linux.
fn chrt(policy: &str, priority: &str, pid: u32) -> bool {
    let mut chrt = Command::new("chrt");
    chrt.arg(policy).args(["--all-tasks", "--pid", priority]).arg(pid.to_string());
    let status = chrt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
