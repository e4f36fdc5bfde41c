//! Answers that NGINX asks another server after (`proxy_next_upstream http_403 http_404`): they are no end of anything.

use ntlm_testkit::{Client, Nginx, Origin};

/// Two servers with all that is needed to ask the second after the first's 403 or 404.
async fn front(origins: &[&Origin]) -> Nginx {
    Nginx::builder()
        .conf("proxy_next_upstream error timeout http_403 http_404;")
        .in_front_of(origins, "ntlm; keepalive 8;")
        .start()
        .await
}

#[tokio::test]
async fn login_answered_404_twice_keeps_its_client() {
    for target in
        ["/?status=404", "/?status=404&size=0", "/?status=403&nomutual", "/?status=404&size=0&nomutual"]
    {
        let (first, second) = (Origin::start().await, Origin::start().await);
        let nginx = front(&[&first, &second]).await;
        let mut alice = Client::connect(&nginx).await;
        let response = alice.login_in_one_leg("alice", target).await;
        assert!(matches!(response.status, 403 | 404), "{response:?}");
        assert_eq!((first.ledger().len(), second.ledger().len()), (1, 1), "both were asked");
        assert!(!response.says_close(), "{target}");
        let again = alice.get("/").await;
        assert_eq!((again.identity(), again.connection()), ("alice", response.connection()), "{target}");
        // nginx closes the connection to the other server.
        let left = if response.connection() == first.ledger()[0].connection { &second } else { &first };
        left.wait_open_connections(0).await;
        for _ in 0..4 {
            assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401, "{target}");
        }
    }
}
