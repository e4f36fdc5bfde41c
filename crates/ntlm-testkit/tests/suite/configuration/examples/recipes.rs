//! Each file of `docs/recipes/` runs and lets a client log in, and its page shows it to the letter.

use super::{EXCHANGE, Example, in_any_spelling, read, repository};
use ntlm_testkit::{Client, Nginx, Origin, Request};

/// `docs/recipes/….conf`, all of them.
fn all() -> Vec<String> {
    let folder = std::fs::read_dir(repository().join("docs/recipes")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".conf")).collect();
    names.sort();
    assert!(names.len() >= 15, "{names:?}");
    names.into_iter().map(|name| format!("docs/recipes/{name}")).collect()
}

/// Paths of the services, those that every recipe passes on among them: for each group of the recipe a list.
fn paths(file: &str) -> &'static [&'static [&'static str]] {
    match file.trim_start_matches("docs/recipes/").trim_end_matches(".conf") {
        "adfs" => &[&["/adfs/ls/wia", "/adfs/services/trust/2005/windowstransport"]],
        "business-central" => {
            &[&["/BC/", "/BC/csh"], &["/BC/ODataV4/Company", "/BC/api/v2.0"], &["/BC/WS/Services"]]
        }
        "certificate-services" => &[&[
            "/certsrv/",
            "/certsrv/mscep/mscep.dll",
            "/certsrv/mscep_admin/",
            "/CA_CES_Kerberos/service.svc",
        ]],
        "dynamics-365" => {
            &[&["/Org/main.aspx", "/XRMServices/2011/Discovery.svc", "/Org/api/data/v9.1/WhoAmI"]]
        }
        "exchange" => &[EXCHANGE],
        "jira" => &[&["/login.jsp", "/rest/api/2/myself"]],
        "rd-web" => &[&[
            "/RDWeb/Pages/",
            "/RDWeb/Feed/webfeed.aspx",
            "/remoteDesktopGateway/",
            "/rpc/rpcproxy.dll",
            "/RpcWithCert/rpcproxy.dll",
        ]],
        "reporting-services" => {
            &[&["/Reports/", "/ReportServer/ReportService2010.asmx", "/PowerBI/", "/reports/api/v2.0/Me"]]
        }
        "webdav" => &[&["/", "/folder/file.docx"]],
        "windows-admin-center" => &[&["/", "/api/nodes"]],
        "winrm" => &[&["/wsman", "/wsman/subscriptions"]],
        "wsus" => &[&["/ApiRemoting30/WebService.asmx", "/ClientWebService/client.asmx"]],
        "azure-devops"
        | "bunkerweb"
        | "kerberos"
        | "nginx-proxy-manager"
        | "plain-proxy-pass"
        | "sharepoint" => &[&["/", "/a/page"]],
        other => panic!("no paths of {other}"),
    }
}

#[tokio::test]
async fn login_holds_for_all_paths_of_every_recipe() {
    for file in all() {
        let example = Example::start(&file).await;
        let warnings = example.nginx.error_log();
        assert!(!warnings.contains("[warn]"), "{file}\n{warnings}");
        let mut alice = example.client().await;
        for paths in paths(&file) {
            let home = alice.login("alice", paths[0]).await.pop().unwrap();
            for path in in_any_spelling(paths) {
                let response = alice.request(Request::post(&path, vec![b'x'; 900_000])).await;
                assert_eq!((response.status, response.identity()), (200, "alice"), "{file} {path}");
                assert_eq!(response.get("X-Body-Length"), Some("900000"), "{file} {path}");
                assert_eq!(response.connection(), home.connection(), "{file} {path}");
            }
            let mut bob = example.client().await;
            assert_eq!(bob.get(paths[0]).await.status, 401, "{file}");
        }
        let log = example.nginx.error_log();
        let told: Vec<_> =
            log.lines().filter(|line| line.contains("[warn]") && line.contains(" ntlm: ")).collect();
        assert_eq!(told, [""; 0], "{file}");
        example.nginx.stop().await;
    }
}

/// Since then a location that says nothing of its own has the TLS context of the server around it.
const INHERITED: (u32, u32, u32) = (1, 23, 1);

#[tokio::test]
async fn inherited_verification_lets_locations_share_a_server() {
    let origin = Origin::builder().tls().start().await;
    let conf = format!(
        "upstream backend {{ server {}; ntlm; }}
         server {{
             listen 127.0.0.1:{{{{port}}}};
             proxy_ssl_verify on;
             proxy_ssl_name origin.example;
             proxy_ssl_trusted_certificate {{{{ca}}}};
             location /one {{ proxy_pass https://backend; }}
             location /two {{ proxy_pass https://backend; }}
         }}",
        origin.address()
    );
    let nginx = Nginx::builder().conf(&conf).start().await;
    let mut alice = Client::connect(&nginx).await;
    let home = alice.login("alice", "/one").await.pop().unwrap();
    assert_eq!(alice.get("/one").await.connection(), home.connection());
    let other = alice.get("/two").await;
    if Nginx::binary().version() >= INHERITED {
        assert_eq!((other.identity(), other.connection()), ("alice", home.connection()));
    } else {
        assert_eq!((other.status, other.identity()), (401, "anonymous"));
    }
}

#[test]
fn every_page_shows_its_recipe_to_the_letter() {
    for file in all() {
        let page = read(&file.replace(".conf", ".md"));
        let mark = format!("<!-- {file} -->\n```nginx\n");
        let (_, rest) = page.split_once(&*mark).unwrap_or_else(|| panic!("no {file} in its page"));
        let (block, _) = rest.split_once("```\n").expect("the end of the block");
        assert_eq!(block, read(&file), "{file}");
    }
}
