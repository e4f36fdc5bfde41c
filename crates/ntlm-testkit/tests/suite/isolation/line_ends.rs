//! Values with line ends in them, by which a client puts fields of its own into a request: credentials that nginx never parses as such.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

/// A group, with `ntlm` or guarded, and with a pool below.
const GROUPS: [&str; 2] = ["ntlm; keepalive 8;", "keepalive 8;"];

/// An nginx with these lines in its `server`, whose group `backend` has these lines.
async fn front(origin: &Origin, group: &str, lines: &str) -> Nginx {
    Nginx::builder()
        .set("origin", &origin.address())
        .conf(&format!(
            "proxy_http_version 1.1; proxy_set_header Connection ''; merge_slashes off; \
             log_format names '$request_uri $ntlm_user $ntlm_mechanism'; \
             map $uri $mapped {{ default $uri; }} upstream backend {{ server {{{{origin}}}}; {group} }} \
             server {{ listen 127.0.0.1:{{{{port}}}}; {lines} location = /stranger {{ proxy_pass http://backend/; }} }}"
        ))
        .start()
        .await
}

fn ticket() -> String {
    kerberos_token("mallory", &password_of("mallory"))
}

/// Asserts that `request` brings mallory's credentials to the origin, and that nobody else is served by them.
async fn reach_no_stranger(nginx: &Nginx, request: Request, what: &str) {
    let mut mallory = Client::connect(nginx).await;
    assert_eq!(mallory.request(request).await.identity(), "mallory", "{what}");
    for _ in 0..2 {
        let response = Client::connect(nginx).await.get("/stranger").await;
        assert_eq!((response.status, response.identity()), (401, "anonymous"), "{what}");
    }
}

#[tokio::test]
async fn in_fields_of_a_location_they_reach_no_stranger() {
    for group in GROUPS {
        let origin = Origin::start().await;
        for value in [
            "$uri",
            "before-$uri-behind",
            "${uri}",
            "$set",
            "$mapped",
            "$captured",
            "$http_set",
            "$proxy_host",
        ] {
            // nginx lets a configuration set this variable of its own.
            let set = if value == "$proxy_host" { "set $proxy_host $uri;" } else { "" };
            let lines = format!(
                "proxy_set_header Connection ''; proxy_set_header X-Original {value}; \
                 location ~ (?s)^(?<captured>/.*)$ {{ set $set $uri; set $http_set $uri; {set} proxy_pass http://backend; }}"
            );
            let nginx = front(&origin, group, &lines).await;
            for end in ["%0d%0a", "%0D%0A", "%0a", "%0A"] {
                let target = format!("/x{end}Authorization:%20Negotiate%20{}{end}X-A:%20?nomutual", ticket());
                reach_no_stranger(&nginx, Request::get(&target), &format!("{group} {value} {end}")).await;
            }
        }
    }
}

#[tokio::test]
async fn out_of_a_body_they_reach_no_stranger() {
    for group in GROUPS {
        let origin = Origin::start().await;
        let field = format!("\r\nAuthorization: Negotiate {}\r\nX-A: ", ticket());
        for (location, body) in [
            (
                "proxy_set_header Connection ''; proxy_set_header X-Body $request_body; \
                 proxy_pass http://backend/?nomutual;",
                format!("a{field}"),
            ),
            (
                // With a mirror nginx has read the body before it looks for the server.
                "mirror /mirror; proxy_pass http://backend/?nomutual&body=$request_body;",
                format!(" HTTP/1.1\r\nHost: x{field}"),
            ),
            (
                "proxy_method $request_body; proxy_pass http://backend;",
                format!("GET /?nomutual HTTP/1.1\r\nHost: x{field}"),
            ),
        ] {
            let nginx = front(
                &origin,
                group,
                &format!("location / {{ {location} }} location /mirror {{ return 204; }}"),
            )
            .await;
            reach_no_stranger(&nginx, Request::post("/", body), &format!("{group} {location}")).await;
        }
    }
}

#[tokio::test]
async fn in_the_request_target_they_reach_no_stranger() {
    for group in GROUPS {
        let origin = Origin::start().await;
        for location in [
            "location / { proxy_pass http://backend$uri; }",
            "location / { set $target $uri; proxy_pass http://backend$target; }",
            "location ~ (?s)^/(.*)$ { proxy_pass http://backend/$1; }",
            "location / { rewrite ^ /new?nomutual&from=$uri last; } location /new { proxy_pass http://backend; }",
            "location / { rewrite ^ /new?nomutual&from=$uri break; proxy_pass http://backend; }",
            "location / { set $args nomutual&from=$uri; proxy_pass http://backend; }",
            "location / { error_page 403 = /new?nomutual&from=$uri; return 403; } \
             location /new { proxy_pass http://backend; }",
        ] {
            let nginx = front(&origin, group, location).await;
            for end in ["%0d%0a", "%0D%0A"] {
                let target = format!(
                    "/x%3Fnomutual%20HTTP/1.1{end}Host:%20x{end}Authorization:%20Negotiate%20{}{end}X-A:%20",
                    ticket()
                );
                reach_no_stranger(&nginx, Request::get(&target), &format!("{group} {location} {end}")).await;
            }
        }
    }
}

#[tokio::test]
async fn in_the_method_they_reach_no_stranger() {
    for group in GROUPS {
        let origin = Origin::start().await;
        let lines = "location ~ (?s)^/(.*)$ { proxy_method $1; proxy_pass http://backend; }";
        let nginx = front(&origin, group, lines).await;
        let target = format!(
            "/GET%20/%3Fnomutual%20HTTP/1.1%0d%0aHost:%20x%0d%0aAuthorization:%20Negotiate%20{}%0d%0aX-A:%20",
            ticket()
        );
        reach_no_stranger(&nginx, Request::get(&target), group).await;
    }
}

/// Fields that make the body a request of its own: what is behind it is not read.
#[tokio::test]
async fn in_a_request_behind_it_they_reach_no_stranger() {
    for group in GROUPS {
        let origin = Origin::start().await;
        let lines = "location / { proxy_set_header Connection ''; proxy_set_header X-Original $uri; proxy_pass http://backend; }";
        let nginx = front(&origin, group, lines).await;
        let second = format!(
            "GET /?delay=1000&nomutual HTTP/1.1\r\nHost: x\r\nAuthorization: Negotiate {}\r\n\r\n",
            ticket()
        );
        let target = "/public/%0d%0aTransfer-Encoding:%20chunked%0d%0aX-A:%20";
        let mut mallory = Client::connect(&nginx).await;
        let first = mallory.request(Request::post(target, format!("0\r\n\r\n{second}"))).await;
        let stranger = Client::connect(&nginx).await.get("/stranger").await;
        assert_eq!((stranger.status, stranger.identity()), (401, "anonymous"), "{group}");
        assert_ne!(stranger.connection(), first.connection(), "{group}");
    }
}

/// Such locations are looked at more closely, and their requests are served as ever.
#[tokio::test]
async fn bindings_and_pools_go_on_where_values_may_have_line_ends() {
    let origin = Origin::start().await;
    for group in GROUPS {
        let lines = "proxy_set_header Connection ''; proxy_set_header X-Original $mapped; location / { proxy_pass http://backend$uri$is_args$args; }";
        let nginx = front(&origin, group, lines).await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = Client::connect(&nginx).await;
            clients.push(client.get("/public/?a=b").await.connection());
        }
        assert_eq!(clients[0], clients[1], "{group}");
    }
    let nginx =
        front(&origin, "ntlm;", "location / { proxy_set_header Connection ''; proxy_set_header X-O $mapped; proxy_pass http://backend; }")
            .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    for _ in 0..3 {
        super::assert_bound(&mut alice, "/a%20b?c=d", "alice", bound).await;
    }
}

#[tokio::test]
async fn beside_names_of_users_they_are_evaluated_once() {
    for group in GROUPS {
        let origin = Origin::start().await;
        let names = "proxy_set_header X-User $ntlm_user; proxy_set_header X-Domain $ntlm_domain; \
             proxy_set_header X-Refused $ntlm_refused_user; proxy_set_header X-Binding $ntlm_binding;";
        let lines = format!(
            "access_log {{{{prefix}}}}/names.log names; proxy_set_header Connection ''; proxy_set_header X-Path $uri; {names} \
             location / {{ proxy_pass http://backend; }}"
        );
        let nginx = front(&origin, group, &lines).await;
        // The second one finds the worker when it has logged the first.
        for target in ["/public/a%0aX-B:%20c", "/public/"] {
            assert_eq!(Client::connect(&nginx).await.get(target).await.status, 200, "{group} {target}");
        }
    }
}
