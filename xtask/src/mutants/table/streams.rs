//! Changes of what becomes of requests that come at once.

use super::{Mutation, row};

const TURNED_BACK: &[&str] = &["multiplexed::turned_back::"];
const TURNS: &[&str] = &["multiplexed::turns::"];

pub(super) const ROWS: &[Mutation] = &[
    row(
        "ngx/http2.rs",
        "if (*h2c).blocked() == 0 {",
        "if false {",
        &["multiplexed::turned_back::stream_beside", "multiplexed::turned_back::off"],
    ),
    row(
        "ngx/http2.rs",
        "const HTTP_1_1_REQUIRED: u32 = 0xd;",
        "const HTTP_1_1_REQUIRED: u32 = 0x8;",
        TURNED_BACK,
    ),
    row("ngx/http2.rs", "(*(*self.as_ptr()).main).err_status = STATUS;", "", TURNED_BACK),
    row(
        "ngx/http2.rs",
        "(*frame).next = (*h2c).free_frames;\n        (*h2c).free_frames = frame;",
        "(*frame).next = frame;\n        (*h2c).free_frames = frame;",
        &["multiplexed::turned_back::other_streams", "floods::streams_turned"],
    ),
    row("peer/turn_back.rs", "repeatable: r.is_repeatable(),", "repeatable: true,", TURNED_BACK),
    row(
        "peer/turn_back.rs",
        "r.is_main() && r.response_status() == 401 && r.is_repeatable()",
        "r.is_main() && r.response_status() == 401",
        TURNED_BACK,
    ),
    row(
        "peer/turn_back.rs",
        "if r.is_background() {\n            return Way::Binding;",
        "if false {\n            return Way::Binding;",
        TURNED_BACK,
    ),
    row("peer/turn_back.rs", "if r.is_http1() || r.is_background() {", "if r.is_http1() {", TURNED_BACK),
    row(
        "peer/turn_back.rs",
        "Way::Apart => Note::change(r, self.group, |note| note.beside = true),",
        "Way::Apart => {}",
        TURNED_BACK,
    ),
    row(
        "peer/turn_back.rs",
        "with_table(|table| table.note_challenge(self.binding.get(), challenge));",
        "let _ = challenge;",
        TURNED_BACK,
    ),
    row("peer/turn_back.rs", "(unfit && !others)", "unfit", TURNED_BACK),
    row(
        "peer/turn_back.rs",
        "with_table(|table| table.end_login(begun));\n    }\n}",
        "let _ = begun;\n    }\n}",
        TURNED_BACK,
    ),
    row(
        "peer.rs",
        "&& !may_change() && !is_beside_first_login(r, owner) {",
        "&& !may_change() {",
        TURNED_BACK,
    ),
    row(
        "peer/turn_back.rs",
        "settings.turns_all_back() || is_disturbed(r)",
        "settings.turns_all_back()",
        TURNED_BACK,
    ),
    row(
        "peer/turns.rs",
        "        self.line().wake();\n    }\n\n    /// Goes on",
        "    }\n\n    /// Goes on",
        TURNS,
    )
    .known(),
    row(
        "peer/turns.rs",
        "State::Waiting => self.line().link(Some(NonNull::from(self))).set(self.next.get()),",
        "State::Waiting => {}",
        TURNS,
    ),
    row(
        "peer/turns.rs",
        "State::Going => self.line().going.set(self.line().going.get() - 1),",
        "State::Going => {}",
        TURNS,
    ),
    row("peer/turns.rs", "        turn.go();\n    }\n    None", "    }\n    None", TURNS),
    row("proxy.rs", "if (*uc).request_buffering == 1 {", "if true {", TURNS),
    row("peer/turns.rs", "lines().find(|line| line.turns.get() == 0)", "lines().next()", TURNS),
    row("peer/turns.rs", "if until > now() {", "if true {", TURNS),
    row(
        "peer/turns.rs",
        "line.group.get() == group && line.user.get() == user",
        "line.user.get() == user",
        TURNS,
    ),
    row(
        "peer/turns.rs",
        "line.group.get() == group && line.user.get() == user",
        "line.group.get() == group",
        TURNS,
    ),
    row("peer/turns.rs", "Carried::Nowhere if r.authorization().is_none() =>", "Carried::Nowhere =>", TURNS),
    row(
        "peer/turns.rs",
        "Carried::Nowhere | Carried::Unreadable => Leg::Other,",
        "Carried::Nowhere | Carried::Unreadable => Leg::None,",
        TURNS,
    ),
    row("credentials.rs", "match for_origin(r).or_else(|| for_proxy(r)) {", "match for_origin(r) {", TURNS),
    row("peer/turns.rs", "if !r.is_main() || Turn::of(r).is_some() {", "if !r.is_main() {", TURNS),
    row("ngx/suspend.rs", "Some(ngx_http_test_reading)", "Some(ngx_http_block_reading)", TURNS),
    row("ngx/suspend.rs", "(*event).set_delayed(0);", "", TURNS),
    row(
        "proxy.rs",
        "Ok(us) if (*us).peer.data == Proxied::mark() => (*us.cast::<Proxied>()).place.cast(),",
        "",
        TURNS,
    ),
    row(
        "peer/free.rs",
        "} else if unauthorized || exchange.credentials {",
        "} else if unauthorized {",
        TURNED_BACK,
    ),
];
