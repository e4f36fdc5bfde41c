//! Requests: credentials, fields, locations, directives, the way to a server.

use super::{GUARD, KEYS, LOCATIONS, Mutation, OUTGOING, RESPONSES, VARIABLES, WAYS, row};

const LINE_ENDS: &[&str] = &["isolation::line_ends::"];

pub const ROWS: &[Mutation] = &[
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
        "if ALERT.load(Relaxed) != 0\n            && !(location",
        "if false\n            && !(location",
        &["isolation::proxy_authorization::"],
    ),
    row(
        "credentials.rs",
        "match location.puts_credentials || may_change() {",
        "match may_change() {",
        LOCATIONS,
    ),
    row("credentials.rs", "            || brings_lines(r, u)\n", "", LINE_ENDS),
    row("credentials.rs", "_ if brings_lines(r, u) => Carried::Unreadable,", "", LINE_ENDS),
    row(
        "peer/login.rs",
        "Credentials::read(Carried::in_field(self.r, self.u).ok()??.as_bytes())",
        "match Carried::by(self.r, self.u) { Carried::Field(value) => Credentials::read(value.as_bytes()), _ => None }",
        LINE_ENDS,
    ),
    row(
        "credentials.rs",
        "location.varies_target || r.has_changed_target()",
        "r.has_changed_target()",
        LINE_ENDS,
    ),
    row(
        "credentials.rs",
        "location.varies_target || r.has_changed_target()",
        "location.varies_target",
        LINE_ENDS,
    ),
    row(
        "ngx/request.rs",
        "self.has_changed_path() || self.has_changed_arguments()",
        "self.has_changed_path()",
        LINE_ENDS,
    )
    .known(),
    row("credentials.rs", "            && !Location::of(r).may_taint\n", "", LINE_ENDS),
    row("credentials.rs", "\n            && !r.has_changed_target();", ";", LINE_ENDS),
    row(
        "location.rs",
        "(*child).puts_credentials || (*child).varies_target",
        "(*child).varies_target",
        LOCATIONS,
    ),
    row(
        "location.rs",
        "(*child).puts_credentials || (*child).varies_target",
        "(*child).puts_credentials",
        LINE_ENDS,
    ),
    row("location.rs", " || !(*child).values.is_null();", ";", LINE_ENDS),
    row("credentials.rs", " || (!location.values.is_null() && has_broken_value(r, location))", "", LINE_ENDS),
    row("location.rs", "proxy::has_variables(cf) || may_method", "may_method", LINE_ENDS),
    row(
        "location.rs",
        "proxy::has_variables(cf) || may_method_break_lines(cf)",
        "proxy::has_variables(cf)",
        LINE_ENDS,
    ),
    row(
        "location.rs",
        "if may_break_lines(field.value.as_bytes(), |name| is_set(cf, name))",
        "if may_break_lines(field.value.as_bytes(), |_| false)",
        LINE_ENDS,
    ),
    row(
        "credentials.rs",
        "Err(Unreadable) if Location::of(r).puts_credentials => Carried::Unreadable,",
        "",
        &["isolation::ways::", "guard::ways::"],
    ),
    row(
        "credentials.rs",
        "r.authorization().filter(|value| is_bound(value.as_bytes()))",
        "r.authorization()",
        &["isolation::schemes::other", "handshakes::tokens::"],
    ),
    row(
        "credentials.rs",
        "found.or(Some(value).filter(|value| is_bound(value.as_bytes())))",
        "found.or(Some(value))",
        &["isolation::proxy_authorization::", "guard::login_to_a_proxy"],
    ),
    row("credentials.rs", "self.login.filter(|_| challenged)", "self.login", VARIABLES),
    // Fields: what is looked at as it is parsed.
    row("fields.rs", "    peer::expect_forwarded();\n", "", KEYS),
    row("fields.rs", "\"x-forwarded-for\"", "\"x-forwarded\"", KEYS),
    row("fields.rs", "\"forwarded\"", "\"x-forwarded\"", KEYS),
    row("fields.rs", "\"x-real-ip\"", "\"x-real\"", KEYS),
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
        &["isolation::token_in_an_answer", "guard::token_in_an"],
    ),
    row(
        "fields.rs",
        "unsafe { on_answer(r, h, offset, &PROXY_AUTHENTICATE) }",
        "unsafe { PROXY_AUTHENTICATE.call(r, h, offset) }",
        &["isolation::proxy_authorization::"],
    ),
    row("fields.rs", "            return Status::ERROR.0;\n", "", &["faults::answer_token"]),
    // The outgoing request.
    row("outgoing.rs", "for letter in RARE_LETTER {", "for letter in [RARE_LETTER[0]] {", LOCATIONS),
    row("outgoing.rs", "at += next + 1;", "break;", LOCATIONS),
    row("outgoing.rs", "line.eq_ignore_ascii_case(CLOSE)", "*line == CLOSE", OUTGOING),
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
    )
    .known(),
    row(
        "outgoing.rs",
        "header.bytes().starts_with(NEW_VERSION) && u.speaks_http()",
        "header.bytes().starts_with(NEW_VERSION)",
        OUTGOING,
    )
    .known(),
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
    row("location.rs", "value.contains(&b'$') || ", "", OUTGOING),
    row("location.rs", "value.eq_ignore_ascii_case(b\"close\")", "value == b\"close\"", OUTGOING),
    row("location.rs", " && is_after_http_1_0(cf);", ";", OUTGOING),
    row("peer.rs", "Location::of(r).replaces_defaults && !may_change()", "true", OUTGOING),
    row(
        "location.rs",
        "CHANGING.contains(&name_of(module))",
        "CHANGING.is_empty()",
        &["isolation::", "guard::", "configuration::"],
    )
    .known(),
    // Whom a proxy in front speaks for.
    row("peer/key.rs", "[b\"x-forwarded-for\",", "[b\"-\",", KEYS),
    row("peer/key.rs", " b\"forwarded\",", " b\"-\",", KEYS),
    row("peer/key.rs", " b\"x-real-ip\"]", " b\"-\"]", KEYS),
    row("peer/key.rs", "[&before, name, value.as_bytes()]", "[&[], name, value.as_bytes()]", KEYS),
    row("peer/key.rs", "[&before, name, value.as_bytes()]", "[&before, &[], value.as_bytes()]", KEYS),
    // The way to a server.
    row(
        "bound.rs",
        "self.has_no_tls() && self.local_address.as_bytes().is_empty()",
        "self.has_no_tls()",
        WAYS,
    ),
    row("bound.rs", "local_address: keep(self.local_address)?,", "local_address: self.local_address,", WAYS),
    row("bound.rs", "self.has_no_tls() && self.protocol == u.protocol() && ", "self.has_no_tls() && ", WAYS),
    row("bound.rs", " && self.local_address == u.peer().local_address()", "", WAYS),
    row("bound.rs", "self.has_no_tls() && self.protocol == u", "self.protocol == u", WAYS),
    row("bound.rs", "self.protocol == other.protocol && ", "", WAYS),
    row("bound.rs", "self.local_address == other.local_address && ", "", WAYS),
    row("bound.rs", "if u.is_tls() { Some(Tls::of(r, u)?) } else { None }", "None", WAYS),
    row(
        "bound.rs",
        "(self.verify == other.verify && (!self.verify || self.context == other.context))",
        "self.verify == other.verify",
        WAYS,
    ),
    row(
        "bound.rs",
        "(self.verify == other.verify && (!self.verify || self.context == other.context))",
        "(!self.verify || self.context == other.context)",
        WAYS,
    ),
    row(
        "bound.rs",
        "(!self.verify || self.context == other.context)",
        "self.context == other.context",
        &["configuration::examples", "isolation::locations::many", "isolation::ways::"],
    ),
    row("bound.rs", "            && self.server_name == other.server_name\n", "", WAYS),
    row("bound.rs", "            && self.name == other.name\n", "", WAYS),
    row(
        "bound.rs",
        "            && self.certificate == other.certificate\n            && self.certificate_key == other.certificate_key\n",
        "",
        WAYS,
    ),
    row(
        "ngx/tls.rs",
        "Some((r.evaluate(certificate, Slice::EMPTY)?, r.evaluate(key, Slice::EMPTY)?))",
        "Some((r.evaluate(certificate, Slice::EMPTY).unwrap_or(Slice::EMPTY), r.evaluate(key, Slice::EMPTY).unwrap_or(Slice::EMPTY)))",
        &["faults::unevaluated_certificate"],
    ),
    // The response's header.
    row(
        "header_filter.rs",
        "Some(peer) => match peer.on_response_header() {",
        "Some(_) => match Announce::Everything {",
        RESPONSES,
    ),
    row(
        "header_filter.rs",
        "if group_of(u).is_none() && u.speaks_http() && matches",
        "if u.speaks_http() && matches",
        &["guard::directive::"],
    ),
    row(
        "header_filter.rs",
        "if group_of(u).is_none() && u.speaks_http() && matches",
        "if group_of(u).is_none() && matches",
        &["guard::directive::", "configuration::outgoing::"],
    ),
    row("header_filter.rs", "            close_if_unwatched(request);\n", "", &["guard::renewed::"]),
    row(
        "peer/init.rs",
        "        (*us).peer.init_upstream = Some(ngx_http_upstream_init_ntlm);\n",
        "",
        &["guard::renewed::"],
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
    row("conf.rs", "(2, \"a number", "(1, \"a number", &["configuration::invalid_number"]),
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
        &["balancing::naming::", "isolation::locations::two_groups", "handshakes::two_groups"],
    ),
];
