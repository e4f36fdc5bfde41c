//! Tokens of every size and shape, garbage, and credentials of other schemes.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::ntlm::to_base64;
use ntlm_testkit::{Client, Nginx, Origin, password_of};

use super::{front_with, one_connection};
use crate::common::{refuses, serves};

#[tokio::test]
async fn large_tokens_pass_both_ways() {
    for size in [9_000, 45_000] {
        let password = "p".repeat(size);
        let origin =
            Origin::builder().user("alice", &password).user("bob", &password_of("bob")).start().await;
        let nginx = Nginx::builder()
            .conf(
                "large_client_header_buffers 4 64k; proxy_buffer_size 64k; proxy_buffers 4 64k; \
                 proxy_busy_buffers_size 128k;",
            )
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let mut alice = Client::connect(&nginx).await;
        let ticket = format!("Negotiate {}", kerberos_token("alice", &password));
        assert!(ticket.len() > size * 4 / 3);
        let first = alice.get_with("/", "Authorization", &ticket).await;
        serves(&first, "alice", first.connection());
        serves(&alice.get("/").await, "alice", first.connection());

        // The origin's round has its own token and that of the request.
        let mut bob = Client::connect(&nginx).await;
        let round = format!("Negotiate {}", to_base64(format!("ROUND:{password}").as_bytes()));
        let challenge = bob.get_with("/?legs=4", "Authorization", &round).await;
        refuses(&challenge);
        assert!(challenge.get("WWW-Authenticate").is_some_and(|token| token.len() > round.len()));
        let legs = bob.login("bob", "/?legs=4").await;
        assert_eq!(one_connection(&legs), challenge.connection());
        serves(&alice.get("/").await, "alice", first.connection());
    }
}

#[tokio::test]
async fn garbage_is_refused_on_its_own_connection() {
    let (origin, nginx) = front_with("large_client_header_buffers 4 128k;").await;
    let truncated = |message: &[u8]| format!("NTLM {}", to_base64(message));
    let last_of_nothing = [b"NTLMSSP\0\x03\0\0\0".as_slice(), &[0xff; 52]].concat();
    let garbage = [
        "NTLM".to_owned(),
        "NTLM ".to_owned(),
        "Negotiate \t ".to_owned(),
        "NTLM !!!not base64!!!".to_owned(),
        "NTLM TlRMTVNTUAAB=".to_owned(),
        "NTLM TlRM, NTLM TlRM".to_owned(),
        format!("NTLM {}", "=".repeat(1000)),
        truncated(b"N"),
        truncated(b"NTLMSSP"),
        truncated(b"NTLMSSP\0"),
        truncated(b"NTLMSSP\0\x01"),
        truncated(b"NTLMSSP\0\x03\0\0\0"),
        truncated(b"NTLMSSP\0\xff\xff\xff\xff"),
        truncated(&last_of_nothing),
        format!("Negotiate {}", to_base64(&[0x60, 0x84, 0xff, 0xff, 0xff, 0xff, 0x06])),
        format!("Negotiate {}", to_base64(&[0xa1; 300])),
        format!("Kerberos {}", "A".repeat(65_536)),
        format!("Nego2 {}", "\u{fffd}".repeat(20_000)),
    ];
    for value in garbage {
        let (mut mallory, mut bob) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
        let refused = mallory.get_with("/", "Authorization", &value).await;
        refuses(&refused);
        let tainted = refused.connection();
        for path in ["/", "/public/"] {
            assert_ne!(bob.get(path).await.connection(), tainted, "{value:.40}");
        }
        assert_eq!(mallory.get("/public/").await.connection(), tainted, "{value:.40}");
        assert_eq!(one_connection(&mallory.login("mallory", "/").await), tainted);
        mallory.close().await;
        origin.wait_closed(tainted).await;
    }
}

#[tokio::test]
async fn login_follows_schemes_that_bind_nothing() {
    let origin = Origin::start().await;
    // Explicit, since not every version of nginx has a pool of its own.
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm; keepalive 4;").as_written().start().await;
    let others =
        ["Basic YWxpY2U6cGFzc3dvcmQ=", "Bearer \"\"", "Bearer", "NTLMx TlRMTVNTUAAB", "Negotiated YQ==", ""];
    for value in others {
        let mut alice = Client::connect(&nginx).await;
        let refused = alice.get_with("/", "Authorization", value).await;
        refuses(&refused);
        // The connection that carried them goes back to the pool.
        let shared = Client::connect(&nginx).await.get("/public/").await;
        assert_eq!(shared.connection(), refused.connection(), "{value:?}");
        let bound = one_connection(&alice.login("alice", "/").await);
        // Other credentials beside a binding go over it, and the origin says what they are worth.
        serves(&alice.get_with("/", "Authorization", value).await, "alice", bound);
        alice.close().await;
        origin.wait_closed(bound).await;
    }
}

// curl.
