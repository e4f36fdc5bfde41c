//! Connections that wait, and the client connections that they belong to.

use super::{Mutation, WAYS, row};

const ELSEWHERE: &[&str] = &["lifetime::elsewhere::"];

pub const ROWS: &[Mutation] = &[
    // Waiting.
    row(
        "idle.rs",
        "    if bound.connection().is_read_ready() {\n        on_readable(bound);\n    }\n",
        "",
        &["lifetime::end_arriving", "lifetime::responses::slow_readers"],
    ),
    row("idle.rs", "let stays = ended.login_elsewhere && (", "let stays = false && (", ELSEWHERE),
    row(
        "idle.rs",
        "(by_others || ended.phase",
        "(ended.phase",
        &["lifetime::elsewhere::", "eviction::", "fairness::"],
    ),
    row("idle.rs", "(by_others || ended.phase != Some(Phase::Handshaking))", "true", ELSEWHERE),
    row("peer/free.rs", "foreseen.delivered && self.r.is_header_sent();", "foreseen.delivered;", ELSEWHERE),
    row("peer/free.rs", "delivered: self.r.is_main(),", "delivered: true,", ELSEWHERE),
    row("idle.rs", "    STAND_IN.stand();\n", "", &["eviction::connection_shortage", "fairness::shortage"]),
    row(
        "idle.rs",
        "        TIMER.go_off_by(time);\n    }\n    wait_again",
        "        let _ = time;\n    }\n    wait_again",
        &["lifetime::expired_binding", "lifetime::each"],
    ),
    row(
        "idle.rs",
        "    bound.connection().set_read_handler(Some(ngx_http_upstream_ntlm_dummy_handler));\n",
        "",
        &["lifetime::masses::"],
    ),
    row(
        "idle.rs",
        "c.is_closing_by_force() || !is_client_kept(bound)",
        "c.is_closing_by_force()",
        &["lifetime::reloads::", "lifetime::kept_clients::"],
    )
    .on_1_30()
    .known(),
    row(
        "idle.rs",
        "c.is_closing_by_force() || !is_client_kept(bound)",
        "!is_client_kept(bound)",
        &["lifetime::reloads::", "lifetime::kept_clients::"],
    )
    .on_1_30()
    .known(),
    row(
        "idle.rs",
        "c.is_closing_by_force() || !is_client_kept(bound)",
        "true",
        &["lifetime::reloads::", "lifetime::kept_clients::"],
    )
    .on_1_30(),
    row("idle.rs", "        c.stay();\n", "", &["lifetime::kept_clients::"]).on_1_30().known(),
    row(
        "idle.rs",
        "Readable::Data => end(bound, End::UnsolicitedData),",
        "Readable::Data => {}",
        &["lifetime::responses::bytes_after", "lifetime::tls_upstream::"],
    ),
    row(
        "idle.rs",
        "Readable::Closed => end(bound, End::ServerClosed),",
        "Readable::Closed => {}",
        &["lifetime::origin_ending", "lifetime::end_between"],
    ),
    row("idle.rs", " && ended.phase == Some(Phase::Handshaking)", "", &["diagnoses::"]).known(),
    row("idle.rs", "awaited == Some(true)", "true", &["diagnoses::"]),
    row(
        "idle.rs",
        "(!ended.shared && !stays).then_some(ended.client)",
        "(!stays).then_some(ended.client)",
        &["keys::", "scaling::", "floods::client_speaking"],
    ),
    row("idle.rs", "if CLOSINGS.closed.get() < BATCH ||", "if true ||", &["lifetime::masses::"]).known(),
    row("idle.rs", "} else if bound.is_http1() {", "} else {", &["multiplexed::"]).known(),
    row(
        "idle.rs",
        "if client.close_if_unused() {",
        "if false {",
        &["lifetime::origin_ending", "lifetime::expired_binding"],
    ),
    row("idle.rs", "            unsafe { client.close_after_request() };\n", "", &["lifetime::retries::"]),
    row("module.rs", "    idle::close_row();\n", "", &["lifetime::masses::", "lifetime::reloads::"]).known(),
    // Clients.
    row(
        "client.rs",
        "        leave(unsafe { client.read() }.id);\n",
        "        let _ = client;\n",
        &["lifetime::expired_client", "isolation::client_in_recycled"],
    ),
    row("client.rs", "        leave(id);\n        return", "        return", &["faults::memory"]).known(),
    row("bound.rs", "|kept| *kept == server", "|_| true", &["balancing::", "variables::"]),
    row("bound.rs", "kept.is_to(server, &transport)", "kept.is_to(server, &kept.transport)", WAYS).known(),
    row("worker.rs", "if end.by() == EndedBy::Server {", "if true {", &["status::"]),
    row("worker.rs", "bound.number(), end == End::Broken", "bound.number(), true", &["status::"]),
    row(
        "bound.rs",
        "if all.len() == MOST {",
        "if true {",
        &["balancing::", "variables::", "lifetime::", "isolation::", "proxy_ntlm::"],
    )
    .known(),
    row("bound.rs", "u32::try_from(connection.requests()).ok()?.saturating_sub(1)", "0", &["caps::"]),
    row("bound.rs", "            since: now(),", "            since: 0,", &["caps::"]),
    row(
        "idle.rs",
        "client.is_open() && client.number() == number",
        "client.is_open()",
        &["lifetime::masses::"],
    )
    .known(),
    row(
        "idle.rs",
        "client.is_open() && client.number() == number",
        "client.number() == number",
        &["lifetime::masses::"],
    )
    .known(),
];
