//! The command line: help, the ways of the password, what is printed where.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use ntlm_testkit::demo::{Demo, Login, Options};
use ntlm_testkit::{Origin, password_of};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{KEEP, front, probe, probe_as, run};

const PROBE: &str = env!("CARGO_BIN_EXE_ntlm-probe");

fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROBE);
    command.args(arguments).env_remove("NTLM_PROBE_PASSWORD").stdin(Stdio::null());
    command
}

#[tokio::test]
async fn the_text_says_leg_by_leg_what_came_back() {
    let origin = Origin::start().await;
    let shown = run(probe(&[&origin.url("/"), "--post"])).await;
    assert_eq!(shown.exit, Some(0), "{shown:?}");
    for part in [
        "leg 1  GET, no credentials     HTTP/1.1 401  Negotiate, NTLM  (",
        "leg 2  NTLM NEGOTIATE          HTTP/1.1 401  NTLM (a token)  (",
        "leg 3  NTLM AUTHENTICATE       HTTP/1.1 200  (",
        "domain    EXAMPLE (example.test)\n",
        "server    ORIGIN (origin.example.test)\n",
        "version   10.0.22621\n",
        "requests  ok      3 of 3 on the same connection\n",
        "strangers ok      3 of 3 connections without credentials were refused\n",
        "post      ok      1024 bytes, answered with 200\n",
        "parallel  ok      2 of 2 logins at the same time\n",
        "\nlogged in as EXAMPLE\\alice\n",
    ] {
        assert!(shown.stdout.contains(part), "no {part:?} in\n{}", shown.stdout);
    }
    // Not on a terminal, nothing but the report is printed.
    assert_eq!(shown.stderr, "");

    let shown = run(probe_as("alice", "guessed", &[&origin.url("/")])).await;
    assert_eq!(shown.exit, Some(6));
    assert!(
        shown.stdout.contains("\nFAILED (wrong-credentials): ") && shown.stdout.contains("\n  remedy: "),
        "{shown:?}"
    );
}

#[tokio::test]
async fn neither_password_nor_token_nor_control_character_is_printed() {
    let origin = Origin::start().await;
    // U+009B is what ESC [ is in one character.
    let hostile = format!("add_header WWW-Authenticate \"x\u{9b}31m\" always; {KEEP}");
    let nginx = front(&origin, "ntlm;", &hostile).start().await;
    for arguments in [&["--json"][..], &[]] {
        let shown = run(probe(&[&[nginx.url("/").as_str()][..], arguments].concat())).await;
        assert_eq!(shown.exit, Some(0), "{shown:?}");
        assert!(!shown.stdout.contains("alice-password") && !shown.stdout.contains("TlRMTV"), "{shown:?}");
        assert_eq!(shown.stdout.contains(r"x\x9B31m"), arguments.is_empty(), "{shown:?}");
    }
}

#[tokio::test]
async fn the_password_comes_from_a_file_or_standard_input() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "alice-password\nnot this\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = origin.url("/");
    let arguments = [&url, "--user", "EXAMPLE\\alice", "--password-file"];
    let path = file.display().to_string();
    assert_eq!(run(bare(&[&arguments[..], &[&path]].concat())).await.exit, Some(0));

    let mut command = bare(&[&arguments[..], &["-"]].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"alice-password\n").await.unwrap();
    assert!(child.wait_with_output().await.unwrap().status.success());

    std::fs::write(&file, "\n").unwrap();
    let shown = run(bare(&[&arguments[..], &[&path]].concat())).await;
    assert_eq!((shown.exit, shown.stdout.as_str()), (Some(2), ""));
    assert_eq!(shown.stderr, "ntlm-probe: the first line of the password file is empty\n");
}

#[tokio::test]
async fn without_a_terminal_nobody_is_asked() {
    let shown = run(bare(&["http://127.0.0.1/", "--user", "alice"])).await;
    assert_eq!(shown.exit, Some(2));
    assert!(shown.stderr.contains("--password-file FILE, or set NTLM_PROBE_PASSWORD"), "{shown:?}");
}

#[tokio::test]
async fn an_empty_password_is_not_sent() {
    let origin = Origin::start().await;
    let shown = run(probe_as("alice", "", &[&origin.url("/")])).await;
    assert_eq!((shown.exit, shown.stdout.as_str()), (Some(2), ""));
    assert_eq!(shown.stderr, "ntlm-probe: NTLM_PROBE_PASSWORD is empty\n");
    assert!(origin.ledger().is_empty());
}

#[tokio::test]
async fn on_a_terminal_the_password_is_asked_for_and_progress_is_shown() {
    let origin = Origin::start().await;
    // script(1) gives it a terminal.
    let command = format!("{PROBE} {} --user 'EXAMPLE\\alice'", origin.url("/?delay=300"));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env_remove("NTLM_PROBE_PASSWORD").env("TERM", "xterm");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{}\n", password_of("alice")).as_bytes()).await.unwrap();
    let output = ntlm_testkit::within(child.wait_with_output(), || "no end".to_owned()).await.unwrap();
    drop(stdin);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("Password of EXAMPLE\\alice: "), "{shown}");
    assert!(shown.contains(" NTLM NEGOTIATE") && shown.contains("logged in as EXAMPLE\\alice"), "{shown}");
    let after_prompt = shown.split_once("alice: ").unwrap().1;
    assert!(after_prompt.contains("request 1 of 3"), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_what_can() {
    for (arguments, hint) in [
        (&["http://a/"][..], "--user <USER>"),
        (&["ftp://a/", "--user", "a"], "write http://HOST/PATH or https://HOST/PATH"),
        (&["a", "--user", "a"], "write http://HOST/PATH or https://HOST/PATH"),
        (&["http://alice:secret@a/", "--user", "a"], "use --user"),
        (&["http://a/", "--user", "a", "--idle", "soon"], "--idle"),
        (&["http://a/", "--user", "a", "--ntlm", "--negotiate"], "--negotiate"),
        (&["http://a/", "--user", "a", "--parallel", "65"], "0..=64"),
        (&["http://a/", "--user", "a\\b\\c"], "write alice, DOMAIN\\alice or alice@example.com"),
        (
            &["https://a/", "--user", "a", "--cacert", "/nowhere.pem"],
            "\"/nowhere.pem\" has no usable certificates",
        ),
        (&["https://a/", "--user", "a", "--cacert", "/dev/null"], "there is none in it"),
        (&["http://a/", "--user", "a", "--password", "secret"], "--password"),
        (&["http://a/", "--user", ""], "it is empty"),
        (&["http://a/", "--user", "EXAMPLE/alice"], "write 'EXAMPLE\\alice'"),
        (&["http://a/", "--user", "EXAMPLE\\alice", "--domain", "EXAMPLE"], "the domain is named twice"),
        (&["http://a/", "--user", "a", "--timeout", "0s"], "no answer comes in no time"),
        (&["http://a/", "--user", "a", "--connect", "web1"], "write HOST:PORT"),
        (&["http://a/", "--user", "a", "--connect", "web1:"], "write HOST:PORT"),
    ] {
        let mut command = bare(arguments);
        let shown = run({
            command.env("NTLM_PROBE_PASSWORD", "x");
            command
        })
        .await;
        assert_eq!((shown.exit, shown.stdout.as_str()), (Some(2), ""), "{arguments:?} {shown:?}");
        assert!(shown.stderr.contains(hint), "{arguments:?} {}", shown.stderr);
    }
}

#[tokio::test]
async fn the_help_has_examples_and_the_exit_statuses() {
    let shown = run(bare(&["--help"])).await;
    assert_eq!(shown.exit, Some(0));
    for part in ["Examples:", "NTLM_PROBE_PASSWORD", "Exit status:", "\n  8  ", "--direct <URL>"] {
        assert!(shown.stdout.contains(part), "{part}");
    }
    assert!(!shown.stdout.contains("--password <"), "a password must not be an argument");
}

#[tokio::test]
async fn demo_logs_in_at_given_server() {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    // The environment is that of all tests.
    let with_password = folder.path().join("ntlm-probe");
    let script = format!("#!/bin/sh\nNTLM_PROBE_PASSWORD={} exec '{PROBE}' \"$@\"\n", password_of("alice"));
    std::fs::write(&with_password, script).unwrap();
    std::fs::set_permissions(&with_password, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (user, is_fine) in [("alice", true), ("bob", false)] {
        let options = Options {
            nginx: std::env::var_os("NTLM_NGINX").unwrap().into(),
            module: std::env::var_os("NTLM_MODULE").filter(|module| !module.is_empty()).map(PathBuf::from),
            upstream: Some(origin.url("/inbox").parse().unwrap()),
            login: Some(Login { user: format!("EXAMPLE\\{user}"), probe: with_password.clone() }),
            listen: None,
            once: true,
        };
        let demo = Demo::show(options).await.unwrap();
        assert_eq!(demo.is_fine(), is_fine, "{user}");
    }
    let served = origin.ledger().into_iter().any(|entry| entry.identity.as_deref() == Some("alice"));
    assert!(served, "{}", origin.ledger_text());
}
