//! Requests that njs makes (`r.subrequest()`): it waits for their answers, so they log in and use logins as any other.

use std::path::PathBuf;

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use crate::common::login_of;

/// Answers each request of the client with the answer to a subrequest.
const SCRIPT: &str = "
async function ask(r) {
    const answer = await r.subrequest('/sub' + r.uri, { method: r.method, args: r.variables.args });
    for (const name in answer.headersOut) {
        if (/^(x-|www-)/i.test(name)) { r.headersOut[name] = answer.headersOut[name]; }
    }
    r.return(answer.status, answer.responseText);
}
export default { ask };
";

/// njs as the package of this nginx has it; `None` where it came without.
pub(crate) fn njs() -> Option<PathBuf> {
    let nginx = PathBuf::from(std::env::var_os("NTLM_NGINX")?);
    let module = nginx.parent()?.join("root/usr/lib/nginx/modules/ngx_http_js_module.so");
    module.exists().then_some(module)
}

/// An nginx whose every request is a script's, which asks the group `backend`.
async fn scripted(origin: &Origin) -> Option<Nginx> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("ask.js");
    std::fs::write(&script, SCRIPT).expect("room for a script");
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .set("script", &script.display().to_string())
        .set("njs", &njs()?.display().to_string())
        .main("load_module {{njs}};")
        .conf(
            "js_import main from {{script}}; upstream backend { server {{origin}}; ntlm; keepalive 8; } \
             server { listen 127.0.0.1:{{port}}; location / { js_content main.ask; } \
             location /sub/ { internal; proxy_pass http://backend/; } \
             location /plain/ { proxy_pass http://backend/; } }",
        )
        .start()
        .await;
    Some(nginx)
}

#[tokio::test]
async fn subrequest_of_njs_logs_in() {
    let origin = Origin::start().await;
    let Some(nginx) = scripted(&origin).await else { return };
    let mut alice = Client::connect(&nginx).await;
    let mut login = login_of("alice");
    let challenge = alice.get_with("/", "Authorization", &login.first()).await;
    assert_eq!(challenge.status, 401, "{challenge:?}");
    let answer = login.next(&challenge).expect("a challenge");
    let response = alice.get_with("/", "Authorization", &answer).await;
    assert_eq!((response.status, response.identity()), (200, "alice"), "{response:?}");
    let bound = response.connection();
    for path in ["/", "/plain/", "/again"] {
        let response = alice.get(path).await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound), "{path}");
    }
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
    alice.close().await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn subrequest_of_njs_uses_a_login() {
    let origin = Origin::start().await;
    let Some(nginx) = scripted(&origin).await else { return };
    let mut alice = Client::connect(&nginx).await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    let bound = alice.request(Request::get("/plain/").header("Authorization", &ticket)).await.connection();
    for _ in 0..3 {
        let response = alice.get("/").await;
        assert_eq!((response.status, response.identity()), (200, "alice"), "{response:?}");
        assert_eq!(response.connection(), bound);
    }
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
}
