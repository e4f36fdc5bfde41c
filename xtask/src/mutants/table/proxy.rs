//! `proxy_ntlm`: the line, the server that a request asks for, and what is hidden from nginx meanwhile.

use super::{Mutation, row};

const SMOKE: &[&str] = &["proxy_ntlm::smoke::"];
const KINDS: &[&str] = &["proxy_ntlm::kinds::"];
const NAMES: &[&str] = &["proxy_ntlm::names::"];
const TOLD: &[&str] = &["proxy_ntlm::told::"];
const ERRORS: &[&str] = &["proxy_ntlm::errors::"];

pub const ROWS: &[Mutation] = &[
    // The line.
    row("proxy.rs", "        (*uc).upstream = &raw mut (*proxied).us;\n", "", SMOKE),
    row("proxy.rs", "            (*uc).local = &raw mut (*proxied).local;\n", "", SMOKE),
    row("proxy.rs", "            if has_ntlm(named) {\n", "            if false {\n", KINDS),
    row("proxy.rs", "None => child.place = parent.place,", "None => {}", KINDS),
    row("proxy.rs", "        (*proxied).bind = (*uc).local;\n", "", KINDS),
    row("proxy.rs", "        while is_taken(chosen.as_bytes()) {", "        while false {", TOLD),
    row("proxy.rs", "        if !on {\n", "        if false {\n", ERRORS),
    row("proxy.rs", "if place.replace(value).is_some() {", "if false {", ERRORS),
    // The server.
    row("target.rs", "                choose(r, u, proxied);\n", "", SMOKE),
    row("target.rs", "        } else if has_ntlm(group) {\n            return;\n", "", KINDS),
    row(
        "target.rs",
        "            if (*resolved).port == 0 && !is_unix {",
        "            if (*resolved).port == 0 {",
        KINDS,
    ),
    row("target.rs", "        (*u.as_ptr()).resolved = resolved;\n", "", SMOKE),
    row("target.rs", "            (*u.as_ptr()).upstream = proxied.named;\n", "", SMOKE),
    row("target.rs", "        (*u.as_ptr()).upstream = named;\n", "", SMOKE),
    row("target.rs", "(*u.as_ptr()).ssl_name = named.as_ref()", "let _ = named.as_ref()", KINDS),
    row("target.rs", "                (*e).line = text.as_raw();\n", "", KINDS),
    row("target.rs", "of_binding.sockaddr = room", "of_binding.addrs = room", NAMES),
    row("target.rs", "if !resolved.as_ref().sockaddr.is_null() {", "if true {", NAMES),
    // The binding.
    row("place.rs", "guarded.or((*us).peer.init)", "(*us).peer.init", KINDS),
    row("header_filter.rs", "peer.is_some_and(|peer| !peer.join()) || ", "", NAMES),
    row("peer/key.rs", "if self.group().by_server { self.u.site() }", "if false { self.u.site() }", NAMES),
    row("peer/free.rs", "if group.by_server { self.with_key", "if false { self.with_key", TOLD),
    row("diagnose.rs", "if group.by_server { ", "if false { ", TOLD),
];
