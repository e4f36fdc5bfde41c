//! The reports of `docs/reports.md`, with the log that they read: run as they stand there.

use ntlm_testkit::{Client, Nginx, Origin, pause, within};

const LOG: &str = "/var/log/nginx/ntlm.json";

fn page() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reports.md");
    std::fs::read_to_string(file).unwrap()
}

/// The blocks of this language, in order.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let page = page();
    page.split(&fence).skip(1).map(|block| block.split_once("```\n").unwrap().0.to_owned()).collect()
}

/// The lines that a report prints, without the blanks in front.
fn report(number: usize, log: &std::path::Path) -> Vec<String> {
    let script = blocks("sh")[number].replace(LOG, log.to_str().unwrap());
    let output = std::process::Command::new("sh").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{script}\n{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_start().to_owned()).collect()
}

#[tokio::test]
async fn reports_count_logins_of_names_with_spaces_and_quotes() {
    let odd = "Pat \"Q\" O'Hara";
    let origin = Origin::builder().user("Anna Maria", "secret").user(odd, "secret").start().await;
    let nginx = Nginx::builder()
        .conf(&blocks("nginx")[0].replace(LOG, "{{prefix}}/ntlm.json"))
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    let mut requests = 0;
    for _ in 0..2 {
        let mut anna = Client::connect(&nginx).await;
        anna.login_with("NTLM", "Anna Maria", "secret", "/").await;
        anna.get("/").await;
        anna.get("/").await;
        requests += 4;
    }
    Client::connect(&nginx).await.login_with("NTLM", odd, "secret", "/").await;
    for user in ["Alice", "alice", "Bob the Builder"] {
        Client::connect(&nginx).await.login_with("NTLM", user, "guessed", "/").await;
    }
    requests += 2 * 4;
    let log = nginx.prefix().join("ntlm.json");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    let written = async {
        while lines() < requests {
            pause().await;
        }
    };
    within(written, || format!("{} lines", lines())).await;

    let anna = "2 NTLMv2\tEXAMPLE\\Anna Maria\t-\t127.0.0.1".to_owned();
    assert_eq!(report(0, &log), [anna.clone(), format!("1 NTLMv2\tEXAMPLE\\{odd}\t-\t127.0.0.1")]);
    // Without jq.
    assert_eq!(report(1, &log)[0], anna);
    assert_eq!(report(2, &log), ["2 127.0.0.1\t-\tNTLMv2"]);
    assert_eq!(report(3, &log), ["3 127.0.0.1"]);
}
