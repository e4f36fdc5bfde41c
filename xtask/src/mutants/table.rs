//! The project's own changes of the module: each is a defect, and the tests named beside it must fail.
//!
//! A row's text occurs exactly once in its file (a unit test and `tree::apply` see to that), so that the table cannot fall
//! behind the sources.

/// A change, and the tests that must notice it.
#[derive(Clone, Copy)]
pub struct Mutation {
    /// Below the module's sources.
    pub file: &'static str,
    /// What is there.
    pub text: &'static str,
    /// What takes its place.
    pub becomes: &'static str,
    /// Filters of the suite.
    pub tests: &'static [&'static str],
    /// The NGINX that it is tried on.
    pub nginx: &'static str,
    /// No test notices it; `docs/reliability.md` says why.
    pub known: bool,
}

impl Mutation {
    /// The path in the repository.
    pub fn path(&self) -> String {
        format!("crates/ngx-http-upstream-ntlm/src/{}", self.file)
    }

    /// The change in one line.
    pub fn change(&self) -> String {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("\"{}\" becomes \"{}\"", line(self.text), line(self.becomes))
    }

    const fn known(self) -> Self {
        Mutation { known: true, ..self }
    }

    const fn on_1_30(self) -> Self {
        Mutation { nginx: "1.30", ..self }
    }
}

const fn row(
    file: &'static str,
    text: &'static str,
    becomes: &'static str,
    tests: &'static [&'static str],
) -> Mutation {
    Mutation { file, text, becomes, tests, nginx: "1.22", known: false }
}

const CACHES: &[&str] = &["isolation::caches::"];
const GUARD: &[&str] = &["guard::"];
const LOCATIONS: &[&str] =
    &["isolation::spellings::", "isolation::credentials_that_a_location", "guard::ways::"];
const KEYS: &[&str] = &["keys::"];
const WAYS: &[&str] = &["isolation::ways::", "tls_upstream::another_way"];
const RETRIES: &[&str] = &["lifetime::retries::", "lifetime::next_upstream::"];
const VARIABLES: &[&str] = &["variables::", "proof::"];
const SUBREQUESTS: &[&str] = &["multiplexed::subrequests::", "multiplexed::njs::"];
const RESPONSES: &[&str] = &["lifetime::responses::"];
const OUTGOING: &[&str] = &["configuration::outgoing::", "diagnoses::", "isolation::spellings::trouble"];

/// The changes.
pub const TABLE: &[Mutation] = &[
    // The peer: what is looked at when a request arrives.
    row("peer.rs", "if status != Status::OK || !(credentials || may_change()) {", "if true {", GUARD),
    row("peer.rs", "    if credentials {\n        u.forbid_storing();\n    }\n", "", CACHES),
    row(
        "peer.rs",
        "    peer.token.set(true);\n",
        "",
        &["isolation::a_token_in_an_answer", "guard::token_in_an"],
    ),
    row("peer.rs", "    peer.token.set(true);\n    u.forbid_storing();", "    peer.token.set(true);", CACHES),
    row(
        "peer.rs",
        "            peer.source.set(Source::Original);\n            peer\n",
        "            peer\n",
        &["isolation::a_token_in_an_answer", "guard::"],
    ),
    row(
        "peer.rs",
        "(r.upstream()? == peer.u).then_some(peer)",
        "Some(peer)",
        &["multiplexed::subrequests::redirects", "guard::ways::"],
    ),
    row(
        "peer.rs",
        "if known.is_none() && !credentials && !may_change() {",
        "if !credentials {",
        &["smoke::"],
    ),
    row(
        "peer.rs",
        "let credentials = Carried::by(r, u).any();\n        if known",
        "let credentials = false;\n        if known",
        &["isolation::a_ticket", "handshakes::"],
    ),
    row("peer.rs", "        outgoing.lift_defaults();\n", "", OUTGOING),
    row("peer.rs", "            Outgoing::of(u).lift_defaults_in_force();\n", "", OUTGOING),
    row(
        "peer.rs",
        "        {\n            u.forbid_storing();\n            peer.source",
        "        {\n            peer.source",
        CACHES,
    ),
    row("peer.rs", ".filter(|key| !key.as_bytes().is_empty())", "", KEYS),
    row(
        "peer.rs",
        "r.evaluate(key, Slice::EMPTY).filter(|key| !key.as_bytes().is_empty())",
        "Some(Slice::EMPTY)",
        KEYS,
    ),
    row(
        "peer.rs",
        ".key.is_null() { forwarded::digest(r) } else { Digest::NONE }",
        ".key.is_null() { Digest::NONE } else { Digest::NONE }",
        KEYS,
    ),
    row(
        "peer.rs",
        "if unsafe { group.as_ref() }.key.is_null() { forwarded::digest(r) }",
        "if true { forwarded::digest(r) }",
        KEYS,
    ),
    row(
        "peer.rs",
        "        if self.r.is_background() {\n            return None;\n        }\n",
        "",
        SUBREQUESTS,
    ),
    row("peer.rs", "|bound| *bound.transport() == transport", "|_| true", WAYS),
    row("peer.rs", "logins.is_some_and(|logins| logins.challenged)", "true", VARIABLES),
    row(
        "peer.rs",
        "                    self.notes.set(logins.map(|logins| logins.notes));\n",
        "",
        &["variables::", "multiplexed::"],
    ),
    row(
        "peer.rs",
        "if with_table(|table| table.end(binding)).flatten().is_some() {\n                    c.close();\n                }",
        "with_table(|table| table.end(binding));",
        WAYS,
    ),
    row("peer.rs", "Claim::Lost => self.lose(),", "Claim::Lost => {}", RETRIES),
    row("peer.rs", "            bound.connection().wake();\n", "", &["smoke::", "lifetime::reloads::"]),
    row(
        "peer.rs",
        "matches!(self.source.get(), Source::Original).then(",
        "true.then(",
        &["lifetime::tls_upstream::", "balancing::"],
    ),
    // The peer: what a response's header says.
    row("peer/answer.rs", "\n            && !self.lost.get()", "", RETRIES),
    row(
        "peer/answer.rs",
        "            && !self.token.get()\n",
        "",
        &["isolation::", "lifetime::responses::", "diagnoses::"],
    ),
    row("peer/answer.rs", "        self.u.forbid_storing();\n", "", CACHES),
    row("peer/answer.rs", "!self.u.will_not_be_kept_alive(self.r)", "true", RESPONSES),
    row("peer/answer.rs", "!self.u.is_answered_stale()", "true", CACHES),
    row("peer/answer.rs", "if verdict.client == Client::Leaves {", "if false {", RESPONSES),
    row(
        "peer/answer.rs",
        "if self.lost.get() {\n                    self.dismiss_client();",
        "if false {\n                    self.dismiss_client();",
        RETRIES,
    ),
    row("peer/answer.rs", "\n            && !exchange.guarded", "", &["guard::", "diagnoses::"]),
    // The peer: what becomes of a connection.
    row(
        "peer/free.rs",
        "            _ if state & NGX_PEER_FAILED as ngx_uint_t != 0 => Outcome::Failed,\n",
        "",
        RETRIES,
    ),
    row(
        "peer/free.rs",
        "            _ if state & NGX_PEER_NEXT as ngx_uint_t != 0 => Outcome::Next,\n",
        "",
        RETRIES,
    ),
    row(
        "peer/free.rs",
        "                Ok(()) => {\n                    pc.set_connection(None);\n",
        "                Ok(()) => {\n",
        &["smoke::"],
    ),
    row(
        "peer/free.rs",
        "        with_table(|table| table.end(bound.binding()));\n        if",
        "        if",
        RETRIES,
    ),
    row(
        "peer/free.rs",
        "        if outcome == Outcome::Failed {\n            self.lose();\n        }\n",
        "",
        &["variables::", "status::", "lifetime::retries::"],
    ),
    row("peer/free.rs", "        self.lost.set(true);\n", "", RETRIES),
    row(
        "peer/free.rs",
        "        self.after_end(bound.connection(), end, &exchange);\n",
        "",
        &["lifetime::", "diagnoses::"],
    ),
    row("peer/free.rs", "            self.u.limit_tries();\n", "", RETRIES),
    row("peer/free.rs", "            pc.charge_try();\n", "", RETRIES),
    row(
        "peer/free.rs",
        "if outcome == Outcome::Failed && self.init_original() == Status::OK {",
        "if false {",
        &["lifetime::retries::", "balancing::"],
    ),
    row(
        "peer/free.rs",
        "if may_change() && Carried::by(self.r, self.u).any() {",
        "if false {",
        &["isolation::credentials_that_a_location", "configuration::outgoing::a_retry"],
    ),
    row("peer/free.rs", "if verdict.connection == Fate::PassOn {", "if true {", &["isolation::"]),
    row("peer/free.rs", "        self.u.forbid_keepalive();\n", "", &["isolation::", "guard::"]),
    row(
        "peer/free.rs",
        "        self.u.forbid_keepalive();\n        pc.set_connection(None);\n",
        "        self.u.forbid_keepalive();\n",
        &["isolation::", "guard::"],
    ),
    row(
        "peer/free.rs",
        "        self.u.forbid_keepalive();\n        pc.set_connection(None);\n",
        "",
        &["isolation::", "guard::"],
    ),
    row(
        "peer/free.rs",
        "        self.original.get().free(pc, state);\n        if let",
        "        if let",
        &["balancing::"],
    ),
    row("peer/free.rs", "            pc.set_connection(Some(c));\n", "", &["guard::", "keys::"]),
    row("peer/free.rs", "if !c.watch_for_reading() {", "if false {", &["faults::"]),
    row("peer/free.rs", "            table.set_progress(bound.binding(), progress);\n", "", VARIABLES),
    row("peer/free.rs", "            idle::close(ended, End::Evicted);\n", "", &["eviction::"]),
    row(
        "peer/free.rs",
        "        idle::park(bound, expire_by);\n",
        "",
        &["lifetime::an_", "lifetime::a_binding"],
    ),
    row(
        "peer/free.rs",
        "if of_most { Diagnosis::OneAddress } else { Diagnosis::TooSmall }",
        "Diagnosis::TooSmall",
        &["diagnoses::", "fairness::"],
    ),
    row("peer/free.rs", "c.is_none_or(Connection::is_broken)", "false", &["lifetime::", "faults::"]),
    row(
        "peer/free.rs",
        "kept_alive: self.u.is_kept_alive(),",
        "kept_alive: true,",
        &["lifetime::responses::", "handshakes::"],
    ),
    row(
        "peer/free.rs",
        "request_sent: self.u.is_request_sent(),",
        "request_sent: true,",
        &["lifetime::responses::", "diagnoses::"],
    ),
    row("peer/free.rs", "lost: self.lost.get(),", "lost: false,", RETRIES),
    row("peer/free.rs", "background: self.r.is_background(),", "background: false,", SUBREQUESTS),
    row("peer/free.rs", "keyed: self.chosen.is_some(),", "keyed: true,", KEYS),
    row("peer/free.rs", "            token: self.token.get(),", "            token: false,", VARIABLES),
    row("peer/free.rs", "from_cache: self.u.is_answered_from_cache(),", "from_cache: false,", CACHES),
    row("peer/free.rs", "replaced: self.r.replaces(self.u, status),", "replaced: false,", &["diagnoses::"]),
    row(
        "peer/free.rs",
        "is_exiting() && !self.r.is_client_kept_through_exit()",
        "false",
        &["lifetime::reloads::"],
    ),
    row(
        "peer/free.rs",
        "is_exiting() && !self.r.is_client_kept_through_exit()",
        "is_exiting()",
        &["lifetime::kept_clients::"],
    )
    .on_1_30(),
    row(
        "peer/free.rs",
        "client_gone: self.r.connection().is_given_up(),",
        "client_gone: false,",
        &["diagnoses::"],
    ),
    row(
        "peer/free.rs",
        "requests: bound.map_or(1, Bound::carried),",
        "requests: 1,",
        &["caps::", "isolation::a_connection"],
    ),
    row(
        "peer/free.rs",
        "age: bound.map_or(0, Bound::age),",
        "age: 0,",
        &["caps::", "isolation::a_connection"],
    ),
    row(
        "peer/free.rs",
        "progress: progress.unwrap_or_default(),",
        "progress: Progress::default(),",
        &["proof::"],
    ),
    row(
        "peer/free.rs",
        "[&method, &host, &field, &target]",
        "[&method, &host, &field, &method]",
        &["proof::"],
    ),
    row("peer/free.rs", "[&method, &host, &field, &target]", "[&method, &target]", &["proof::"]),
    row("peer/free.rs", "[&method, &host, &field, &target]", "[&host, &field, &target]", &["proof::"]),
    row(
        "peer/free.rs",
        "if self.r.is_plain_method() { Slice::EMPTY }",
        "if false { Slice::EMPTY }",
        &["proof::"],
    ),
    row(
        "peer/free.rs",
        "if by_server && self.r.connection().is_given_up()",
        "if by_server && false",
        &["status::", "lifetime::aborts::"],
    ),
    row(
        "peer/free.rs",
        "if shared != Some(true) {",
        "if true {",
        &["keys::", "scaling::", "floods::a_client"],
    ),
    // The peer: who is logged in.
    row(
        "peer/login.rs",
        "if !self.credentials.get() || self.group().is_guarded() {",
        "if !self.credentials.get() {",
        &["guard::", "variables::"],
    ),
    row(
        "peer/login.rs",
        "self.u.status() == 0 || self.u.is_answered_from_cache()",
        "self.u.status() == 0",
        &["isolation::caches::", "variables::"],
    ),
    row("peer/login.rs", "if matches!(step, Step::GoesOn | Step::Refused) {", "if false {", VARIABLES),
    row(
        "peer/login.rs",
        "Some(login) if step == Step::Proven => Change::To(login),",
        "Some(login) if true => Change::To(login),",
        VARIABLES,
    ),
    row("peer/login.rs", "Some(login) if login.user.is_empty() && self", "Some(login) if self", VARIABLES),
    row(
        "peer/login.rs",
        "(alone || Some(logins.notes) == self.notes.get())",
        "true",
        &["variables::", "multiplexed::"],
    ),
    row(
        "peer/login.rs",
        "            self.notes.set(table.logins(id).map(|logins| logins.notes));\n",
        "",
        &["variables::", "multiplexed::"],
    ),
    row(
        "peer/login.rs",
        "if !self.credentials.get() || self.step() != Step::Refused {",
        "if !self.credentials.get() {",
        VARIABLES,
    ),
    // Credentials: where a request may have them.
    row(
        "credentials.rs",
        "            && !(location.replaces_authorization && u.speaks_http())\n",
        "",
        LOCATIONS,
    ),
    row(
        "credentials.rs",
        "!(location.replaces_authorization && u.speaks_http())",
        "!location.replaces_authorization",
        LOCATIONS,
    ),
    row("credentials.rs", "!(location.replaces_proxy_authorization && u.speaks_http())", "true", LOCATIONS),
    row(
        "credentials.rs",
        "(PROXY_AUTHORIZATION.load(Relaxed) || CHANGEABLE.load(Relaxed))",
        "false",
        &["isolation::proxy_authorization::"],
    ),
    row("credentials.rs", "if !location.puts_credentials {", "if true {", LOCATIONS),
    row(
        "credentials.rs",
        "Err(Unreadable) => Carried::Unreadable,",
        "Err(Unreadable) => Carried::Nowhere,",
        &["isolation::ways::", "guard::ways::"],
    ),
    row(
        "credentials.rs",
        "r.authorization().filter(|value| is_bound(value.as_bytes()))",
        "r.authorization()",
        &["isolation::credentials_of_other", "handshakes::other"],
    ),
    row(
        "credentials.rs",
        "found.or(Some(value).filter(|value| is_bound(value.as_bytes())))",
        "found.or(Some(value))",
        &["isolation::proxy_authorization::", "guard::login_to_a_proxy"],
    ),
    row("credentials.rs", "self.login.filter(|_| challenged)", "self.login", VARIABLES),
    // Fields: what is looked at as it is parsed.
    row(
        "fields.rs",
        "    forwarded::expect();\n    // SAFETY: see above.\n    unsafe { X_FORWARDED_FOR",
        "    // SAFETY: see above.\n    unsafe { X_FORWARDED_FOR",
        KEYS,
    ),
    row(
        "fields.rs",
        "    forwarded::expect();\n    // SAFETY: see above.\n    unsafe { FORWARDED_FIELD",
        "    // SAFETY: see above.\n    unsafe { FORWARDED_FIELD",
        KEYS,
    ),
    row(
        "fields.rs",
        "    forwarded::expect();\n    // SAFETY: see above.\n    unsafe { X_REAL_IP",
        "    // SAFETY: see above.\n    unsafe { X_REAL_IP",
        KEYS,
    ),
    row(
        "fields.rs",
        "            credentials::expect_proxy_authorization();\n",
        "",
        &["isolation::proxy_authorization::"],
    ),
    row(
        "fields.rs",
        "unsafe { on_answer(r, h, offset, &WWW_AUTHENTICATE) }",
        "unsafe { WWW_AUTHENTICATE.call(r, h, offset) }",
        &["isolation::a_token_in_an_answer", "guard::token_in_an"],
    ),
    row(
        "fields.rs",
        "unsafe { on_answer(r, h, offset, &PROXY_AUTHENTICATE) }",
        "unsafe { PROXY_AUTHENTICATE.call(r, h, offset) }",
        &["isolation::proxy_authorization::"],
    ),
    row("fields.rs", "            return Status::ERROR.0;\n", "", &["faults::a_token"]),
    // The outgoing request.
    row("outgoing.rs", "for letter in RARE_LETTER {", "for letter in [RARE_LETTER[0]] {", LOCATIONS),
    row("outgoing.rs", "at += next + 1;", "break;", LOCATIONS),
    row("outgoing.rs", "line.eq_ignore_ascii_case(CLOSE)", "*line == *CLOSE", OUTGOING),
    row("outgoing.rs", "name.eq_ignore_ascii_case(NAME)", "name == NAME", OUTGOING),
    row(
        "outgoing.rs",
        "option.trim_ascii().eq_ignore_ascii_case(b\"close\")",
        "option.trim_ascii() == b\"close\"",
        OUTGOING,
    ),
    row(
        "outgoing.rs",
        "header.bytes().starts_with(OLD_VERSION) && u.speaks_http()",
        "header.bytes().starts_with(OLD_VERSION)",
        OUTGOING,
    ),
    row(
        "outgoing.rs",
        "header.bytes().starts_with(NEW_VERSION) && u.speaks_http()",
        "header.bytes().starts_with(NEW_VERSION)",
        OUTGOING,
    ),
    // Locations.
    row("location.rs", "|= may_put_credentials(name, field.value.as_bytes());", "|= false;", LOCATIONS),
    row("location.rs", "if directive.as_bytes() == b\"proxy_set_header\" {", "if true {", LOCATIONS),
    row(
        "location.rs",
        "|= name.eq_ignore_ascii_case(b\"authorization\");",
        "|= name == b\"authorization\";",
        LOCATIONS,
    ),
    row(
        "location.rs",
        "name.eq_ignore_ascii_case(b\"proxy-authorization\");",
        "name == b\"proxy-authorization\";",
        LOCATIONS,
    ),
    row(
        "location.rs",
        "command.name.as_bytes().ends_with(b\"_set_header\")",
        "command.name.as_bytes() == b\"proxy_set_header\"",
        &["isolation::ways::", "guard::ways::"],
    ),
    row(
        "location.rs",
        "CHANGING.contains(&core::ffi::CStr::from_ptr(name).to_bytes())",
        "CHANGING.is_empty()",
        &["isolation::", "guard::", "configuration::"],
    ),
    // Whom a proxy in front speaks for.
    row("forwarded.rs", "[b\"x-forwarded-for\",", "[b\"-\",", KEYS),
    row("forwarded.rs", " b\"forwarded\",", " b\"-\",", KEYS),
    row("forwarded.rs", " b\"x-real-ip\"]", " b\"-\"]", KEYS),
    row("forwarded.rs", "[&before, name, value.as_bytes()]", "[&[], name, value.as_bytes()]", KEYS),
    row("forwarded.rs", "[&before, name, value.as_bytes()]", "[&before, &[], value.as_bytes()]", KEYS),
    // The way to a server.
    row("transport.rs", "protocol: u.protocol(),", "protocol: 0,", WAYS),
    row("transport.rs", "local_address: u.peer().local_address(),", "local_address: Slice::EMPTY,", WAYS),
    row("transport.rs", "if u.is_tls() { Some(Tls::of(r, u)?) } else { None }", "None", WAYS),
    row(
        "transport.rs",
        "(self.verify == other.verify && (!self.verify || self.context == other.context))",
        "self.verify == other.verify",
        WAYS,
    ),
    row(
        "transport.rs",
        "(self.verify == other.verify && (!self.verify || self.context == other.context))",
        "(!self.verify || self.context == other.context)",
        WAYS,
    ),
    row(
        "transport.rs",
        "(!self.verify || self.context == other.context)",
        "self.context == other.context",
        &["configuration::examples", "isolation::many", "isolation::ways::"],
    ),
    row("transport.rs", "            && self.server_name == other.server_name\n", "", WAYS),
    row("transport.rs", "            && self.name == other.name\n", "", WAYS),
    row(
        "transport.rs",
        "            && self.certificate == other.certificate\n            && self.certificate_key == other.certificate_key\n",
        "",
        WAYS,
    ),
    row(
        "transport.rs",
        "certificate: r.evaluate(conf.certificate, Slice::EMPTY)?,\n            certificate_key: r.evaluate(conf.certificate_key, Slice::EMPTY)?,",
        "certificate: r.evaluate(conf.certificate, Slice::EMPTY).unwrap_or(Slice::EMPTY),\n            certificate_key: r.evaluate(conf.certificate_key, Slice::EMPTY).unwrap_or(Slice::EMPTY),",
        &["faults::a_certificate"],
    ),
    // Waiting.
    row(
        "idle.rs",
        "    if c.is_read_ready() {\n        on_readable(bound);\n    }\n",
        "",
        &["lifetime::an_"],
    ),
    row("idle.rs", "    STAND_IN.stand();\n", "", &["eviction::a_shortage", "fairness::shortage"]),
    row(
        "idle.rs",
        "        TIMER.go_off_by(time);\n    }\n    // SAFETY",
        "        let _ = time;\n    }\n    // SAFETY",
        &["lifetime::a_binding", "lifetime::each"],
    ),
    row("idle.rs", "    if bound.is_closing() {\n        return;\n    }\n", "", &["lifetime::masses::"]),
    row(
        "idle.rs",
        "c.is_closing_by_force() || !is_client_kept(bound)",
        "c.is_closing_by_force()",
        &["lifetime::reloads::", "lifetime::kept_clients::"],
    )
    .on_1_30(),
    row(
        "idle.rs",
        "c.is_closing_by_force() || !is_client_kept(bound)",
        "!is_client_kept(bound)",
        &["lifetime::reloads::", "lifetime::kept_clients::"],
    )
    .on_1_30(),
    row(
        "idle.rs",
        "c.is_closing_by_force() || !is_client_kept(bound)",
        "true",
        &["lifetime::reloads::", "lifetime::kept_clients::"],
    )
    .on_1_30(),
    row("idle.rs", "        c.stay();\n", "", &["lifetime::kept_clients::"]).on_1_30(),
    row("idle.rs", "Readable::Data => end(bound, End::UnsolicitedData),", "Readable::Data => {}", RESPONSES),
    row(
        "idle.rs",
        "Readable::Closed => end(bound, End::ServerClosed),",
        "Readable::Closed => {}",
        &["lifetime::an_"],
    ),
    row("idle.rs", "                && ended.phase == Some(Phase::Handshaking)\n", "", &["diagnoses::"]),
    row("idle.rs", "                && challenged == Some(true)\n", "", &["diagnoses::"]),
    row("idle.rs", "                && now().saturating_sub(bound.parked()) < LEG\n", "", &["diagnoses::"]),
    row(
        "idle.rs",
        "(!ended.shared).then_some(ended.client)",
        "Some(ended.client)",
        &["keys::", "scaling::", "floods::a_client"],
    ),
    row("idle.rs", "if ROW.closed.get() < BATCH {", "if true {", &["lifetime::masses::"]),
    row("idle.rs", "} else if bound.is_http1() {", "} else {", &["multiplexed::"]),
    row("idle.rs", "if client.close_if_unused() {", "if false {", &["lifetime::an_", "lifetime::a_binding"]),
    row(
        "idle.rs",
        "            unsafe { client.close_after_request() };\n",
        "",
        &["eviction::a_client", "lifetime::a_client_connection"],
    ),
    row("module.rs", "    idle::close_row();\n", "", &["lifetime::masses::", "lifetime::reloads::"]),
    // Clients.
    row(
        "client.rs",
        "        leave(unsafe { id.read() });\n",
        "        let _ = id;\n",
        &["lifetime::a_client_connection", "isolation::the_next_client"],
    ),
    row("client.rs", "        leave(id);\n        return", "        return", &["faults::memory"]),
    row("bound.rs", "connection.requests().saturating_sub(1)", "0", &["caps::"]),
    row("bound.rs", "            since: now(),", "            since: 0,", &["caps::"]),
    row(
        "bound.rs",
        "(client.is_open() && client.number() == number)",
        "client.is_open()",
        &["lifetime::masses::"],
    ),
    row(
        "bound.rs",
        "(client.is_open() && client.number() == number)",
        "(client.number() == number)",
        &["lifetime::masses::"],
    ),
    // The response's header.
    row("header_filter.rs", "Some(peer) => peer.on_response_header(),", "Some(_) => {}", RESPONSES),
    row(
        "header_filter.rs",
        "if !is_group && u.speaks_http() && Carried",
        "if u.speaks_http() && Carried",
        &["guard::directive::"],
    ),
    row(
        "header_filter.rs",
        "if !is_group && u.speaks_http() && Carried",
        "if !is_group && Carried",
        &["guard::directive::", "configuration::outgoing::"],
    ),
    // Directives.
    row("conf.rs", "if (*conf).connections == 0 && guard == OFF {", "if guard == OFF {", GUARD),
    row("conf.rs", "if (*conf).connections == 0 && guard == OFF {", "if (*conf).connections == 0 {", GUARD),
    row("conf.rs", "if (*conf).connections == 0 && guard == OFF {", "if false {", GUARD),
    row(
        "conf.rs",
        "if (*conf).guard == 0 { (*http.cast::<Conf>()).guard } else { (*conf).guard }",
        "(*conf).guard",
        GUARD,
    ),
    row(
        "conf.rs",
        "if (*conf).guard == 0 { (*http.cast::<Conf>()).guard } else { (*conf).guard }",
        "(*http.cast::<Conf>()).guard",
        GUARD,
    ),
    row(
        "conf.rs",
        "(true, true) => (conf.guard_said, \"beside\"),",
        "",
        &["guard::directive::", "configuration::"],
    ),
    row("conf.rs", "(2, \"a number", "(1, \"a number", &["configuration::a_number"]),
    row(
        "conf.rs",
        "word.eq_ignore_ascii_case(b\"off\")",
        "word == b\"off\"",
        &["guard::directive::", "configuration::every_good"],
    ),
    row(
        "conf.rs",
        "word.eq_ignore_ascii_case(b\"on\")",
        "word == b\"on\"",
        &["guard::directive::", "configuration::every_good"],
    ),
    row(
        "module.rs",
        "conf::set_up_group(us, http, GroupId(id))",
        "conf::set_up_group(us, http, GroupId(id & 0))",
        &["balancing::naming::", "isolation::two_groups", "handshakes::two_groups"],
    ),
    // Connections.
    row("ngx/connection.rs", "read.eof() != 0\n                || ", "", &["lifetime::"]),
    row("ngx/connection.rs", "                || read.timedout() != 0\n", "", &["lifetime::"]),
    row("ngx/connection.rs", "                || write.error() != 0\n", "", &["lifetime::", "faults::"]),
    row("ngx/connection.rs", "                || self.is_held_up()\n", "", &["faults::renegotiations::"]),
    row(
        "ngx/connection.rs",
        "NGX_AGAIN as isize && !self.is_held_up()",
        "NGX_AGAIN as isize",
        &["faults::renegotiations::"],
    ),
    row(
        "ngx/connection.rs",
        "Slice::from_raw((*self.as_ptr()).addr_text)",
        "Slice::EMPTY",
        &["keys::", "fairness::", "scaling::"],
    ),
    row(
        "ngx/connection.rs",
        "if (*c).idle() == 0 || (*c).reusable() == 0",
        "if (*c).reusable() == 0",
        &["lifetime::", "eviction::"],
    ),
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
    row("ngx/connection.rs", "            (*c).set_idle(1);\n", "", &["lifetime::reloads::"]),
    row(
        "ngx/connection.rs",
        "            if (*reading).timer_set() != 0 {\n                ngx_del_timer(reading);\n            }\n",
        "",
        &["lifetime::what_nginx", "lifetime::a_slow"],
    ),
    row("ngx/connection.rs", "            (*c).set_idle(0);\n", "", &["lifetime::reloads::"]),
    row(
        "ngx/connection.rs",
        "            (*c).sent = 0;\n",
        "",
        &["balancing::the_access_log", "lifetime::retries::", "variables::"],
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
    row("ngx/upstream.rs", "!matches!(status, 204 | 304) && ", "", RESPONSES),
    row(
        "ngx/upstream.rs",
        "has_body && (r.is_head() || (length < 0 && !chunked))",
        "has_body && length < 0 && !chunked",
        CACHES,
    ),
    row(
        "ngx/upstream.rs",
        "has_body && (r.is_head() || (length < 0 && !chunked))",
        "has_body && r.is_head()",
        RESPONSES,
    ),
    row(
        "ngx/upstream.rs",
        " && !(*self.as_ptr()).peer.sockaddr.is_null() }",
        " }",
        &["isolation::", "guard::"],
    ),
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
        "field.key.as_bytes().eq_ignore_ascii_case(name)",
        "field.key.as_bytes() == name",
        KEYS,
    ),
    row(
        "ngx/request.rs",
        "ngx_http_upstream_ntlm_clear_keepalive((*self.as_ptr()).main);",
        "ngx_http_upstream_ntlm_clear_keepalive(self.as_ptr());",
        &["multiplexed::subrequests::", "lifetime::"],
    ),
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
        &["lifetime::a_client_connection"],
    )
    .on_1_30(),
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
    .on_1_30(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::tree::{apply, text_of};
    use crate::{nginx::Nginx, paths};

    #[test]
    fn each_text_occurs_once_in_its_file() {
        let errors: Vec<String> = TABLE
            .iter()
            .filter_map(|row| apply(row, &text_of(row)).err())
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn rows_change_something_and_name_an_nginx() {
        for row in TABLE {
            assert!(row.text != row.becomes && !row.tests.is_empty(), "{}", row.change());
            assert!(Nginx::named(row.nginx).is_ok(), "{}", row.change());
        }
    }

    #[test]
    fn known_survivors_are_in_the_page() {
        let page = std::fs::read_to_string(paths::repo().join("docs/reliability.md")).unwrap_or_default();
        for row in TABLE.iter().filter(|row| row.known) {
            assert!(page.contains(row.file), "docs/reliability.md does not name {}", row.file);
        }
    }
}
