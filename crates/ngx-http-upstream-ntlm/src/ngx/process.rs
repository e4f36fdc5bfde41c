//! The process at hand, and others: which one, since when, and whether it still runs.
#![expect(unsafe_code, reason = "signals to processes, and nginx's flags")]

use nginx_sys::{ESRCH, ngx_errno, ngx_exiting, ngx_pid, ngx_terminate};

/// A process, told from later ones with the same number by the time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The process's number.
    pub pid: i32,
    /// When it was started, in the kernel's clock ticks since boot; 0 where /proc does not tell.
    pub started: u64,
}

impl Process {
    /// The process at hand.
    pub fn this() -> Self {
        // SAFETY: nginx sets it as it starts a process.
        let pid = unsafe { ngx_pid };
        Process { pid, started: start_of(pid).unwrap_or(0) }
    }

    /// Whether it has ended. Its number may be another process's by now.
    pub fn is_gone(self) -> bool {
        // SAFETY: signal 0 only asks.
        if unsafe { nginx_sys::kill(self.pid, 0) != 0 && ngx_errno() == ESRCH as i32 } {
            return true;
        }
        self.started != 0 && start_of(self.pid).is_some_and(|started| started != self.started)
    }
}

/// Field 22 of /proc/PID/stat (proc_pid_stat(5)): the start of a process. The name before it may contain anything.
fn start_of(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Runs `call` as if the worker were not about to leave.
pub fn without_exiting<R>(call: impl FnOnce() -> R) -> R {
    // SAFETY: nginx sets the flag in its main loop only, which this thread is not in meanwhile.
    unsafe {
        let exiting = core::ptr::replace(&raw mut ngx_exiting, 0);
        let result = call();
        (&raw mut ngx_exiting).write(exiting);
        result
    }
}

/// Whether the worker is about to leave.
pub fn is_exiting() -> bool {
    // SAFETY: signal handlers set these flags; a stale read is as good as a signal that comes a moment later.
    unsafe { ngx_terminate != 0 || ngx_exiting != 0 }
}
