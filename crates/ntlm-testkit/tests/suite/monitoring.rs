//! `packaging/monitoring`: the schema of the status, and the metrics that alerts and the dashboard ask for.

use std::collections::BTreeSet;

use ntlm_testkit::{Client, Nginx, Origin};
use serde_json::{Value, json};

fn file(name: &str) -> String {
    let path = format!("{}/../../packaging/monitoring/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// nginx with something of everything in its numbers.
async fn busy(origin: &Origin) -> Nginx {
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream mail { server {{origin}}; ntlm 1; } upstream wiki { server {{origin}}; ntlm; }
             server { listen 127.0.0.1:{{port}}; location / { proxy_pass http://mail; }
                      location = /status { ntlm_status; } location = /metrics { ntlm_status prometheus; } }",
        )
        .start()
        .await;
    for user in ["alice", "bob"] {
        let mut client = Client::connect(&nginx).await;
        client.login(user, "/").await;
        client.login_with("NTLM", user, "guessed", "/").await;
    }
    Client::connect(&nginx).await.leg1("alice", "/?close=challenge").await;
    nginx.wait_log(|log| log.contains("closes its connection after the challenge")).await;
    nginx
}

/// Finds where a value breaks a schema. Knows the keywords of JSON Schema 2020-12 that `status.schema.json` uses.
fn faults(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let is_of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        None => schema.get("const").is_some_and(|constant| constant == value),
        Some(other) => panic!("a type that is not known: {other}"),
    };
    if !is_of_type || value.as_u64() < schema["minimum"].as_u64() {
        found.push(format!("{at} is {value}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
        if value.get(name).is_none() {
            found.push(format!("{at} has no {name}"));
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => faults(schema, value, &format!("{at}.{name}"), found),
            None if schema["additionalProperties"] == false => found.push(format!("{at} has a {name}")),
            None => {}
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        faults(&schema["items"], value, &format!("{at}[{index}]"), found);
    }
}

fn faults_of(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    faults(schema, value, "status", &mut found);
    found
}

#[tokio::test]
async fn status_is_as_its_schema_says() {
    let origin = Origin::start().await;
    let nginx = busy(&origin).await;
    let schema: Value = serde_json::from_str(&file("status.schema.json")).unwrap();
    let status = Client::connect(&nginx).await.get("/status").await.text();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert!(!status["groups"][0]["diagnoses"].as_array().unwrap().is_empty(), "{status:#}");
    assert_eq!(faults_of(&schema, &status), [""; 0]);
    // The checks find what differs.
    for (pointer, value) in [
        ("/workers", json!("1")),
        ("/version", json!(2)),
        ("/groups/0/bindings/parked", json!(-1)),
        ("/groups/0/handshakes/NTLMv2", json!({ "accepted": 1 })),
        ("/groups/0/ended", json!({})),
        ("/groups/1", json!(null)),
    ] {
        let mut other = status.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert_ne!(faults_of(&schema, &other), [""; 0], "{pointer}");
    }
    let mut more = status.clone();
    more["groups"][0]["new"] = json!(1);
    assert_eq!(faults_of(&schema, &more), ["status.groups[0] has a new"]);
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let word =
        |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().map(str::to_owned);
    text.match_indices("nginx_ntlm_").filter_map(|(at, _)| word(&text[at..])).collect()
}

/// The values that a text compares a label with.
fn values_in(text: &str, label: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    for start in ["{", ","] {
        for is in ["=", "!=", "=~", "!~"] {
            found.extend(text.split(&format!("{start}{label}{is}\"")).skip(1));
        }
    }
    let values =
        found.into_iter().filter_map(|rest| rest.split('"').next()).flat_map(|values| values.split('|'));
    values.map(str::to_owned).collect()
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let origin = Origin::start().await;
    let nginx = busy(&origin).await;
    let live = Client::connect(&nginx).await.get("/metrics").await.text();
    let exist = metrics_in(&live);
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown: String = targets.map(|target| format!("{}\n", target["expr"].as_str().unwrap())).collect();
    assert_eq!(metrics_in(&shown), exist, "what the dashboard shows, and what there is");
    let rules = format!("{}{}", file("prometheus-rules.yml"), file("prometheus-rules.test.yml"));
    let asked = metrics_in(&rules);
    assert!(asked.is_subset(&exist), "{:?}", asked.difference(&exist));
    for label in ["state", "outcome", "mechanism", "reason", "kind"] {
        let values = values_in(&format!("{shown}{rules}"), label);
        let known = values_in(&live, label);
        assert!(values.is_subset(&known), "{label}: {:?}", values.difference(&known));
    }
    // Each panel has a place of its own.
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
}
