//! The directives of `upstream` blocks: a row of the table each, and a setter for each kind of value.
//!
//! Must never let a value through that the module would have to guess about.
#![expect(unsafe_code, reason = "directive handlers' and configuration hooks' trampolines")]

use core::ffi::{CStr, c_char, c_void};
use core::fmt;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};

use nginx_sys::{
    NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_MAIN_CONF, NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF,
    NGX_LOG_EMERG, ngx_atoi, ngx_command_t, ngx_conf_log_error, ngx_conf_t, ngx_http_compile_complex_value,
    ngx_http_compile_complex_value_t, ngx_http_complex_value_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_msec_t, ngx_parse_time, ngx_str_t, ngx_uint_t,
};
use ntlm_core::binding::exchange::Limits;
use ntlm_core::binding::ids::GroupId;

use crate::group::Group;
use crate::log::{Line, emerg};
use crate::ngx::{Pool, Status};

/// `ntlm;` is `ntlm 100;`.
pub const DEFAULT_CONNECTIONS: usize = 100;
/// `ntlm_timeout` in milliseconds.
pub const DEFAULT_TIMEOUT: u64 = 60_000;
/// The largest number that the directives take.
pub const LARGEST: ngx_int_t = i32::MAX as ngx_int_t;

const CONF_OK: *mut c_char = null_mut();
/// `NGX_CONF_ERROR`: an error that was logged already.
pub const CONF_ERROR: *mut c_char = core::ptr::without_provenance_mut(usize::MAX);

/// The module's settings for one `upstream` block, and at `http` level the setting of `ntlm_guard`.
///
/// nginx's configuration pool owns it and zeroes it: 0 and null mean that the directive is not in the configuration.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Conf {
    /// The block as requests see it; [`Group::of`] finds it here. Set in postconfiguration.
    group: Group,
    connections: usize,
    timeout: ngx_msec_t,
    requests: usize,
    time: ngx_msec_t,
    key: *mut ngx_http_complex_value_t,
    /// [`ON`] or [`OFF`].
    multiplexing: usize,
    /// [`ON`] or [`OFF`].
    guard: usize,
    guard_said: Said,
    /// A directive of the block that is useless without `ntlm`: any but `ntlm` and `ntlm_guard`.
    companion: Said,
}

const ON: usize = 1;
const OFF: usize = 2;

/// Where a directive stands.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Said {
    /// Its name.
    pub name: ngx_str_t,
    /// The file.
    pub file: ngx_str_t,
    /// The line in it.
    pub line: usize,
}

/// The directives.
pub const DIRECTIVES: &[ngx_command_t] = &[
    ngx_command_t {
        type_: (NGX_HTTP_UPS_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1) as ngx_uint_t,
        ..row(c"ntlm", ngx_http_upstream_ntlm_set_number, offset_of!(Conf, connections))
    },
    row(c"ntlm_timeout", ngx_http_upstream_ntlm_set_time, offset_of!(Conf, timeout)),
    row(c"ntlm_requests", ngx_http_upstream_ntlm_set_number, offset_of!(Conf, requests)),
    row(c"ntlm_time", ngx_http_upstream_ntlm_set_time, offset_of!(Conf, time)),
    row(c"ntlm_key", ngx_http_upstream_ntlm_set_value, offset_of!(Conf, key)),
    ngx_command_t {
        type_: (NGX_HTTP_MAIN_CONF | NGX_HTTP_UPS_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        ..row(c"ntlm_guard", ngx_http_upstream_ntlm_set_flag, offset_of!(Conf, guard))
    },
    row(c"ntlm_multiplexing", ngx_http_upstream_ntlm_set_flag, offset_of!(Conf, multiplexing)),
];

/// A directive of the `upstream` block with one argument. nginx compares names with strcmp, so they end with a NUL.
const fn row(
    name: &'static CStr,
    set: unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char,
    offset: usize,
) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() },
        type_: (NGX_HTTP_UPS_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset,
        post: null_mut(),
    }
}

impl Conf {
    /// The settings of a group that nginx made from an `upstream` block.
    ///
    /// # Safety
    ///
    /// `us` is a live group's configuration.
    unsafe fn of(us: *mut ngx_http_upstream_srv_conf_t) -> Option<NonNull<Conf>> {
        // SAFETY: vouched for by the caller; a group begins its settings.
        unsafe { Group::of(us).map(NonNull::cast) }
    }

    fn limits(&self) -> Limits {
        let said = |value: usize| if value == 0 { u64::MAX } else { value as u64 };
        Limits::new(said(self.requests), said(self.time))
    }
}

/// Compiles a text with variables. False when nginx refuses it; nginx has logged why.
///
/// # Safety
///
/// Called while nginx reads or merges its configuration. `value` is zeroed, and lives in the configuration's pool as the bytes of `text` do.
pub unsafe fn compile(
    cf: *mut ngx_conf_t,
    mut text: ngx_str_t,
    value: *mut ngx_http_complex_value_t,
) -> bool {
    // SAFETY: vouched for by the caller; zeroes are what nginx starts from.
    unsafe {
        let mut compile: ngx_http_compile_complex_value_t = core::mem::zeroed();
        compile.cf = cf;
        compile.value = &raw mut text;
        compile.complex_value = value;
        ngx_http_compile_complex_value(&raw mut compile) == Status::OK.0
    }
}

/// A directive being read.
pub struct Directive {
    cf: NonNull<ngx_conf_t>,
}

impl Directive {
    /// # Safety
    ///
    /// Called while nginx reads the directive, with its `cf`.
    pub unsafe fn new(cf: *mut ngx_conf_t) -> Option<Self> {
        NonNull::new(cf).map(|cf| Directive { cf })
    }

    /// The directive's words: its name, then its arguments.
    pub fn word(&self, index: usize) -> Option<ngx_str_t> {
        // SAFETY: nginx gives each handler an array of the words it read, which live as long as the configuration.
        unsafe { (*(*self.cf.as_ptr()).args).as_slice::<ngx_str_t>().get(index).copied() }
    }

    /// Logs why the directive is refused, with the file and line that nginx is at.
    pub fn refuse(&self, why: fmt::Arguments<'_>) -> *mut c_char {
        let line = Line::of(why);
        // SAFETY: `%*s` takes a length and as many bytes, which `line` has.
        unsafe {
            ngx_conf_log_error(
                NGX_LOG_EMERG as usize,
                self.cf.as_ptr(),
                0,
                c"%*s".as_ptr(),
                line.as_bytes().len(),
                line.as_bytes().as_ptr(),
            );
        }
        CONF_ERROR
    }

    /// Logs that the value is refused.
    pub fn invalid(&self, expected: &str) -> *mut c_char {
        let (name, value) = (self.word(0).unwrap_or_default(), self.word(1).unwrap_or_default());
        self.refuse(format_args!("invalid value \"{value}\" in \"{name}\" directive, it must be {expected}"))
    }

    /// Sets a value that must not be said twice; `None` is refused.
    fn set<T: Copy + PartialEq>(
        &self,
        place: &mut T,
        unset: T,
        value: Option<T>,
        expected: &str,
    ) -> *mut c_char {
        if *place != unset {
            return c"is duplicate".as_ptr().cast_mut();
        }
        match value {
            Some(value) => {
                *place = value;
                CONF_OK
            }
            None => self.invalid(expected),
        }
    }

    /// Sets a value with variables, which must not be said twice, nor be empty.
    fn set_value(&self, place: &mut *mut ngx_http_complex_value_t) -> *mut c_char {
        if !place.is_null() {
            return c"is duplicate".as_ptr().cast_mut();
        }
        let Some(word) = self.word(1).filter(|word| !word.is_empty()) else {
            return self.invalid("a value that is not empty, such as \"$http_x_session\"");
        };
        let cf = self.cf.as_ptr();
        // SAFETY: the configuration's pool lives as long as it; zeroes are an empty value, and nginx fills it from the word.
        unsafe {
            let Some(value) = Pool::new((*cf).pool).zeroed::<ngx_http_complex_value_t>() else {
                return CONF_ERROR;
            };
            if !compile(cf, word, value.as_ptr()) {
                return CONF_ERROR;
            }
            *place = value.as_ptr();
        }
        CONF_OK
    }

    /// Where it stands; nothing for `-g`, which has no file, nor blocks.
    pub fn said(&self) -> Said {
        // SAFETY: nginx has a file open while it reads a directive.
        let file = unsafe { (*self.cf.as_ptr()).conf_file.as_ref() };
        let name = self.word(0).unwrap_or_default();
        let (file, line) = file.map_or_else(Default::default, |file| (file.file.name, file.line));
        Said { name, file, line }
    }
}

/// Runs a directive's setter on its place in the block's settings, which a `T` lies at.
///
/// # Safety
///
/// Called from a setter of the table, with what nginx gave it.
unsafe fn read<T>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
    set: impl FnOnce(&Directive, &mut T) -> *mut c_char,
) -> *mut c_char {
    // SAFETY: the table says NGX_HTTP_SRV_CONF_OFFSET, so `conf` is what `create_srv_conf` returned, and the row's offset is
    // that of a T there; no reference to it exists while the directive is read.
    unsafe {
        let (Some(directive), Some(conf)) = (Directive::new(cf), NonNull::new(conf.cast::<Conf>())) else {
            return CONF_ERROR;
        };
        let offset = (*cmd).offset;
        match offset {
            _ if offset == offset_of!(Conf, connections) => {}
            _ if offset == offset_of!(Conf, guard) => (*conf.as_ptr()).guard_said = directive.said(),
            _ => (*conf.as_ptr()).companion = directive.said(),
        }
        set(&directive, &mut *conf.as_ptr().byte_add(offset).cast::<T>())
    }
}

/// Sets a number.
///
/// # Safety
///
/// Called by nginx while it reads the directive.
unsafe extern "C" fn ngx_http_upstream_ntlm_set_number(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_conf_handler passes the directive that it reads.
    unsafe {
        // The first request of a login is answered 401.
        let (least, expected) = if (*cmd).offset == offset_of!(Conf, requests) {
            (2, "a number from 2 to 2147483647, since a login takes two requests")
        } else {
            (1, "a number from 1 to 2147483647")
        };
        read(cf, cmd, conf, |directive, place: &mut usize| {
            let number = directive.word(1).map_or(Some(DEFAULT_CONNECTIONS), |word| {
                let number = ngx_atoi(word.data, word.len);
                usize::try_from(number).ok().filter(|_| (least..=LARGEST).contains(&number))
            });
            directive.set(place, 0, number, expected)
        })
    }
}

/// Sets a time.
///
/// # Safety
///
/// Called by nginx while it reads the directive.
unsafe extern "C" fn ngx_http_upstream_ntlm_set_time(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_conf_handler passes the directive that it reads; is_sec of 0 asks ngx_parse_time for milliseconds.
    unsafe {
        read(cf, cmd, conf, |directive, place: &mut ngx_msec_t| {
            let time = directive.word(1).map(|mut word| ngx_parse_time(&raw mut word, 0));
            let time = time.filter(|time| *time > 0).and_then(|time| ngx_msec_t::try_from(time).ok());
            directive.set(place, 0, time, "a time of more than 0, such as \"60s\"")
        })
    }
}

/// Sets a value with variables.
///
/// # Safety
///
/// Called by nginx while it reads the directive.
unsafe extern "C" fn ngx_http_upstream_ntlm_set_value(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_conf_handler passes the directive that it reads.
    unsafe { read(cf, cmd, conf, Directive::set_value) }
}

/// Switches something on or off.
///
/// # Safety
///
/// Called by nginx while it reads the directive.
unsafe extern "C" fn ngx_http_upstream_ntlm_set_flag(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_conf_handler passes the directive that it reads.
    unsafe {
        read(cf, cmd, conf, |directive, place: &mut usize| {
            let value = match directive.word(1).unwrap_or_default().as_bytes() {
                word if word.eq_ignore_ascii_case(b"on") => Some(ON),
                word if word.eq_ignore_ascii_case(b"off") => Some(OFF),
                _ => None,
            };
            directive.set(place, 0, value, "\"on\" or \"off\"")
        })
    }
}

/// `create_srv_conf`.
///
/// # Safety
///
/// Called by nginx while it reads the configuration.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_create_srv_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: ngx_http_upstream passes the configuration that it reads; zeroes are a Conf in which nothing is said.
    unsafe { Pool::from_raw((*cf).pool).and_then(|pool| pool.zeroed::<Conf>()) }
        .map_or(null_mut(), |conf| conf.as_ptr().cast())
}

/// Refuses an `upstream` block whose directives contradict each other. False when it is refused.
///
/// # Safety
///
/// Called when the configuration has been read, with a live group.
pub unsafe fn check(cf: *mut ngx_conf_t, us: *mut ngx_http_upstream_srv_conf_t) -> bool {
    // SAFETY: vouched for by the caller.
    let Some(conf) = (unsafe { Conf::of(us) }) else { return true };
    // SAFETY: the caller vouches for `cf` and `us`. nginx reads its configuration in one thread, so the settings do not change.
    let (conf, log, host) = unsafe { (conf.read(), (*cf).log, (*us).host) };
    let (said, beside) = match (conf.connections != 0, conf.guard != 0) {
        (true, true) => (conf.guard_said, "beside"),
        (false, _) if !conf.companion.name.is_empty() => (conf.companion, "without"),
        _ => return true,
    };
    let Said { name, file, line } = said;
    emerg!(log, "\"{name}\" directive {beside} \"ntlm\" in upstream \"{host}\" in {file}:{line}");
    false
}

/// Whether an `upstream` block has `ntlm`.
///
/// # Safety
///
/// Called when the configuration has been read, with a live group.
pub unsafe fn has_ntlm(us: *mut ngx_http_upstream_srv_conf_t) -> bool {
    // SAFETY: vouched for by the caller.
    unsafe { Conf::of(us).is_some_and(|conf| conf.as_ref().connections != 0) }
}

/// The group as requests see it, with `id`; `None` for one that nginx made of an address, and for one without `ntlm` whose
/// guard is off. `http` is what `http` says.
///
/// # Safety
///
/// Called from postconfiguration, with a live group and with what `create_srv_conf` returned for `http`.
pub unsafe fn set_up_group(
    us: *mut ngx_http_upstream_srv_conf_t,
    http: *const c_void,
    id: GroupId,
) -> Option<NonNull<Group>> {
    // SAFETY: vouched for by the caller; no reference to the settings exists.
    unsafe {
        let conf = Conf::of(us)?.as_ptr();
        let guard = if (*conf).guard == 0 { (*http.cast::<Conf>()).guard } else { (*conf).guard };
        if (*conf).connections == 0 && guard == OFF {
            (*conf).group.guard_off = true;
            return None;
        }
        (*conf).group = Group {
            id,
            connections: (*conf).connections,
            timeout: if (*conf).timeout == 0 { DEFAULT_TIMEOUT } else { (*conf).timeout as u64 },
            multiplexing: (*conf).multiplexing != OFF,
            limits: (*conf).limits(),
            name: (*us).host,
            slot: None,
            key: (*conf).key,
            original_init_peer: (*us).peer.init,
            original_init_upstream: (*us).peer.init_upstream,
            guard_off: false,
            by_server: false,
        };
        Some(NonNull::new_unchecked(&raw mut (*conf).group))
    }
}

const _: () = assert!(offset_of!(Conf, group) == 0);
