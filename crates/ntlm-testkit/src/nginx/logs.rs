//! Reading and judging the logs of an nginx.
//!
//! It must never overlook a complaint because of the log it was written to: standard error counts, renamed logs count.

use std::path::Path;

const COMPLAINTS: [&str; 10] = [
    "[alert]",
    "[emerg]",
    "[crit]",
    "panicked",
    "AddressSanitizer",
    "LeakSanitizer",
    "runtime error:",
    "open socket",
    "connection already closed",
    "exited on signal",
];

pub(super) fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The whole lines of a file. A reader may find half of the line that nginx writes at the same time.
pub(super) fn lines(path: &Path) -> String {
    let mut text = read(path);
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

/// Everything below `prefix` that may hold a complaint.
pub(super) fn errors(prefix: &Path) -> String {
    let mut paths: Vec<_> = std::fs::read_dir(prefix)
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("error.log") || name == "stderr"
    });
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// The lines that must not be there.
pub(super) fn complaints<'a>(log: &'a str, allowed: &[String]) -> Vec<&'a str> {
    log.lines()
        .filter(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
        .filter(|line| !allowed.iter().any(|allowed| line.contains(allowed.as_str())))
        .collect()
}

/// The end of a log, as failures show it.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(120);
    format!("error log ({} lines):\n{}", lines.len(), lines[from..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_found_unless_allowed() {
        let log = "1 [notice] fine\n2 [alert] worker process 7 exited on signal 11\n";
        assert_eq!(complaints(log, &[]).len(), 1);
        assert!(complaints(log, &["exited on signal 11".to_owned()]).is_empty());
    }
}
