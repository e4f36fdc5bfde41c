//! `ntlm_status` for programs: JSON and Prometheus.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, pause, within};
use serde_json::Value;

fn front(origin: &Origin, group: &str) -> Builder {
    Nginx::builder().set("origin", &origin.address()).conf(&format!(
        "upstream mail {{ server {{{{origin}}}}; {group} }}
         upstream plain {{ server {{{{origin}}}}; }}
         upstream wiki {{ ntlm 7; ntlm_timeout 5m; server {{{{origin}}}}; }}
         server {{ listen 127.0.0.1:{{{{port}}}};
                   location / {{ proxy_pass http://mail; }} location /wiki/ {{ proxy_pass http://wiki; }}
                   location = /status {{ ntlm_status; }}
                   location = /metrics {{ ntlm_status prometheus; }}
                   location = /page {{ ntlm_status html; }} }}"
    ))
}

async fn status(nginx: &Nginx) -> Value {
    let response = Client::connect(nginx).await.get("/status").await;
    assert_eq!((response.status, response.get("Content-Type")), (200, Some("application/json")));
    assert_eq!(response.get("Cache-Control"), Some("no-store"));
    serde_json::from_str(&response.text()).expect("it is JSON")
}

/// Waits until `pointer` of the status is `expected`: the live numbers are half a second old at most.
async fn until(nginx: &Nginx, pointer: &str, expected: u64) {
    let reached = async {
        while status(nginx).await.pointer(pointer).and_then(Value::as_u64) != Some(expected) {
            pause().await;
        }
    };
    within(reached, || format!("{pointer} is never {expected}")).await;
}

async fn logged_in(nginx: &Nginx, user: &str, path: &str) -> Client {
    let mut client = Client::connect(nginx).await;
    client.login(user, path).await;
    client
}

fn counted(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {status:#}"))
}

#[tokio::test]
async fn servers_of_group_show_bindings_and_failures() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let servers = format!("server {}; server {}; ntlm;", one.address(), other.address());
    let nginx = Nginx::builder()
        .conf(&format!(
            "upstream mail {{ {servers} }} server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://mail; }}
               location = /status {{ ntlm_status; }} location = /metrics {{ ntlm_status prometheus; }} }}"
        ))
        .start()
        .await;
    // The balancer's turns lead one to each server.
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    let mut bob = Client::connect(&nginx).await;
    bob.login("bob", "/").await;
    let is_hers =
        |origin: &Origin| origin.ledger().iter().any(|entry| entry.identity.as_deref() == Some("alice"));
    let (hers, his) = if is_hers(&one) { (one, other) } else { (other, one) };
    // Neither requests that a binding serves nor the end of a client count as the server's.
    alice.get("/").await;
    for user in ["carol", "dave"] {
        let mut client = Client::connect(&nginx).await;
        client.login(user, "/").await;
        client.close().await;
    }
    until(&nginx, "/groups/0/ended/client", 2).await;
    bob.get("/?close=read").await;
    hers.stop().await;
    until(&nginx, "/groups/0/ended/server", 2).await;

    let status = status(&nginx).await;
    let shown = status["groups"][0]["servers"].as_array().unwrap();
    let of = |origin: &Origin| shown.iter().find(|server| server["name"] == origin.address()).unwrap();
    let numbers = |origin: &Origin| ["bound", "ended", "failed"].map(|key| of(origin)[key].as_u64().unwrap());
    assert_eq!((shown.len(), numbers(&hers), numbers(&his)), (2, [2, 1, 0], [2, 1, 1]), "{status:#}");
    assert_eq!(status["groups"][0]["other_servers_bound"], 0);

    let metrics = Client::connect(&nginx).await.get("/metrics").await.text();
    for (metric, counts) in [("bindings_made", [2, 2]), ("bindings_ended", [1, 1]), ("failures", [0, 1])] {
        for (origin, count) in [&hers, &his].into_iter().zip(counts) {
            let labels = format!("upstream=\"mail\",server=\"{}\"", origin.address());
            let line = format!("nginx_ntlm_server_{metric}_total{{{labels}}} {count}\n");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }
}

#[tokio::test]
async fn page_shows_every_counter() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").start().await;
    let page = Client::connect(&nginx).await.get("/page").await.text();
    let status = status(&nginx).await;
    let counters = status["groups"][0].as_object().unwrap().iter().filter(|(_, value)| value.is_u64());
    let names: Vec<&str> = counters.map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"reused"), "{names:?}");
    for name in names {
        assert!(page.contains(&format!("group.{name}")), "{name} is not on the page");
    }
}

/// The text with each number replaced.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            char => shape.push(char),
        }
    }
    shape
}

#[tokio::test]
async fn the_shape_stays_as_it_is() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").start().await;
    let text = Client::connect(&nginx).await.get("/status").await.text();
    let group = |name: &str| {
        format!(
            "{{\"name\":\"{name}\",\"connections\":#,\"timeout_msec\":#,\
             \"bindings\":{{\"parked\":#,\"handshaking\":#,\"busy\":#}},\"bound\":#,\"reused\":#,\"lost\":#,\"fallback\":#,\
             \"ended\":{{\"client\":#,\"server\":#,\"timeout\":#,\"evicted\":#,\"shortage\":#,\"capped\":#,\"other\":#}},\
             \"handshakes\":{{\"NTLMv#\":{{\"accepted\":#,\"refused\":#}},\"NTLMv#\":{{\"accepted\":#,\"refused\":#}},\
             \"Kerberos\":{{\"accepted\":#,\"refused\":#}},\"IAKerb\":{{\"accepted\":#,\"refused\":#}},\
             \"Negotiate\":{{\"accepted\":#,\"refused\":#}}}},\"diagnoses\":[],\"servers\":[],\"other_servers_bound\":#}}"
        )
    };
    let expected = format!(
        "{{\"version\":#,\"time_msec\":#,\"since_msec\":#,\"module\":\"#.#.#\",\"nginx\":\"#.#.#\",\"workers\":#,\"uncounted\":#,\
         \"groups\":[{},{}]}}\n",
        group("mail"),
        group("wiki")
    );
    assert_eq!(shape(&text), expected);
    let status = status(&nginx).await;
    assert_eq!(counted(&status, "/groups/0/connections"), 100);
    assert_eq!(counted(&status, "/groups/1/connections"), 7);
    assert_eq!(counted(&status, "/groups/1/timeout_msec"), 300_000);
}

#[tokio::test]
async fn everything_is_counted_where_it_happens() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 3; ntlm_requests 6; ntlm_timeout 60s;").start().await;
    let mut alice = logged_in(&nginx, "alice", "/").await;
    alice.get("/").await;
    let mut bob = Client::connect(&nginx).await;
    bob.leg1("bob", "/").await;
    let _wiki = logged_in(&nginx, "carol", "/wiki/").await;
    until(&nginx, "/groups/0/bindings/parked", 2).await;
    let seen = status(&nginx).await;
    for (pointer, expected) in [
        ("/groups/0/bindings/handshaking", 1),
        ("/groups/0/bindings/busy", 0),
        ("/groups/0/bound", 2),
        ("/groups/0/reused", 2),
        ("/groups/0/handshakes/NTLMv2/accepted", 1),
        ("/groups/1/bindings/parked", 1),
        ("/groups/1/bound", 1),
    ] {
        assert_eq!(counted(&seen, pointer), expected, "{pointer} in {seen:#}");
    }
    // A request under way.
    alice.send(Request::get("/?gate=busy")).await;
    origin.wait_gate("busy").await;
    until(&nginx, "/groups/0/bindings/busy", 1).await;
    origin.open_gate("busy");
    alice.read_response().await;
    // A refusal.
    bob.login_with("NTLM", "bob", "wrong", "/").await;
    until(&nginx, "/groups/0/handshakes/NTLMv2/refused", 1).await;
    // Each end.
    bob.close().await;
    until(&nginx, "/groups/0/ended/client", 1).await;
    alice.get("/").await;
    assert!(alice.get("/").await.says_close());
    until(&nginx, "/groups/0/ended/capped", 1).await;
    let mut users = Vec::new();
    for user in ["dave", "erin", "frank", "grace"] {
        users.push(logged_in(&nginx, user, "/").await);
    }
    until(&nginx, "/groups/0/ended/evicted", 1).await;
    for id in origin.connection_ids_open() {
        origin.close_connection(id).await;
    }
    until(&nginx, "/groups/0/ended/server", 3).await;
    until(&nginx, "/groups/0/bindings/parked", 0).await;
    // A trouble.
    let seen = status(&nginx).await;
    assert_eq!(seen.pointer("/groups/0/diagnoses/0/kind").and_then(Value::as_str), Some("too_small"));
    assert_eq!(counted(&seen, "/groups/0/diagnoses/0/count"), 1);
    assert!(counted(&seen, "/groups/0/diagnoses/0/last_msec") <= counted(&seen, "/time_msec"));
    assert!(seen.to_string().contains("raise the number in \\\"ntlm\\\""));
    assert_eq!(seen.pointer("/groups/1/diagnoses"), Some(&Value::Array(vec![])));
}

#[tokio::test]
async fn lost_and_expired_bindings_are_counted() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm; ntlm_timeout 300ms;").start().await;
    let mut alice = logged_in(&nginx, "alice", "/").await;
    alice.get("/?close=read").await;
    until(&nginx, "/groups/0/lost", 1).await;
    let mut bob = logged_in(&nginx, "bob", "/").await;
    bob.closed().await;
    until(&nginx, "/groups/0/ended/timeout", 1).await;
}

#[tokio::test]
async fn client_leaving_within_a_request_ends_its_binding() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").start().await;
    let mut alice = logged_in(&nginx, "alice", "/").await;
    alice.send(Request::get("/?gate_body=slow")).await;
    origin.wait_gate("slow").await;
    alice.abort();
    until(&nginx, "/groups/0/ended/client", 1).await;
    assert_eq!(counted(&status(&nginx).await, "/groups/0/ended/server"), 0);
}

#[tokio::test]
async fn processes_that_look_after_caches_are_no_workers() {
    let origin = Origin::start().await;
    let nginx =
        front(&origin, "ntlm;").conf("proxy_cache_path {{prefix}}/cache keys_zone=c:1m;").start().await;
    nginx.wait_log(|log| log.contains("start cache loader process")).await;
    let _alice = logged_in(&nginx, "alice", "/").await;
    until(&nginx, "/groups/0/bindings/parked", 1).await;
    assert_eq!(counted(&status(&nginx).await, "/workers"), 1);
}

#[tokio::test]
async fn workers_add_up_and_killed_ones_drop_out() {
    if Nginx::binary().is_imitated() {
        return;
    }
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").workers(2).allow_log("exited on signal 9").start().await;
    let mut users = Vec::new();
    for _ in 0..20 {
        users.push(logged_in(&nginx, "alice", "/").await);
    }
    until(&nginx, "/groups/0/bindings/parked", 20).await;
    until(&nginx, "/workers", 2).await;
    for pid in nginx.worker_pids() {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    }
    nginx.wait_log(|log| log.matches("exited on signal 9").count() == 2).await;
    until(&nginx, "/workers", 2).await;
    until(&nginx, "/groups/0/bindings/parked", 0).await;
    assert_eq!(counted(&status(&nginx).await, "/groups/0/bound"), 20);
}

/// A process with this number, for as long as the child lives; `None` where numbers cannot be chosen.
fn with_pid(pid: i32) -> Option<std::process::Child> {
    // Others may start processes at the same moment.
    for _ in 0..100 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().ok()?;
        if child.id().cast_signed() == pid {
            return Some(child);
        }
        child.kill().and_then(|()| child.wait()).ok()?;
    }
    None
}

#[tokio::test]
async fn killed_worker_whose_number_is_taken_drops_out() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").allow_log("exited on signal 9").start().await;
    let old = nginx.worker_pids()[0].cast_signed();
    let mut alice = logged_in(&nginx, "alice", "/").await;
    alice.send(Request::get("/?gate=busy")).await;
    origin.wait_gate("busy").await;
    until(&nginx, "/groups/0/bindings/busy", 1).await;
    // The old worker stays for alice, and has no successor when it is killed.
    nginx.reload().await;
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    nginx.wait_log(|log| log.contains("exited on signal 9")).await;
    let Some(mut stranger) = with_pid(old) else { return };
    let state = status(&nginx).await;
    assert_eq!((counted(&state, "/workers"), counted(&state, "/groups/0/bindings/busy")), (1, 0));
    stranger.kill().and_then(|()| stranger.wait()).unwrap();
}

#[tokio::test]
async fn reload_keeps_counts_and_starts_new_groups_empty() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").start().await;
    let alice = logged_in(&nginx, "alice", "/").await;
    until(&nginx, "/groups/0/bound", 1).await;
    let since = counted(&status(&nginx).await, "/since_msec");
    let more = front(&origin, "ntlm 50;").conf("upstream more { server 127.0.0.1:1; ntlm; }");
    nginx.rewrite(&more);
    nginx.reload().await;
    drop(alice);
    until(&nginx, "/groups/2/connections", 100).await;
    let seen = status(&nginx).await;
    assert_eq!(counted(&seen, "/since_msec"), since);
    assert_eq!((counted(&seen, "/groups/0/bound"), counted(&seen, "/groups/0/connections")), (1, 50));
    assert_eq!(seen.pointer("/groups/2/name").and_then(Value::as_str), Some("more"));
    assert_eq!(counted(&seen, "/groups/2/bound"), 0);
}

#[tokio::test]
async fn metrics_are_in_the_format_of_prometheus() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").start().await;
    let _alice = logged_in(&nginx, "alice", "/").await;
    until(&nginx, "/groups/0/bindings/parked", 1).await;
    let response = Client::connect(&nginx).await.get("/metrics").await;
    assert_eq!(response.get("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = response.text();
    let mut metric = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            metric = rest.split(' ').next().unwrap().to_owned();
            assert_eq!(text.matches(line).count(), 1, "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let kind = if metric.ends_with("_total") { "counter" } else { "gauge" };
            assert_eq!(rest, format!("{metric} {kind}"));
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert_eq!(name, metric, "samples stand behind their head");
            let labels = labels.strip_suffix('}').unwrap();
            let is_label = |label: &str| label.contains("=\"") && label.ends_with('"');
            assert!(labels.is_empty() || labels.split(',').all(is_label), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    for sample in [
        "nginx_ntlm_bindings{upstream=\"mail\",state=\"established\"} 1",
        "nginx_ntlm_bindings{upstream=\"wiki\",state=\"established\"} 0",
        "nginx_ntlm_bindings_limit{upstream=\"wiki\"} 7",
        "nginx_ntlm_bindings_made_total{upstream=\"mail\"} 1",
        "nginx_ntlm_requests_reused_total{upstream=\"mail\"} 1",
        "nginx_ntlm_handshakes_total{upstream=\"mail\",mechanism=\"NTLMv2\",outcome=\"accepted\"} 1",
        "nginx_ntlm_bindings_ended_total{upstream=\"mail\",reason=\"client\"} 0",
        "nginx_ntlm_diagnoses_total{upstream=\"mail\",kind=\"too_small\"} 0",
        "nginx_ntlm_workers 1",
        "nginx_ntlm_groups_uncounted 0",
    ] {
        assert!(text.lines().any(|line| line == sample), "no {sample} in\n{text}");
    }
}

/// The sample of a series.
fn sample(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn json_and_metrics_agree_on_many_groups() {
    if Nginx::binary().is_imitated() {
        return;
    }
    let origin = Origin::start().await;
    let more: String =
        (0..140).map(|i| format!("upstream g{i} {{ server 127.0.0.1:1; ntlm 5; }}\n")).collect();
    let nginx = front(&origin, "ntlm 3;").conf(&more).workers(2).start().await;
    until(&nginx, "/workers", 2).await;
    let seen = status(&nginx).await;
    let metrics = Client::connect(&nginx).await.get("/metrics").await.text();
    let groups = seen.pointer("/groups").and_then(Value::as_array).unwrap();
    assert_eq!((groups.len(), counted(&seen, "/uncounted")), (128, 14));
    assert_eq!(sample(&metrics, "nginx_ntlm_groups_uncounted"), Some(14.0));
    assert_eq!(sample(&metrics, "nginx_ntlm_workers"), Some(2.0));
    let since = counted(&seen, "/since_msec") as f64 / 1000.0;
    assert_eq!(sample(&metrics, "nginx_ntlm_start_time_seconds"), Some(since));
    let limits = metrics.lines().filter(|line| line.starts_with("nginx_ntlm_bindings_limit{"));
    assert_eq!(limits.count(), groups.len());
    for group in groups {
        let name = group["name"].as_str().unwrap();
        let series = format!("nginx_ntlm_bindings_limit{{upstream=\"{name}\"}}");
        let limit = group["connections"].as_u64().unwrap() * 2;
        assert_eq!(sample(&metrics, &series), Some(limit as f64), "{name}");
    }
}

#[tokio::test]
async fn location_with_an_if_answers_in_its_own_format() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;")
        .conf(
            "server { listen 127.0.0.1:{{port:if}};
                      location = /before { if ($request_method = GET) { set $a b; } ntlm_status html; }
                      location = /behind { ntlm_status html; if ($request_method = GET) { set $a b; } }
                      location = /within { ntlm_status prometheus; if ($arg_x) { add_header X-If yes; } } }",
        )
        .start()
        .await;
    let mut client = Client::connect(nginx.at("if")).await;
    for (target, expected) in [
        ("/before", "text/html; charset=utf-8"),
        ("/behind", "text/html; charset=utf-8"),
        ("/within?x=1", "text/plain; version=0.0.4; charset=utf-8"),
        ("/within?x=1&format=json", "application/json"),
    ] {
        let response = client.get(target).await;
        assert_eq!((response.status, response.get("Content-Type")), (200, Some(expected)), "{target}");
    }
}

#[tokio::test]
async fn query_chooses_the_format_and_changes_nothing() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").start().await;
    let mut client = Client::connect(&nginx).await;
    let kind =
        |response: &Response| response.get("Content-Type").unwrap().split(';').next().unwrap().to_owned();
    for (target, expected) in [
        ("/status", "application/json"),
        ("/page", "text/html"),
        ("/page?format=json", "application/json"),
        ("/status?x=1&format=prometheus", "text/plain"),
        ("/metrics?format=html", "text/html"),
        ("/status?formats=html", "application/json"),
    ] {
        let response = client.get(target).await;
        assert_eq!((response.status, kind(&response).as_str()), (200, expected), "{target}");
        assert_eq!(response.get("Content-Security-Policy").is_some(), expected == "text/html", "{target}");
    }
    for target in ["/page?format=xml", "/metrics?format=", "/status?format=HTML"] {
        assert_eq!(Client::connect(&nginx).await.get(target).await.status, 400, "{target}");
    }
    let head = client.request(Request::new("HEAD", "/status")).await;
    assert_eq!((head.status, head.text().len()), (200, 0));
    assert_eq!(client.post("/status", "x").await.status, 405);
}
