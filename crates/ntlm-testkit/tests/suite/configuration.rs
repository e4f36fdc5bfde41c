//! The directives: what is refused and in which words, what is accepted, and what it costs. What the module changes in
//! the outgoing request is in `outgoing`, the configurations that README and docs show in `examples`.

mod examples;
pub(crate) mod outgoing;

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::{Client, Nginx, Origin};

/// A file to include in the `http` block.
struct Included {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Included {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("included.conf");
        std::fs::write(&path, text).unwrap();
        Included { path, _folder: folder }
    }

    fn line(&self) -> String {
        format!("include {};", self.path.display())
    }
}

/// An `upstream` block whose third line is the first of `lines`.
fn group(lines: &[&str]) -> String {
    format!("upstream group {{\nserver 127.0.0.1:1;\n{}\n}}\n", lines.join("\n"))
}

/// `nginx -t` refuses `text` in the `http` block at this line, and says why in one sentence.
pub(crate) async fn refused(text: &str, line: usize, why: &str) {
    let included = Included::new(text);
    let test = Nginx::builder().conf(&included.line()).config_test().await;
    assert_eq!(test.exit, Some(1), "{text}\n{}", test.stderr);
    let emerg: Vec<&str> = test.stderr.lines().filter(|line| line.contains("[emerg]")).collect();
    assert_eq!(emerg.len(), 1, "{text}\n{}", test.stderr);
    assert!(emerg[0].contains(why), "{text}\n{}", test.stderr);
    let place = format!(" in {}:{line}", included.path.display());
    assert!(emerg[0].ends_with(&place), "no {place}\n{}", test.stderr);
}

/// `nginx -t` has nothing to say against `text` in the `http` block.
pub(crate) async fn accepted(text: &str) {
    let included = Included::new(text);
    let test = Nginx::builder().conf(&included.line()).config_test().await;
    assert_eq!(test.exit, Some(0), "{text}\n{}", test.stderr);
    for level in ["[warn]", "[error]", "[emerg]", "[alert]"] {
        assert!(!test.stderr.contains(level), "{text}\n{}", test.stderr);
    }
}

const BAD_NUMBERS: [&str; 14] = [
    "0",
    "00",
    "-1",
    "+1",
    "abc",
    "1k",
    "5.0",
    "0x10",
    "\"\"",
    "\" 5\"",
    "2147483648",
    "4294967297",
    "18446744073709551617",
    "99999999999999999999",
];

const BAD_TIMES: [&str; 11] = [
    "0",
    "0s",
    "0ms",
    "0h0m",
    "-1",
    "abc",
    "60x",
    "1s1h",
    "\"\"",
    "9223372036854775807s",
    "99999999999999999999",
];

#[tokio::test]
async fn invalid_number_is_refused_by_name_and_place() {
    // A login takes two requests.
    for (directive, least, more) in [("ntlm", 1, &[][..]), ("ntlm_requests", 2, &["1", "01"])] {
        for value in BAD_NUMBERS.iter().chain(more) {
            let line = format!("{directive} {value};");
            let value = value.trim_matches('"');
            let why = format!(
                "invalid value \"{value}\" in \"{directive}\" directive, it must be a number from {least} to 2147483647"
            );
            refused(&group(&["keepalive 4;", &line]), 4, &why).await;
        }
    }
}

#[tokio::test]
async fn invalid_time_is_refused_by_name_and_place() {
    for directive in ["ntlm_timeout", "ntlm_time"] {
        for value in BAD_TIMES {
            let line = format!("{directive} {value};");
            let value = value.trim_matches('"');
            let why = format!("invalid value \"{value}\" in \"{directive}\" directive, it must be a time");
            refused(&group(&["ntlm;", "", &line]), 5, &why).await;
        }
    }
}

#[tokio::test]
async fn a_directive_said_twice_is_refused() {
    for (first, second) in [
        ("ntlm;", "ntlm;"),
        ("ntlm 5;", "ntlm;"),
        ("ntlm;", "ntlm 5;"),
        ("ntlm 5;", "ntlm 0;"),
        ("ntlm_timeout 60s;", "ntlm_timeout 60s;"),
        ("ntlm_requests 5;", "ntlm_requests 6;"),
        ("ntlm_time 1h;", "ntlm_time 1h;"),
        ("ntlm_key $uri;", "ntlm_key $args;"),
        ("ntlm_multiplexing on;", "ntlm_multiplexing off;"),
    ] {
        let name = second.split([' ', ';']).next().unwrap();
        let why = format!("\"{name}\" directive is duplicate");
        let before = if name == "ntlm" { "" } else { "ntlm;" };
        refused(&group(&[before, first, "", second]), 6, &why).await;
    }
}

#[tokio::test]
async fn multiplexing_is_on_or_off() {
    for value in ["maybe", "1", "\"\"", "onn"] {
        let (line, value) = (format!("ntlm_multiplexing {value};"), value.trim_matches('"'));
        let why = format!(
            "invalid value \"{value}\" in \"ntlm_multiplexing\" directive, it must be \"on\" or \"off\""
        );
        refused(&group(&["ntlm;", &line]), 4, &why).await;
    }
    for value in ["on", "off", "ON", "Off"] {
        accepted(&group(&[&format!("ntlm_multiplexing {value};"), "ntlm;"])).await;
    }
}

#[tokio::test]
async fn empty_or_malformed_key_is_refused() {
    let why = "invalid value \"\" in \"ntlm_key\" directive, it must be a value that is not empty";
    refused(&group(&["ntlm;", "ntlm_key \"\";"]), 4, why).await;
    refused(&group(&["ntlm;", "ntlm_key $;"]), 4, "invalid variable name").await;
}

#[tokio::test]
async fn a_status_that_is_none_is_refused() {
    let location = |line: &str| format!("server {{\nlocation / {{\n{line}\n}}\n}}\n");
    let why =
        "invalid value \"xml\" in \"ntlm_status\" directive, it must be \"json\", \"prometheus\" or \"html\"";
    refused(&location("ntlm_status xml;"), 3, why).await;
    refused(&location("ntlm_status; ntlm_status html;"), 3, "\"ntlm_status\" directive is duplicate").await;
    refused(&location("ntlm_status json html;"), 3, "invalid number of arguments in \"ntlm_status\"").await;
    refused("ntlm_status;\n", 1, "\"ntlm_status\" directive is not allowed here").await;
    refused("server {\nntlm_status;\n}\n", 2, "\"ntlm_status\" directive is not allowed here").await;
    for format in ["", " json", " prometheus", " html"] {
        accepted(&location(&format!("ntlm_status{format};"))).await;
    }
}

#[tokio::test]
async fn a_wrong_count_of_values_is_refused() {
    for line in [
        "ntlm 5 6;",
        "ntlm_timeout;",
        "ntlm_timeout 1h 30m;",
        "ntlm_requests;",
        "ntlm_requests 2 3;",
        "ntlm_time;",
        "ntlm_time 1s 2s;",
        "ntlm_key;",
        "ntlm_key $uri $args;",
        "ntlm_multiplexing;",
        "ntlm_multiplexing on off;",
    ] {
        let name = line.split([' ', ';']).next().unwrap();
        let why = format!("invalid number of arguments in \"{name}\" directive");
        refused(&group(&[line]), 3, &why).await;
    }
}

#[tokio::test]
async fn ntlm_companions_without_ntlm_are_refused() {
    for line in
        ["ntlm_timeout 60s;", "ntlm_requests 5;", "ntlm_time 1h;", "ntlm_key $uri;", "ntlm_multiplexing on;"]
    {
        let name = line.split(' ').next().unwrap();
        let why = format!("\"{name}\" directive without \"ntlm\" in upstream \"group\"");
        refused(&group(&["keepalive 4;", line, "least_conn;"]), 4, &why).await;
        // Another group's `ntlm` does not help.
        let other = "upstream other { server 127.0.0.1:1; ntlm; }\n";
        refused(&format!("{other}{}", group(&[line])), 4, &why).await;
    }
}

#[tokio::test]
async fn every_directive_is_refused_outside_an_upstream_block() {
    for line in [
        "ntlm;",
        "ntlm 5;",
        "ntlm_timeout 60s;",
        "ntlm_requests 5;",
        "ntlm_time 1h;",
        "ntlm_key $uri;",
        "ntlm_multiplexing off;",
    ] {
        let name = line.split([' ', ';']).next().unwrap();
        let why = format!("\"{name}\" directive is not allowed here");
        refused(&format!("\n{line}\n"), 2, &why).await;
        refused(&format!("server {{\n{line}\n}}\n"), 2, &why).await;
        refused(&format!("server {{\nlocation / {{\n{line}\n}}\n}}\n"), 3, &why).await;
    }
}

#[tokio::test]
async fn every_good_value_is_accepted_in_any_order() {
    for lines in [
        "ntlm;",
        "ntlm 1;",
        "ntlm 2147483647;",
        "ntlm 5; ntlm_timeout 1h30m; ntlm_requests 2147483647; ntlm_time 30d;",
        "ntlm_timeout 200ms; ntlm_requests 2; ntlm_time 1ms; ntlm;",
        "ntlm_time 1h; ntlm 7; ntlm_timeout 60;",
        "ntlm_key \"$http_x_session $scheme\"; ntlm;",
        "least_conn; ntlm_timeout 60s; keepalive 4; ntlm;",
        "zone z 64k; ntlm; ntlm_requests 9; least_conn; keepalive 4;",
    ] {
        accepted(&group(&[lines])).await;
    }
    // Each group has its own, and what `proxy_pass` makes of a bare address is a group without settings.
    accepted(
        "upstream one { server 127.0.0.1:1; ntlm 1; ntlm_timeout 1s; }\n\
         upstream two { ntlm_timeout 2s; server 127.0.0.1:1; ntlm 2; }\n\
         upstream none { server 127.0.0.1:1; }\n\
         server { location / { proxy_pass http://127.0.0.1:2; } location /two { proxy_pass http://two; } }\n",
    )
    .await;
}

#[tokio::test]
async fn refused_companion_is_reported_with_its_file() {
    let included = Included::new("keepalive 4;\nntlm_timeout 60s;\n");
    let conf = format!("upstream group {{ server 127.0.0.1:1; {} keepalive_timeout 1s; }}", included.line());
    let test = Nginx::builder().conf(&conf).config_test().await;
    assert_eq!(test.exit, Some(1), "{}", test.stderr);
    let place = format!("in upstream \"group\" in {}:2\n", included.path.display());
    assert!(test.stderr.contains(&place), "{}", test.stderr);
    let with = conf.replace("keepalive_timeout 1s;", "ntlm;");
    assert_eq!(Nginx::builder().conf(&with).config_test().await.exit, Some(0));
}

#[tokio::test]
async fn refused_reload_keeps_the_old_workers() {
    let origin = Origin::start().await;
    let good = Nginx::builder().in_front_of(&[&origin], "ntlm;");
    let nginx = good.allow_log("invalid value \"0\" in \"ntlm\"").start().await;
    let mut alice = Client::connect(&nginx).await;
    let home = alice.login("alice", "/").await.pop().unwrap();
    let workers = nginx.worker_pids();
    nginx.rewrite(&Nginx::builder().in_front_of(&[&origin], "ntlm 0;"));
    let master = Pid::from_raw(nginx.pid().try_into().unwrap());
    kill(master, Signal::SIGHUP).unwrap();
    nginx.wait_log(|log| log.contains("invalid value \"0\" in \"ntlm\" directive")).await;
    assert_eq!(nginx.worker_pids(), workers);
    assert_eq!(alice.get("/").await.connection(), home.connection());
}

/// A line of `/proc/PID/status`, in kilobytes.
fn kilobytes(pid: u32, name: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_largest_caps_take_no_memory() {
    let origin = Origin::start().await;
    let mut sizes = Vec::new();
    for lines in ["ntlm 1;", "ntlm 100000000;", "ntlm 2147483647;"] {
        let nginx = Nginx::builder().in_front_of(&[&origin], lines).workers(2).start().await;
        Client::connect(&nginx).await.login("alice", "/").await;
        for pid in nginx.worker_pids().into_iter().chain([nginx.pid()]) {
            sizes.push((lines, kilobytes(pid, "VmRSS:"), kilobytes(pid, "VmData:")));
        }
    }
    let largest = |size: fn(&(&str, i64, i64)) -> i64, small: bool| {
        sizes.iter().filter(|(lines, ..)| (*lines == "ntlm 1;") == small).map(size).max().unwrap()
    };
    assert!(largest(|size| size.1, false) < largest(|size| size.1, true) + 2048, "{sizes:?}");
    assert!(largest(|size| size.2, false) < largest(|size| size.2, true) + 2048, "{sizes:?}");
}

#[tokio::test]
async fn unguarded_group_is_as_without_the_module() {
    let origin = Origin::start().await;
    let mut served = Vec::new();
    for builder in [Nginx::builder(), Nginx::builder().without_module()] {
        origin.clear_ledger();
        let lines = "keepalive 4; ntlm_guard off; } upstream unused { server 127.0.0.1:1; ntlm;";
        let lines = if served.is_empty() { lines } else { "keepalive 4;" };
        let nginx = builder.in_front_of(&[&origin], lines).start().await;
        let mut alice = Client::connect(&nginx).await;
        let responses = alice.login_with("NTLM", "alice", "alice-password", "/").await;
        let statuses: Vec<u16> = responses.iter().map(|response| response.status).collect();
        let ledger: Vec<_> = origin
            .ledger()
            .into_iter()
            .map(|entry| (entry.request, entry.version, entry.connection_field, entry.leg, entry.identity))
            .collect();
        served.push((statuses, ledger));
    }
    assert_eq!(served[0], served[1]);
}

#[tokio::test]
async fn many_workers_bind_each_its_own_clients() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").workers(8).start().await;
    let mut clients = Vec::new();
    for number in 0..32 {
        let user = format!("user{number}");
        let mut client = Client::connect(&nginx).await;
        let home = client.login(&user, "/").await.pop().unwrap();
        clients.push((client, user, home.connection()));
    }
    for _ in 0..3 {
        for (client, user, connection) in &mut clients {
            let response = client.get("/").await;
            assert_eq!((response.identity(), response.connection()), (user.as_str(), *connection));
        }
    }
    nginx.stop().await;
}
