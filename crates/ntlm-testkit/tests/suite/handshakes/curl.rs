//! curl logs in by NTLM and Negotiate.

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Nginx, Origin};

use super::one_connection;

#[tokio::test]
async fn curl_logs_in_over_clear_text_and_tls() {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..1_000_000u32).map(|number| (number / 3) as u8).collect();
    let file = folder.path().join("upload");
    std::fs::write(&file, &body).unwrap();
    // An anonymous request first, then what the origin offers.
    let anyauth = || Curl::negotiate("alice").arg("--anyauth");
    for origin in [Origin::start().await, Origin::builder().tls().start().await] {
        let nginx =
            Nginx::builder().conf("client_max_body_size 0;").in_front_of(&[&origin], "ntlm;").start().await;
        for curl in [Curl::ntlm("alice"), Curl::negotiate("alice"), anyauth()] {
            let gets =
                curl.clone().url(nginx.url("/a")).url(nginx.url("/b")).url(nginx.url("/c")).run().await;
            assert_eq!((gets.exit, &gets.statuses[..]), (0, &[200, 200, 200][..]), "{gets:?}");
            assert_eq!(gets.connects, [1, 0, 0], "{gets:?}");
            let served: Vec<_> = gets.responses.iter().filter(|response| response.status == 200).collect();
            assert!(served.iter().all(|response| response.identity() == "alice"), "{gets:?}");
            one_connection(served);

            origin.clear_ledger();
            let put = curl.arg("-T").arg(file.to_str().unwrap()).url(nginx.url("/upload")).run().await;
            assert_eq!((put.exit, &put.statuses[..]), (0, &[200][..]), "{put:?}");
            assert_eq!(put.last().identity(), "alice");
            assert_eq!(put.last().get("X-Body-Hash"), Some(body_hash(&body).as_str()));
            assert_eq!(origin.ledger().iter().filter(|entry| entry.status == 200).count(), 1);
        }
    }
}

#[tokio::test]
async fn parallel_curls_are_each_served_as_themselves() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().workers(2).in_front_of(&[&origin], "ntlm;").start().await;
    let curl = |user: &'static str| {
        let urls = (0..25).map(|number| nginx.url(&format!("/{user}/{number}")));
        let curl = urls.fold(Curl::ntlm(user), Curl::url);
        async move {
            let outcome = curl.run().await;
            assert_eq!(outcome.statuses, [200; 25], "{outcome:?}");
            assert_eq!(outcome.legs()[0], 401);
            for response in &outcome.responses[1..] {
                assert_eq!((response.status, response.identity()), (200, user), "{response:?}");
            }
        }
    };
    tokio::join!(curl("alice"), curl("bob"), curl("carol"), curl("dave"));
    for entry in origin.ledger().iter().filter(|entry| entry.status == 200) {
        let user = entry.identity.as_deref().unwrap();
        assert!(entry.target.starts_with(&format!("/{user}/")), "{entry}");
    }
}
