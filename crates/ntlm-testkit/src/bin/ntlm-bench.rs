//! What a request costs in instructions of the worker, by callgrind: the difference of two runs of different length, so
//! that start, logins and stop cancel out. `cargo xtask bench bound` runs it.
//!
//! Expects `NTLM_NGINX_WRAP` to run nginx under callgrind with `--callgrind-out-file=<folder>/%p`, and the folder as its
//! only argument.

use std::path::Path;

use ntlm_testkit::client::http1::Client;
use ntlm_testkit::{Nginx, Origin};

/// A measured configuration.
struct Case {
    name: &'static str,
    /// The lines of the upstream block beside `server`.
    group: &'static str,
    module: bool,
    clients: usize,
    login: bool,
}

const PLAIN: Case = Case {
    name: "NGINX's own keepalive 32",
    group: "keepalive 32;",
    module: false,
    clients: 10,
    login: false,
};

const CASES: [Case; 7] = [
    PLAIN,
    Case { name: "NGINX's own keepalive 32", clients: 5000, ..PLAIN },
    Case { name: "bound", group: "ntlm 10000;", module: true, login: true, ..PLAIN },
    Case { name: "bound", group: "ntlm 10000;", module: true, login: true, clients: 5000 },
    Case {
        name: "bound, beside keepalive 32",
        group: "keepalive 32; ntlm 10000;",
        module: true,
        login: true,
        ..PLAIN
    },
    Case {
        name: "no credentials, ntlm and keepalive 32",
        group: "keepalive 32; ntlm;",
        module: true,
        ..PLAIN
    },
    Case { name: "another group, module loaded", module: true, ..PLAIN },
];

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).expect("usage: ntlm-bench FOLDER-OF-CALLGRIND-FILES");
    let (major, minor, patch) = Nginx::binary().version();
    println!("instructions of the worker for each request, NGINX {major}.{minor}.{patch}\n");
    println!("{:40} {:>8} {:>13} {:>8}", "", "clients", "instructions", "ratio");
    let mut base = None;
    for case in &CASES {
        let (short, long) = if case.clients > 1000 { (case.clients, 3 * case.clients) } else { (1000, 3000) };
        let fewer = instructions(case, short, Path::new(&folder)).await;
        let more = instructions(case, long, Path::new(&folder)).await;
        let each = more.saturating_sub(fewer) as f64 / (long - short) as f64;
        let ratio = each / *base.get_or_insert(each);
        println!("{:40} {:>8} {each:>13.0} {ratio:>8.4}", case.name, case.clients);
    }
}

/// The instructions of a whole run with this many requests.
async fn instructions(case: &Case, requests: usize, folder: &Path) -> u64 {
    let origin = Origin::start().await;
    let group = format!("upstream backend {{ server {}; {} }}", origin.address(), case.group);
    let mut nginx = Nginx::builder().single_process().worker_connections(12_000).log_level("notice");
    if !case.module {
        nginx = nginx.without_module();
    }
    let nginx = nginx
        .conf(&format!(
            "{group} access_log off; keepalive_requests 1000000; keepalive_timeout 1h;
             server {{ listen 127.0.0.1:{{{{port}}}}; proxy_http_version 1.1; proxy_set_header Connection \"\";
                       location / {{ proxy_pass http://backend; }} }}"
        ))
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..case.clients {
        let mut client = Client::connect(&nginx).await;
        if case.login {
            client.login("alice", "/").await;
        } else {
            client.get("/public/").await;
        }
        clients.push(client);
    }
    let turns = clients.len();
    for turn in 0..requests {
        let response = clients[turn % turns].get("/public/").await;
        assert_eq!(response.status, 200);
    }
    let file = folder.join(nginx.pid().to_string());
    nginx.stop().await;
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines()
        .find_map(|line| line.strip_prefix("totals: ")?.parse().ok())
        .unwrap_or_else(|| panic!("{} has no totals", file.display()))
}
