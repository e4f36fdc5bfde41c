//! Each file of `examples/` does what it is there for, and the pages show it to the letter.

mod recipes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ntlm_testkit::origin::Leg;
use ntlm_testkit::{Client, Nginx, Origin, Request};

/// The virtual directories of Exchange, as Microsoft's documentation spells them.
const EXCHANGE: &[&str] = &[
    "/owa/",
    "/owa/calendar/",
    "/ecp/",
    "/EWS/Exchange.asmx",
    "/EWS/mrsproxy.svc",
    "/mapi/emsmdb/",
    "/mapi/nspi/",
    "/OAB/",
    "/Autodiscover/Autodiscover.xml",
    "/autodiscover/autodiscover.json",
    "/autodiscover/autodiscover.svc",
    "/rpc/rpcproxy.dll",
    "/RpcWithCert/rpcproxy.dll",
    "/Microsoft-Server-ActiveSync",
    "/PowerShell/",
    "/api/",
    "/aspnet_client/",
];

/// Each path as it is, in lower case and in upper case.
fn in_any_spelling(paths: &[&str]) -> Vec<String> {
    let spellings = |path: &&str| [path.to_string(), path.to_lowercase(), path.to_uppercase()];
    paths.iter().flat_map(spellings).collect()
}

/// The address of a server in no group.
const ALONE: &str = "10.0.0.5";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `examples/….conf`, all of them.
fn all() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| format!("examples/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    assert!(names.iter().all(|name| name.ends_with(".conf")), "{names:?}");
    names
}

/// An example that runs. Only its addresses, ports and certificates are others than in the file.
struct Example {
    nginx: Nginx,
    /// The origin that stands for each `server`, by its name in the file.
    origins: BTreeMap<String, Origin>,
    /// The front speaks TLS.
    tls: bool,
}

impl Example {
    async fn start(file: &str) -> Self {
        let mut origins = BTreeMap::new();
        let mut conf = String::new();
        for line in read(file).lines() {
            let words: Vec<&str> = line.trim().trim_end_matches(';').split_whitespace().collect();
            let replacement = match words[..] {
                ["server", place, ..] if place != "{" => {
                    let (host, port) = place.split_once(':').unwrap();
                    // Several services of one machine are told apart by their ports.
                    let host = if port == "443" || port == "80" { host } else { place };
                    if !origins.contains_key(host) {
                        let builder = Origin::builder().name(host);
                        let plain = ["80", "8080"].contains(&port);
                        let builder = if plain { builder } else { builder.tls() };
                        origins.insert(host.to_owned(), builder.start().await);
                    }
                    line.replace(place, &origins[host].address())
                }
                // A server that no group names is this one.
                ["set" | "proxy_pass", .., value] if value.contains(ALONE) => {
                    if !origins.contains_key(ALONE) {
                        origins.insert(ALONE.to_owned(), Origin::builder().name(ALONE).start().await);
                    }
                    let address = origins[ALONE].address();
                    let place = format!("{ALONE}:80");
                    if value.contains(&place) {
                        line.replace(&place, &address)
                    } else {
                        line.replace(ALONE, "127.0.0.1")
                    }
                }
                ["set", "$port", port] => {
                    line.replace(port, &origins[ALONE].socket_addr().port().to_string())
                }
                ["listen", port, ..] => {
                    let v4 = line.replace(port, "127.0.0.1:{{port}}");
                    format!("{v4} {}", v4.replace("127.0.0.1:{{port}}", "[::1]:{{port6}}"))
                }
                ["ssl_certificate", path] => line.replace(path, "{{cert}}"),
                ["ssl_certificate_key", path] => line.replace(path, "{{key}}"),
                ["proxy_ssl_trusted_certificate", path] => line.replace(path, "{{ca}}"),
                _ => line.to_owned(),
            };
            conf += &format!("{replacement}\n");
        }
        assert!(!conf.contains(".example.com:"), "{conf}");
        let tls = conf.contains(" ssl;");
        Example { nginx: Nginx::builder().conf(&conf).start().await, origins, tls }
    }

    async fn client(&self) -> Client {
        let builder = Client::builder().host("www.example.com");
        if self.tls { builder.tls() } else { builder }.connect(&self.nginx).await
    }

    fn origin(&self, name: &str) -> &Origin {
        &self.origins[name]
    }
}

#[tokio::test]
async fn a_login_goes_through_every_example() {
    for file in all() {
        println!("{file}");
        let example = Example::start(&file).await;
        let mut alice = example.client().await;
        // A path that each of them passes on.
        let home = alice.login("alice", "/owa/").await.pop().unwrap();
        let mut bob = example.client().await;
        assert_eq!(bob.get("/owa/").await.status, 401, "{file}");
        for _ in 0..3 {
            let response = alice.get("/owa/again").await;
            assert_eq!((response.identity(), response.connection()), ("alice", home.connection()), "{file}");
        }
        let legs: Vec<Leg> =
            example.origin(home.origin_name()).ledger().iter().map(|entry| entry.leg).collect();
        assert_eq!(legs[..2], [Leg::Negotiate, Leg::Authenticate], "{file}");
        example.nginx.stop().await;
    }
}

#[tokio::test]
async fn status_conf_shows_its_page_to_administrators_only() {
    let example = Example::start("examples/status.conf").await;
    let nginx = &example.nginx;
    for (source, status) in [("127.0.0.1", 200), ("127.0.0.2", 403)] {
        for target in ["/ntlm-status", "/ntlm-status?format=json", "/ntlm-status?format=prometheus"] {
            let response = Client::builder().source(source).connect(nginx).await.get(target).await;
            assert_eq!(response.status, status, "{source} {target}");
        }
    }
}

#[tokio::test]
async fn several_servers_conf_falls_back_to_its_backup() {
    let example = Example::start("examples/several-servers.conf").await;
    let mut homes = BTreeSet::new();
    for user in ["alice", "bob", "carol", "dave"] {
        homes.insert(example.client().await.login(user, "/").await.pop().unwrap().origin_name().to_owned());
    }
    assert!(!homes.contains("sp3.example.com"), "{homes:?}");
    example.origin("sp1.example.com").stop().await;
    example.origin("sp2.example.com").stop().await;
    let mut erin = example.client().await;
    let home = erin.login("erin", "/").await.pop().unwrap();
    assert_eq!(home.origin_name(), "sp3.example.com");
    assert_eq!(erin.get("/").await.connection(), home.connection());
}

#[tokio::test]
async fn https_upstream_conf_verifies_server_and_takes_bodies() {
    let example = Example::start("examples/https-upstream.conf").await;
    let mut alice = example.client().await;
    alice.login("alice", "/").await;
    let response = alice.request(Request::post("/upload", vec![b'x'; 3_000_000])).await;
    assert_eq!((response.identity(), response.get("X-Body-Length")), ("alice", Some("3000000")));
    let ledger = example.origin("devops.example.com").ledger();
    assert!(ledger.iter().all(|entry| entry.sni.as_deref() == Some("devops.example.com")), "{ledger:?}");
}

#[tokio::test]
async fn selective_conf_pools_connections_for_public_files() {
    let example = Example::start("examples/selective.conf").await;
    let (mut alice, mut bob) = (example.client().await, example.client().await);
    let home = alice.login("alice", "/").await.pop().unwrap();
    let first = alice.get_with("/public/logo", "Authorization", "NTLM TlRMTVNTUAABAAAAB4IIAA==").await;
    let second = bob.get("/public/logo").await;
    assert_eq!((first.identity(), second.identity()), ("anonymous", "anonymous"));
    assert_eq!(first.connection(), second.connection());
    assert_ne!(first.connection(), home.connection());
    let ledger = example.origin("intranet.example.com").ledger();
    let public: Vec<_> = ledger.iter().filter(|entry| entry.target == "/public/logo").collect();
    assert_eq!(public.len(), 2);
    assert!(public.iter().all(|entry| entry.scheme.is_none() && entry.connection_field.is_none()));
    assert_eq!(alice.get("/").await.connection(), home.connection());
}

#[tokio::test]
async fn allow_deny_conf_turns_other_networks_away() {
    let example = Example::start("examples/allow-deny.conf").await;
    let mut alice = Client::builder().source("127.0.0.7").connect(&example.nginx).await;
    alice.login("alice", "/").await;
    // Of the addresses of this machine, one is in none of the networks allowed.
    let mut mallory = Client::connect(example.nginx.at("v6")).await;
    assert_eq!(mallory.get("/").await.status, 403);
    let refused = mallory.get_with("/public/", "Authorization", "NTLM TlRMTVNTUAABAAAAB4IIAA==").await;
    assert_eq!(refused.status, 403);
    assert_eq!(example.origin("crm.example.com").ledger().len(), 2);
}

#[tokio::test]
async fn tls_front_conf_sends_plain_http_to_https() {
    let example = Example::start("examples/tls-front.conf").await;
    let mut plain = Client::builder().host("www.example.com").connect(&example.nginx).await;
    let response = plain.get("/RDWeb/?a=b").await;
    let port = example.nginx.socket_addr("").port();
    assert_eq!(response.status, 301);
    assert_eq!(response.get("Location"), Some(&*format!("https://www.example.com:{port}/RDWeb/?a=b")));
    let mut alice = example.client().await;
    let home = alice.login("alice", "/RDWeb/").await.pop().unwrap();
    assert_eq!(alice.get("/RDWeb/?a=b").await.connection(), home.connection());
}

#[tokio::test]
async fn exchange_conf_locations_share_one_binding() {
    let example = Example::start("examples/exchange.conf").await;
    let mut alice = example.client().await;
    let response = alice.get("/").await;
    assert_eq!(response.status, 302);
    assert!(response.get("Location").unwrap().ends_with("/owa/"), "{response:?}");
    let home = alice.login("alice", "/autodiscover/autodiscover.xml").await.pop().unwrap();
    for path in in_any_spelling(EXCHANGE) {
        let response = alice.post(&path, "a request").await;
        assert_eq!((response.status, response.identity()), (200, "alice"), "{path}");
        assert_eq!(response.connection(), home.connection(), "{path}");
    }
    let ledger = example.origin("exchange.example.com").ledger();
    assert!(ledger.iter().all(|entry| entry.sni.as_deref() == Some("exchange.example.com")), "{ledger:?}");
}

// The pages.

#[test]
fn pages_show_the_examples_to_the_letter() {
    for (page, shows_all) in [("README.md", false), ("docs/configure.md", true)] {
        let mut shown = BTreeSet::new();
        for part in read(page).split("<!-- examples/").skip(1) {
            let (name, rest) = part.split_once(" -->\n```nginx\n").expect("a block of nginx after the mark");
            let (block, _) = rest.split_once("```\n").expect("the end of the block");
            assert_eq!(block, read(&format!("examples/{name}")), "{name} in {page}");
            assert!(shown.insert(format!("examples/{name}")), "{page} shows {name} twice");
        }
        assert!(!shown.is_empty(), "{page} shows no example");
        assert!(!shows_all || shown == all().into_iter().collect(), "{page} does not show every file");
    }
}
