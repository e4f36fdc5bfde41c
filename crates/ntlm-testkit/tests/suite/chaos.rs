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
async fn in_a_quiet_world_every_login_succeeds_and_holds() {
    // Two groups beside a pool, three origins over TLS 1.3, two workers, clients of both protocols.
    let outcome = nothing_is_found(9).await;
    assert_eq!(outcome.logins.0, outcome.logins.1);
    assert_eq!(outcome.failed, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_mix_up_nobody_where_connections_are_scarce() {
    // Two groups beside a pool, three origins, a fault every few milliseconds, clients of both protocols, half of them over
    // TLS.
    nothing_is_found(23).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capped_connection_never_reaches_the_pool_below() {
    // Bindings of three requests and 300 ms, two groups beside a pool in shared memory, two workers.
    nothing_is_found(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_that_end_early_take_their_clients_along() {
    // Bindings of 150 ms, two groups, three origins over TLS 1.3, and nothing else that ends a connection.
    let outcome = nothing_is_found(5).await;
    assert!(outcome.mirrored > 0, "{outcome}");
}
