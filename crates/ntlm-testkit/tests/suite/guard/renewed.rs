//! Groups that another module (`renewed.c`) initialises again while requests are served.

use std::path::{Path, PathBuf};
use std::process::Command;

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

/// The module, compiled for the nginx of the tests; `None` where that has no sources beside it.
fn compiled(folder: &Path) -> Option<PathBuf> {
    let sources = Nginx::binary().sources()?;
    let (source, module) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/guard/renewed.c"),
        folder.join("renewed.so"),
    );
    let mut cc = Command::new(crate::common::c_compiler());
    cc.args(["-shared", "-fPIC", "-o"]).args([&module, &source]).arg("-I").arg(sources.join("objs"));
    for headers in [
        "core",
        "event",
        "event/modules",
        "event/quic",
        "os/unix",
        "http",
        "http/modules",
        "http/v2",
        "http/v3",
    ] {
        cc.arg("-I").arg(sources.join("src").join(headers));
    }
    let compiled = cc.status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc does not compile {}", source.display());
    Some(module)
}

/// An nginx whose group has these lines, and whose `/change` does that to all groups.
async fn front(origin: &Origin, group: &str, change: &str) -> Option<(Nginx, tempfile::TempDir)> {
    let folder = tempfile::Builder::new().prefix("ntlm-renewed-").tempdir().expect("a temporary folder");
    let module = compiled(folder.path())?;
    let nginx = Nginx::builder()
        .as_written()
        .set("origin", &origin.address())
        .main(&format!("load_module {};", module.display()))
        .conf(&format!(
            "proxy_http_version 1.1; proxy_set_header Connection ''; \
             upstream backend {{ server {{{{origin}}}}; {group} }} \
             server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; }} \
             location /put {{ proxy_set_header Connection ''; proxy_set_header Authorization $http_x_auth; proxy_pass http://backend; }} \
             location /ends {{ proxy_set_header Connection ''; proxy_set_header X-Original $uri; proxy_pass http://backend; }} \
             location = /change {{ {change}; }} }}"
        ))
        .start()
        .await;
    Some((nginx, folder))
}

/// Logs alice in with a ticket, to which the origin answers without a token. Then another client asks for the page without credentials; returns
/// whom the origin takes that client for.
async fn stranger_behind_alice(nginx: &Nginx) -> String {
    let mut alice = Client::connect(nginx).await;
    assert_eq!(alice.login_in_one_leg("alice", "/?nomutual").await.identity(), "alice");
    Client::connect(nginx).await.get("/").await.identity().to_owned()
}

#[tokio::test]
async fn stranger_is_nobody_after_a_group_was_initialised_again() {
    for (group, binds) in
        [("ntlm; keepalive 8;", true), ("keepalive 8;", false), ("ip_hash; ntlm; keepalive 8;", true)]
    {
        let origin = Origin::start().await;
        let Some((nginx, _folder)) = front(&origin, group, "renew_groups").await else { return };
        for times in 0..3 {
            assert_eq!(stranger_behind_alice(&nginx).await, "anonymous", "{group} {times}");
            if binds {
                Client::connect(&nginx).await.login("alice", "/").await;
            }
            assert_eq!(Client::connect(&nginx).await.get("/change").await.status, 204);
        }
    }
}

#[tokio::test]
async fn stranger_is_nobody_in_a_group_that_was_made_again() {
    let ticket = || kerberos_token("alice", &password_of("alice"));
    for group in ["ntlm; keepalive 8;", "keepalive 8;"] {
        let origin = Origin::start().await;
        let Some((nginx, _folder)) = front(&origin, group, "replace_groups").await else { return };
        assert_eq!(Client::connect(&nginx).await.get("/change").await.status, 204);
        assert_eq!(stranger_behind_alice(&nginx).await, "anonymous", "{group}");
        let ends = format!("/ends%0d%0aAuthorization:%20Negotiate%20{}%0d%0aX-A:%20?nomutual", ticket());
        for request in [
            Request::get("/put?nomutual").header("X-Auth", &format!("Negotiate {}", ticket())),
            Request::get("/?nomutual&proxy")
                .header("Proxy-Authorization", &format!("Negotiate {}", ticket())),
            Request::get(&ends),
        ] {
            let target = request.target.clone();
            let mut alice = Client::connect(&nginx).await;
            assert_eq!(alice.request(request).await.identity(), "alice", "{group} {target}");
            let stranger = Client::connect(&nginx).await.get("/").await;
            assert_eq!(stranger.identity(), "anonymous", "{group} {target}");
        }
    }
}
