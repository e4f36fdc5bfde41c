//! The cost of a request in instructions of the worker, by callgrind: the difference of two runs of different length, so
//! that start, logins and stop cancel out. `cargo xtask bench bound` runs it.
//!
//! Of all the instructions, those of NGINX and the module tell one configuration from another; what the allocator of the C
//! library takes depends on the state of its heap, and is the larger part of what changes from run to run.
//!
//! Expects `NTLM_NGINX_WRAP` to run nginx under callgrind with `--callgrind-out-file=<folder>/%p`, and the folder as its
//! only argument.

use std::collections::HashMap;
use std::path::Path;

use ntlm_testkit::client::http1::Client;
use ntlm_testkit::{Nginx, Origin};

/// A measured configuration.
struct Case {
    name: &'static str,
    /// The lines of the upstream block beside `server`.
    group: &'static str,
    /// Lines of the `http` block.
    http: &'static str,
    module: bool,
    clients: usize,
    login: bool,
}

const PLAIN: Case = Case {
    name: "NGINX's own keepalive 32",
    group: "keepalive 32;",
    http: "access_log off;",
    module: false,
    clients: 10,
    login: false,
};

const BOUND: Case = Case { name: "bound", group: "ntlm 10000;", module: true, login: true, ..PLAIN };

const CASES: [Case; 11] = [
    PLAIN,
    Case { name: "NGINX's own keepalive 32", clients: 5000, ..PLAIN },
    BOUND,
    Case { clients: 5000, ..BOUND },
    Case { name: "bound, beside keepalive 32", group: "keepalive 32; ntlm 10000;", ..BOUND },
    Case {
        name: "bound by proxy_ntlm",
        group: "",
        http: "access_log off; proxy_ntlm on connections=10000;",
        ..BOUND
    },
    Case {
        name: "bound, ntlm_key, ntlm_status",
        group: "ntlm 10000; ntlm_key $remote_addr;",
        http: "access_log off; server { listen 127.0.0.1:{{port:status}}; location / { ntlm_status; } }",
        ..BOUND
    },
    Case {
        name: "bound, six variables of NGINX logged",
        http: "log_format six '$upstream_addr $upstream_status $upstream_response_time $bytes_sent \
               $remote_user $host'; access_log {{prefix}}/access.log six buffer=64k;",
        ..BOUND
    },
    Case {
        name: "bound, the six of the module logged",
        http: "log_format six '$ntlm_binding $ntlm_requests $ntlm_mechanism $ntlm_user \
               $ntlm_domain $ntlm_workstation'; access_log {{prefix}}/access.log six buffer=64k;",
        ..BOUND
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
    println!(
        "{:40} {:>8} {:>9} {:>7} {:>17} {:>7}",
        "", "clients", "all", "ratio", "NGINX and module", "ratio"
    );
    let mut base = None;
    for case in &CASES {
        let (short, long) = if case.clients > 1000 { (case.clients, 3 * case.clients) } else { (1000, 3000) };
        let fewer = instructions(case, short, Path::new(&folder)).await;
        let more = instructions(case, long, Path::new(&folder)).await;
        let each = |fewer: u64, more: u64| more.saturating_sub(fewer) as f64 / (long - short) as f64;
        let (all, own) = (each(fewer.all, more.all), each(fewer.own, more.own));
        let (base_all, base_own) = *base.get_or_insert((all, own));
        println!(
            "{:40} {:>8} {all:>9.0} {:>7.4} {own:>17.0} {:>7.4}",
            case.name,
            case.clients,
            all / base_all,
            own / base_own
        );
    }
}

/// The instructions of a run.
#[derive(Clone, Copy, Default)]
struct Instructions {
    all: u64,
    /// In NGINX and the module, not in libraries.
    own: u64,
}

impl Instructions {
    /// Reads what callgrind has written: `ob=(id) file` names where the costs that follow were, in lines of a place and a
    /// number; the line after `calls=` is what the called function took, which stands elsewhere too.
    fn of(text: &str) -> Self {
        let mut files = HashMap::new();
        let mut is_own = |object: &str| {
            let (id, file) = object.split_once(' ').unwrap_or((object, ""));
            if !file.is_empty() {
                let name = file.rsplit('/').next().unwrap_or_default();
                files.insert(id.to_owned(), !name.starts_with("lib") && !name.starts_with("ld-"));
            }
            files.get(id).copied().unwrap_or_default()
        };
        let mut sum = Self::default();
        let (mut own, mut called) = (false, false);
        for line in text.lines() {
            if let Some(object) = line.strip_prefix("ob=") {
                own = is_own(object);
            } else if let Some(object) = line.strip_prefix("cob=") {
                is_own(object);
            } else if line.starts_with("calls=") {
                called = true;
            } else if line.starts_with(['+', '-', '*']) || line.starts_with(|c: char| c.is_ascii_digit()) {
                let cost: u64 = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or_default();
                if !std::mem::take(&mut called) {
                    sum.all += cost;
                    sum.own += if own { cost } else { 0 };
                }
            }
        }
        sum
    }
}

/// The instructions of a whole run with this many requests.
async fn instructions(case: &Case, requests: usize, folder: &Path) -> Instructions {
    let origin = Origin::start().await;
    let group = format!("upstream backend {{ server {}; {} }}", origin.address(), case.group);
    let mut nginx = Nginx::builder().single_process().worker_connections(12_000).log_level("notice");
    if !case.module {
        nginx = nginx.without_module();
    }
    let nginx = nginx
        .conf(&format!(
            "{group} {} keepalive_requests 1000000; keepalive_timeout 1h;
             server {{ listen 127.0.0.1:{{{{port}}}}; proxy_http_version 1.1; proxy_set_header Connection \"\";
                       location / {{ proxy_pass http://backend; }} }}",
            case.http
        ))
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..case.clients {
        let mut client = Client::connect(&nginx).await;
        if case.login {
            client.login("alice", "/").await;
        } else {
            client.get("/public/?alike").await;
        }
        clients.push(client);
    }
    let turns = clients.len();
    for turn in 0..requests {
        let response = clients[turn % turns].get("/public/?alike").await;
        assert_eq!(response.status, 200);
    }
    let file = folder.join(nginx.pid().to_string());
    nginx.stop().await;
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
    let sum = Instructions::of(&text);
    assert_eq!(total, Some(sum.all), "{} was not understood", file.display());
    sum
}
