//! Requests over streams that wait for their turn, because they would be refused beside the binding and cannot be turned back.

use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Nginx, Origin, Request, Response, together};

use super::turned_back::{PASS, front};
use super::{Any, Over, everything, logged_in, streams};
use crate::common::{login_of, refuses, serves};

/// Awaits so many requests that wait, or have waited.
async fn waiting(nginx: &Nginx, count: usize) {
    nginx.wait_log(|log| log.matches("ntlm: waiting for the requests before it").count() >= count).await;
}

/// A request whose body is of a length that the client says, or does not say.
fn upload(target: &str, size: usize, sized: bool) -> (Request, String) {
    let body: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
    let hash = body_hash(&body);
    let chunked = |body| Request::new("POST", target).chunked(body, 1000);
    (if sized { Request::post(target, body) } else { chunked(body) }, hash)
}

/// The requests with this target that the origin has executed.
fn executed(origin: &Origin, target: &str) -> usize {
    origin.ledger().iter().filter(|entry| entry.target == target && entry.status == 200).count()
}

/// The answer to a POST of alice, who waits for the end of another request over her binding.
async fn posted_beside(alice: &Any, bound: u64, origin: &Origin, nginx: &Nginx, target: &str) -> Response {
    let (slow, posted, ()) = tokio::join!(
        alice.get("/?gate=slow"),
        async {
            origin.wait_gate("slow").await;
            alice.request(upload(target, 1000, true).0).await
        },
        async {
            waiting(nginx, 1).await;
            origin.open_gate("slow");
        }
    );
    serves(&slow, "alice", bound);
    posted
}

#[tokio::test]
async fn bodies_take_turns_over_busy_binding() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = everything(&origin).start().await;
        let alice = Any::connect(over, &nginx).await;
        let bound = alice.login("alice").await;
        // A request waits 5 s for each before it, which is not much where every access to memory is watched.
        let much = if Nginx::binary().is_watched() { 200_000 } else { 900_000 };
        let uploads = [(1, true), (1, false), (100_000, true), (much, false), (much, true)];
        let uploads: Vec<_> = uploads.into_iter().enumerate().collect();
        let all = async {
            origin.wait_gate("slow").await;
            together(uploads.iter().map(|&(number, (size, sized))| {
                let alice = &alice;
                async move {
                    let (request, hash) = upload(&format!("/{number}"), size, sized);
                    (alice.request(request).await, hash)
                }
            }))
            .await
        };
        let (slow, uploaded, ()) = tokio::join!(alice.get("/?gate=slow"), all, async {
            waiting(&nginx, uploads.len()).await;
            assert!(uploads.iter().all(|(number, _)| executed(&origin, &format!("/{number}")) == 0));
            origin.open_gate("slow");
        });
        serves(&slow, "alice", bound);
        for (number, (response, hash)) in uploaded.iter().enumerate() {
            serves(response, "alice", bound);
            assert_eq!(response.get("X-Body-Hash"), Some(hash.as_str()));
            assert_eq!(executed(&origin, &format!("/{number}")), 1);
        }
        assert_eq!(origin.connection_ids_open(), [bound]);
    }
}

#[tokio::test]
async fn bodies_beside_first_login_wait_for_its_end() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = everything(&origin).start().await;
        let client = Any::connect(over, &nginx).await;
        let mut alice = login_of("alice");
        let leg = |target: &str, value: String| {
            Request::post(target, vec![b'x'; 50_000]).header("Authorization", &value)
        };
        let login = async {
            let challenge = client.request(leg("/?gate=first", alice.first())).await;
            let last = client.request(leg("/?gate=last", alice.next(&challenge).unwrap())).await;
            serves(&last, "alice", challenge.connection());
            challenge.connection()
        };
        let beside = async {
            origin.wait_gate("first").await;
            together((0..3).map(|number| client.request(upload(&format!("/{number}"), 50_000, true).0))).await
        };
        let (bound, beside, ()) = tokio::join!(login, beside, async {
            waiting(&nginx, 3).await;
            origin.open_gate("first");
            origin.wait_gate("last").await;
            assert!((0..3).all(|number| executed(&origin, &format!("/{number}")) == 0));
            origin.open_gate("last");
        });
        for response in beside {
            serves(&response, "alice", bound);
        }
    }
}

#[tokio::test]
async fn bodies_take_turns_where_proxy_ntlm_binds() {
    let origin = Origin::start().await;
    let pass = "location / { proxy_ntlm on; proxy_pass http://{{origin}}; }";
    let nginx = front(&origin, "ntlm;", pass).as_written().start().await;
    let alice = Any::connect(Over::Tls, &nginx).await;
    let bound = alice.login("alice").await;
    let posted = posted_beside(&alice, bound, &origin, &nginx, "/").await;
    serves(&posted, "alice", bound);
}

#[tokio::test]
async fn request_that_is_given_up_lets_others_go_on() {
    // NGINX does not see that a request over HTTP/3 is given up.
    for over in [Over::Clear, Over::Tls] {
        let (origin, nginx, alice, bound) = logged_in(over).await;
        let post = |target| alice.request(upload(target, 1000, true).0);
        let both = async {
            origin.wait_gate("slow").await;
            let given_up = async {
                tokio::select! {
                    response = post("/given-up") => panic!("{response:?}"),
                    () = waiting(&nginx, 1) => {}
                }
            };
            given_up.await;
            let ((), kept) = tokio::join!(
                async {
                    waiting(&nginx, 2).await;
                    origin.open_gate("slow");
                },
                post("/kept")
            );
            kept
        };
        let (slow, kept) = tokio::join!(alice.get("/?gate=slow"), both);
        serves(&slow, "alice", bound);
        serves(&kept, "alice", bound);
        assert_eq!(executed(&origin, "/given-up"), 0);
    }
}

#[tokio::test]
async fn client_that_leaves_takes_its_waiting_requests_along() {
    for over in streams() {
        let (origin, nginx, alice, bound) = logged_in(over).await;
        let requests = async {
            tokio::join!(
                alice.get("/?gate=slow"),
                together((0..3).map(|_| async {
                    origin.wait_gate("slow").await;
                    alice.request(upload("/never", 1000, true).0).await
                }))
            )
        };
        tokio::select! {
            _ = requests => panic!("they wait"),
            () = waiting(&nginx, 3) => {}
        }
        alice.abort();
        origin.wait_closed(bound).await;
        let next = Any::connect(over, &nginx).await;
        let bound = next.login("bob").await;
        serves(&next.request(upload("/", 1000, true).0).await, "bob", bound);
        assert_eq!(executed(&origin, "/never"), 0);
    }
}

#[tokio::test]
async fn wait_is_bounded() {
    for over in streams() {
        let (origin, nginx, alice, bound) = logged_in(over).await;
        let (slow, ()) = tokio::join!(alice.get("/?gate=slow"), async {
            origin.wait_gate("slow").await;
            let (protected, public) = tokio::join!(
                alice.request(upload("/", 1000, true).0),
                alice.request(upload("/public/", 1000, true).0)
            );
            refuses(&protected);
            assert_eq!((public.status, public.identity()), (200, "anonymous"));
            nginx.wait_log(|log| log.contains("set \"http2 off\", and no \"quic\"")).await;
            origin.open_gate("slow");
        });
        serves(&slow, "alice", bound);
        serves(&alice.request(upload("/", 1000, true).0).await, "alice", bound);
    }
}

#[tokio::test]
async fn requests_that_need_no_binding_do_not_wait() {
    for over in streams() {
        let origin = Origin::start().await;
        let lines = "location /other/ { proxy_pass http://other; } location /said/ { return 200 said; } \
         location /if/ { if ($arg_x) { set $y 1; } proxy_pass http://backend/public/; }";
        let nginx =
            front(&origin, "ntlm; } upstream other { server {{origin}}; ntlm;", &format!("{PASS} {lines}"))
                .start()
                .await;
        let alice = Any::connect(over, &nginx).await;
        let bound = alice.login("alice").await;
        let (slow, ()) = tokio::join!(alice.get("/?gate=slow"), async {
            origin.wait_gate("slow").await;
            let post = |target, value: &str| Request::post(target, "body").header("Authorization", value);
            let basic = alice.request(post("/public/", "Basic YWxpY2U6")).await;
            assert_eq!(basic.status, 200);
            refuses(&alice.request(Request::post("/other/", "body")).await);
            assert_eq!(alice.request(Request::post("/said/", "body")).await.status, 200);
            origin.open_gate("slow");
        });
        serves(&slow, "alice", bound);
        assert_eq!(alice.request(Request::post("/if/?x=1", "body")).await.status, 200);
        assert!(!nginx.error_log().contains("waiting for the requests before it"));
    }
}

#[tokio::test]
async fn redirected_request_does_not_wait_for_itself() {
    let origin = Origin::start().await;
    let lines = "location / { proxy_pass http://backend; proxy_intercept_errors on; error_page 404 = @again; } \
         location @again { proxy_pass http://backend; }";
    let nginx = front(&origin, "ntlm;", lines).start().await;
    let alice = Any::connect(Over::Tls, &nginx).await;
    let bound = alice.login("alice").await;
    let posted = posted_beside(&alice, bound, &origin, &nginx, "/?status=404").await;
    // Some versions do not read the rest of an answer that is replaced, so that its connection is lost.
    assert!(matches!(posted.status, 401 | 404));
    assert_eq!(nginx.error_log().matches("waiting for the requests before it").count(), 1);
}

#[tokio::test]
async fn leg_does_not_wait_for_its_own_login() {
    let origin = Origin::start().await;
    let lines = "location / { proxy_set_header Authorization $http_x_auth; proxy_pass http://backend; } \
         location /proxied/ { proxy_pass http://backend; }";
    for (target, field) in [("/", "X-Auth"), ("/proxied/?proxy", "Proxy-Authorization")] {
        let nginx = front(&origin, "ntlm;", lines).start().await;
        let client = Any::connect(Over::Tls, &nginx).await;
        let mut alice = login_of("alice");
        let leg = |value: String| Request::post(target, "body").header(field, &value);
        let mut challenge = client.request(leg(alice.first())).await;
        for (name, _) in &mut challenge.headers {
            *name = name.replace("proxy-authenticate", "www-authenticate");
        }
        challenge.status = 401;
        let last = client.request(leg(alice.next(&challenge).unwrap())).await;
        serves(&last, "alice", challenge.connection());
        assert!(!nginx.error_log().contains("waiting for the requests before it"), "{field}");
    }
}

#[tokio::test]
async fn login_begun_again_goes_before_waiting_bodies() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = front(&origin, "ntlm;", PASS).start().await;
        let client = Any::connect(over, &nginx).await;
        let post = || Request::post("/", "body");
        let leg = |value: &str| post().header("Authorization", value);
        refuses(&client.request(leg(&login_of("alice").first())).await);
        let bodies = together((0..4).map(|_| client.request(post())));
        let log_in = async {
            waiting(&nginx, 4).await;
            // As libsoup does whose first attempt was without a password.
            let mut login = login_of("alice");
            let challenge = client.request(leg(&login.first())).await;
            client.request(leg(&login.next(&challenge).unwrap())).await
        };
        let (bodies, last) = tokio::join!(bodies, log_in);
        for body in &bodies {
            serves(body, "alice", last.connection());
        }
        assert!(!nginx.error_log().contains("requests were turned back or refused"));
    }
}

#[tokio::test]
async fn another_login_waits_behind_bodies() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = front(&origin, "ntlm;", PASS).start().await;
        let client = Any::connect(over, &nginx).await;
        let leg = |target, value: &str| Request::post(target, "body").header("Authorization", value);
        let mut login = login_of("alice");
        let challenge = client.request(leg("/one", &login.first())).await;
        let answer = login.next(&challenge).unwrap();
        let (body, other, last) = tokio::join!(
            client.request(Request::post("/", "body")),
            async {
                waiting(&nginx, 1).await;
                client.request(leg("/another", &login_of("bob").first())).await
            },
            async {
                waiting(&nginx, 2).await;
                client.request(leg("/one", &answer)).await
            }
        );
        serves(&last, "alice", challenge.connection());
        serves(&body, "alice", challenge.connection());
        refuses(&other);
    }
}

#[tokio::test]
async fn users_of_one_connection_do_not_wait_for_each_other() {
    for (group, field, [alices, bobs, carols]) in [
        ("ntlm;", "X-Forwarded-For", ["198.51.100.1", "198.51.100.2", "198.51.100.3"]),
        ("ntlm; ntlm_key $http_x_user;", "X-User", ["a", "b", "c"]),
    ] {
        let origin = Origin::start().await;
        let nginx = front(&origin, group, PASS).start().await;
        let shared = Any::connect(Over::Tls, &nginx).await;
        let get = |target, user: &str| Request::get(target).header(field, user);
        let mut login = login_of("alice");
        let leg = |value: String| get("/", alices).header("Authorization", &value);
        let challenge = shared.request(leg(login.first())).await;
        shared.request(leg(login.next(&challenge).unwrap())).await;
        let forged = get("/public/?gate=forged", bobs).header("Authorization", "NTLM x");
        let (_, _, ()) =
            tokio::join!(shared.request(get("/?gate=slow", alices)), shared.request(forged), async {
                origin.wait_gate("slow").await;
                origin.wait_gate("forged").await;
                let post = Request::post("/public/", "body").header(field, carols);
                assert_eq!(shared.request(post).await.identity(), "anonymous");
                assert!(!nginx.error_log().contains("waiting for the requests before it"), "{group}");
                origin.open_gate("slow");
                origin.open_gate("forged");
            });
    }
}

#[tokio::test]
async fn unbuffered_bodies_do_not_wait() {
    let origin = Origin::start().await;
    let lines =
        "client_max_body_size 0; location / { proxy_request_buffering off; proxy_pass http://backend; }";
    let nginx = front(&origin, "ntlm;", lines).start().await;
    let alice = Any::connect(Over::Tls, &nginx).await;
    alice.login("alice").await;
    tokio::join!(alice.get("/?gate=slow"), async {
        origin.wait_gate("slow").await;
        let posted = alice.request(upload("/public/", 900_000, true).0).await;
        assert_eq!(posted.identity(), "anonymous");
        origin.open_gate("slow");
    });
    assert!(!nginx.error_log().contains("waiting for the requests before it"));
}

/// nginx then runs the content handler of the first block with the settings of the second.
#[tokio::test]
async fn two_blocks_of_if_at_once_are_served() {
    let origin = Origin::start().await;
    let lines = "location / { proxy_pass http://plain; if ($arg_a) { proxy_pass http://backend; } if ($arg_b) { set $y 1; } }";
    let nginx =
        front(&origin, "ntlm; } upstream plain { server {{origin}};", lines).as_written().start().await;
    for over in [Over::One, Over::Tls] {
        let client = Any::connect(over, &nginx).await;
        for query in ["a=1", "b=1", "a=1&b=1"] {
            assert_eq!(client.get(&format!("/public/?{query}")).await.identity(), "anonymous", "{query}");
        }
    }
}
