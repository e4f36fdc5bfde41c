//! Changes to reads and writes of nginx's structs.

use super::{CACHES, KEYS, Mutation, RESPONSES, RETRIES, SUBREQUESTS, TIMEOUTS, VARIABLES, WAYS, row};

pub const ROWS: &[Mutation] = &[
    // Connections.
    row("ngx/connection.rs", "read.eof() != 0\n                || ", "", &["lifetime::"]),
    row("ngx/connection.rs", "                || read.timedout() != 0\n", "", &["lifetime::"]).known(),
    row("ngx/connection.rs", "                || write.error() != 0\n", "", &["lifetime::", "faults::"])
        .known(),
    row("ngx/connection.rs", "                || self.is_held_up()\n", "", &["faults::renegotiations::"]),
    row(
        "ngx/connection.rs",
        "NGX_AGAIN as isize && !self.is_held_up()",
        "NGX_AGAIN as isize",
        &["faults::renegotiations::"],
    ),
    row(
        "ngx/connection.rs",
        "Address::v4(bytes.cast::<[u8; 4]>().read())",
        "Address::LOCAL",
        &["keys::", "fairness::", "scaling::"],
    ),
    row(
        "ngx/connection.rs",
        "if (*c).idle() == 0 || (*c).reusable() == 0",
        "if (*c).reusable() == 0",
        &["lifetime::expired_client", "lifetime::kept_clients::"],
    )
    .on_1_30()
    .known(),
    row("ngx/connection.rs", "|| (*c).reusable() == 0 ||", "||", &["lifetime::", "multiplexed::"]),
    row(
        "ngx/connection.rs",
        "(*c).udp.is_null() && self.has_unread_bytes()",
        "false",
        &["lifetime::request_that_came"],
    ),
    row(
        "ngx/connection.rs",
        ".is_some_and(|handler| handler as usize == close)",
        ".is_some_and(|handler| handler as usize == close && false)",
        &["faults::goodbyes::"],
    ),
    row(
        "ngx/connection.rs",
        "(*self.as_ptr()).error() != 0 || (*self.as_ptr()).timedout() != 0",
        "false",
        &["status::", "diagnoses::", "lifetime::aborts::"],
    ),
    row("ngx/connection.rs", "            (*c).set_idle(1);\n", "", &["lifetime::reloads::"]).known(),
    row("ngx/connection.rs", "            (*c).set_idle(0);\n", "", &["lifetime::reloads::"]).known(),
    row("ngx/pool.rs", "                    (*block).last = last;\n", "", &["smoke::", "isolation::"])
        .on_1_30(),
    row("ngx/pool.rs", "if last <= (*block).end {", "if true {", &["smoke::", "isolation::"]),
    row("ngx/connection.rs", "            (*c).sent = 0;\n", "", VARIABLES),
    row(
        "ngx/connection.rs",
        "        sooner < (timeout / 16)",
        "        true || sooner < (timeout / 16)",
        TIMEOUTS,
    ),
    row("ngx/connection.rs", "                && read.delayed() == 0\n", "", &["lifetime::"]).known(),
    row("ngx/connection.rs", "                && write.timer_set() == 0\n", "", &["lifetime::"]).known(),
    row("ngx/connection.rs", "                && !self.is_broken()\n", "", &["lifetime::", "faults::"]),
    row(
        "ngx/connection.rs",
        "                && read.ready() == 0\n",
        "",
        &["lifetime::end_arriving", "lifetime::responses::slow_readers"],
    ),
    row("ngx/connection.rs", "(timeout / 16).min(NGX_TIMER_LAZY_DELAY as usize)", "300", TIMEOUTS),
    row("ngx/connection.rs", "            (*reading).set_timedout(0);\n", "", &["lifetime::"]),
    row("ngx/upstream.rs", ".as_ref().filter(|first| first.next.is_null());", ".as_ref();", TIMEOUTS),
    row(
        "ngx/upstream.rs",
        "length <= AT_ONCE) && (*(*self.as_ptr()).conf).request_buffering != 0",
        "length <= AT_ONCE)",
        TIMEOUTS,
    ),
    row(
        "ngx/upstream.rs",
        "length.is_some_and(|length| length <= AT_ONCE) && ",
        "length.is_some() && ",
        TIMEOUTS,
    ),
    row("ngx/upstream.rs", " || self.ends_with_connection() || r.is_head()", " || r.is_head()", RESPONSES),
    row("ngx/upstream.rs", "self.is_cut_off() || self.ends_with", "self.ends_with", RESPONSES),
    row(
        "ngx/upstream.rs",
        " || self.ends_with_connection() || r.is_head()",
        " || self.ends_with_connection()",
        CACHES,
    ),
    row("ngx/connection.rs", "            (*reading).set_delayed(0);\n", "", &["lifetime::"]),
    // Upstreams.
    row(
        "ngx/upstream.rs",
        "schema.as_bytes().eq_ignore_ascii_case(known)",
        "schema.as_bytes() == *known",
        &["isolation::spellings::"],
    ),
    row(
        "ngx/upstream.rs",
        ".any(|page| usize::try_from(page.status) == Ok(status))",
        ".any(|_| true)",
        &["diagnoses::", "lifetime::responses::"],
    ),
    row("ngx/upstream.rs", " && !self.is_answered_stale() }", " }", CACHES),
    row(
        "ngx/upstream.rs",
        "                nginx_sys::NGX_HTTP_CACHE_STALE | nginx_sys::NGX_HTTP_CACHE_REVALIDATED\n",
        "                nginx_sys::NGX_HTTP_CACHE_STALE\n",
        CACHES,
    ),
    row("ngx/upstream.rs", "            (*self.as_ptr()).set_cacheable(0);\n", "", CACHES),
    row("ngx/upstream.rs", "            (*self.as_ptr()).set_store(0);\n", "", CACHES),
    row(
        "ngx/upstream.rs",
        "(*u).headers_in.connection_close() != 0\n                || ",
        "",
        &["lifetime::", "handshakes::"],
    ),
    row(
        "ngx/upstream.rs",
        "                || ((*u).request_body_sent() == 0 && (*(*u).conf).preserve_output() == 0)\n",
        "",
        RESPONSES,
    ),
    row("ngx/upstream.rs", "!matches!(answer.status_n, 204 | 304) && ", "", RESPONSES),
    row(
        "ngx/upstream.rs",
        "if !r.is_head() && !self.ends_with_connection() {",
        "if !self.ends_with_connection() {",
        CACHES,
    ),
    row(
        "ngx/upstream.rs",
        "if !r.is_head() && !self.ends_with_connection() {",
        "if !r.is_head() {",
        RESPONSES,
    ),
    row(
        "ngx/upstream.rs",
        " && !(*self.as_ptr()).peer.sockaddr.is_null() }",
        " }",
        &["isolation::", "guard::"],
    )
    .known(),
    row(
        "ngx/upstream.rs",
        "            if most != 0 && (*u).peer.tries > most {",
        "            if false {",
        RETRIES,
    ),
    row(
        "ngx/upstream.rs",
        "(*self.as_ptr()).create_request.map_or(0, |function| function as usize)",
        "0",
        WAYS,
    ),
    row("ngx/peer.rs", "            (*pc).set_cached(1);\n", "", RETRIES),
    row("ngx/peer.rs", "(*self.as_ptr()).tries = (*self.as_ptr()).tries.saturating_sub(1)", "()", RETRIES),
    // Requests.
    row(
        "ngx/request.rs",
        "return Connection::new((*(*stream.as_ptr()).connection).connection);",
        "let _ = stream;",
        &["multiplexed::"],
    ),
    row(
        "ngx/request.rs",
        "return Connection::new((*stream.as_ptr()).parent);",
        "let _ = stream;",
        &["multiplexed::"],
    )
    .on_1_30(),
    row(
        "ngx/request.rs",
        "self.each_header(|field, value| {\n            if field.as_bytes().eq_ignore_ascii_case(name)",
        "self.each_header(|field, value| {\n            if field.as_bytes() == name",
        KEYS,
    ),
    row(
        "ngx/request.rs",
        "ngx_http_upstream_ntlm_clear_keepalive((*self.as_ptr()).main);",
        "ngx_http_upstream_ntlm_clear_keepalive(self.as_ptr());",
        &["multiplexed::subrequests::", "lifetime::"],
    )
    .known(),
    row(
        "ngx/request.rs",
        "!(*self.as_ptr()).stream.is_null() }",
        "false }",
        &["multiplexed::", "diagnoses::"],
    ),
    row(
        "ngx/request.rs",
        "!r.is_null() && (*r).signature == NGX_HTTP_MODULE && (*r).connection == self.as_ptr()",
        "!r.is_null()",
        &["lifetime::keepalive_min_timeout"],
    )
    .on_1_30()
    .known(),
    row(
        "ngx/request.rs",
        "        if self.is_saying_goodbye() {\n            return None;\n        }\n",
        "",
        &["faults::goodbyes::"],
    ),
    row("ngx/bits.c", "(r->background && !r->subrequest_in_memory)", "r->background", SUBREQUESTS),
    row("ngx/bits.c", "\n           || r->main->post_action", "", SUBREQUESTS),
    row("ngx/bits.c", "(r->background && !r->subrequest_in_memory)", "0", SUBREQUESTS),
    row(
        "ngx/bits.c",
        "r->main->keepalive && clcf->keepalive_min_timeout > 0",
        "clcf->keepalive_min_timeout > 0",
        &["lifetime::kept_clients::", "lifetime::reloads::"],
    )
    .on_1_30()
    .known(),
];
