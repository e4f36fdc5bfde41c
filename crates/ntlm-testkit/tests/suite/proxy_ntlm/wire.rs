//! Requests as the server gets them: without the line not a byte differs from plain nginx, with it two defaults are lifted.

use ntlm_testkit::dns::Dns;
use ntlm_testkit::{Client, Nginx, Request};

use crate::configuration::outgoing::{OK, Recorder, has_new_defaults, http_is_complete};

/// The requests that the server gets for one with credentials, by each form of `proxy_pass`.
async fn sent(line: &str, module: bool) -> Vec<String> {
    let (recorder, dns) = (Recorder::start(http_is_complete, OK).await, Dns::start().await);
    let port = recorder.address.port();
    let mut sent = Vec::new();
    for server in [
        "http://127.0.0.1:PORT",
        "http://$address:PORT",
        "http://$name:PORT",
        "http://$name:PORT$uri",
        "$url",
    ] {
        let server = server.replace("PORT", &port.to_string());
        let builder = Nginx::builder().conf(&format!(
            "resolver {} ipv6=off; {line}
             server {{ listen 127.0.0.1:{{{{port}}}}; set $address 127.0.0.1; set $name app.local.test;
                 set $url http://app.local.test:{port}; proxy_set_header X-To $proxy_host:$proxy_port;
                 location / {{ proxy_pass {server}; }} }}",
            dns.address()
        ));
        let nginx = if module { builder } else { builder.without_module() }.start().await;
        for request in [
            Request::get("/a%20b?c=d"),
            Request::get("/").header("Authorization", "NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA="),
            Request::post("/", "body").header("Authorization", "Basic YTpi"),
        ] {
            assert_eq!(Client::connect(&nginx).await.request(request).await.status, 200);
            sent.push(String::from_utf8(recorder.take()).unwrap().replace(&port.to_string(), "PORT"));
        }
    }
    sent
}

#[tokio::test]
async fn no_byte_changes_without_the_line() {
    let alone = sent("", false).await;
    assert_eq!(sent("", true).await, alone);
    assert_eq!(sent("proxy_ntlm off;", true).await, alone);
}

#[tokio::test]
async fn line_lifts_two_defaults_and_nothing_else() {
    let lifted = |text: &String| {
        if has_new_defaults() {
            return text.clone();
        }
        text.replacen(" HTTP/1.0\r\n", " HTTP/1.1\r\n", 1).replacen("Connection: close\r\n", "", 1)
    };
    let expected: Vec<String> = sent("", false).await.iter().map(lifted).collect();
    assert_eq!(sent("proxy_ntlm on;", true).await, expected);
}
