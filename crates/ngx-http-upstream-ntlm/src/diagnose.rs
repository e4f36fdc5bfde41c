//! Tells of diagnoses in the error log, each once a minute for each group.
//!
//! Must never name a user, nor fill a log.

use nginx_sys::ngx_log_t;
use ntlm_core::diagnosis::Diagnosis;

use crate::group::Group;
use crate::log::warn;
use crate::ngx::unix_time;
use crate::worker;

/// Milliseconds between two messages of a kind about a group.
const INTERVAL: u64 = 60_000;

/// Counts a diagnosis of a group, and tells of it if that has not been done for a minute.
#[cold]
#[inline(never)]
pub fn diagnose(log: *mut ngx_log_t, group: &Group, diagnosis: Diagnosis) {
    let now = unix_time();
    let is_told = match group.slot {
        Some(slot) if slot.is_explained(diagnosis, now, INTERVAL) => false,
        Some(slot) => slot.count_trouble(diagnosis, now, INTERVAL),
        None if group.is_guarded() => {
            worker::shared().is_some_and(|shared| shared.is_told_of_guarded(group.id.0, now, INTERVAL))
        }
        // A group that is not counted is not told of: nothing would bound how often.
        None => false,
    };
    if is_told {
        let kind = if group.by_server { "\"proxy_ntlm\" of" } else { "upstream" };
        // nginx puts what it does at the moment behind it: "while reading response header from upstream, client: …".
        warn!(log, "ntlm: {} in {kind} \"{}\": {}; seen", diagnosis.text(), group.name, diagnosis.remedy());
    }
}

/// Tells that credentials go to a server without an `upstream` block.
#[cold]
#[inline(never)]
pub fn diagnose_no_group(log: *mut ngx_log_t, server: &[u8]) {
    let is_told =
        worker::shared().is_some_and(|shared| shared.is_told_of_guarded(u32::MAX, unix_time(), INTERVAL));
    if is_told {
        warn!(
            log,
            "ntlm: credentials that authenticate a connection go to \"{}\", which is in no \"upstream\" block with \"ntlm\", so no \
             login can finish: write \"proxy_ntlm on;\" beside \"proxy_pass\"; seen",
            server.escape_ascii()
        );
    }
}

/// Tells of credentials that are too large for nginx, which belong to no group yet.
#[cold]
#[inline(never)]
pub fn diagnose_too_long(log: *mut ngx_log_t) {
    let is_told =
        worker::shared().is_some_and(|shared| shared.is_told_of_guarded(u32::MAX - 1, unix_time(), INTERVAL));
    if is_told {
        warn!(
            log,
            "ntlm: an \"Authorization\" field with a login is too large, so the client is answered 400: write \
             \"large_client_header_buffers 4 64k;\" into \"http\" or the \"server\"; seen"
        );
    }
}
