//! A short chaos: clients, origins and nginx at random, and every answer checked. `cargo xtask chaos` runs longer ones.

use ntlm_testkit::chaos::{Outcome, Size, run};

const SHORT: Size = Size { clients: 24, lives: usize::MAX, responses: 1500 };

async fn nothing_is_found(seed: u64) -> Outcome {
    let outcome = run(seed, SHORT).await;
    let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{outcome}\n{}\n{}", findings.join("\n"), outcome.details);
    assert!(outcome.responses >= SHORT.responses, "{outcome}");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_world_answers_and_keeps_every_login() {
    // Credentials in both fields, sent by clients and put in by locations; `proxy_pass` in odd case; clients of both protocols.
    let outcome = nothing_is_found(1).await;
    assert_eq!(outcome.logins.0, outcome.logins.1);
    assert_eq!(outcome.failed, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_guard_keep_strangers_apart() {
    // Users told apart by `ntlm_key`, some without a key, beside a group without `ntlm`; key updates, and no faults.
    let outcome = nothing_is_found(9).await;
    assert_eq!(outcome.logins.0, outcome.logins.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_behind_a_proxy_mix_up_no_users() {
    // Users told apart by a field that nginx does not believe, and a fault every few milliseconds.
    nothing_is_found(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_open_no_way_past_the_guard() {
    // A group without `ntlm`, credentials from locations, an origin that answers 407, and faults.
    nothing_is_found(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capped_connection_never_reaches_the_pool() {
    // Short bindings beside a pool in shared memory, `proxy_pass` with variables, and faults.
    nothing_is_found(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cap_beside_a_pool_cuts_no_login() {
    nothing_is_found(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowd_of_many_addresses_ends_no_login() {
    nothing_is_found(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hog_of_one_address_ends_no_login() {
    nothing_is_found(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_that_time_out_take_their_clients() {
    // Four times as many clients, whose bindings end together.
    let outcome = nothing_is_found(13).await;
    assert!(outcome.mirrored > 0, "{outcome}");
}
