//! The directives, and the hook that puts the module before every other peer of a group.
//!
//! Must never let a value through that the module would have to guess about.
#![expect(unsafe_code, reason = "directive handlers' and configuration hooks' trampolines")]

use core::ffi::{c_char, c_void};
use core::fmt;
use core::ptr::{NonNull, null_mut};

use nginx_sys::{
    NGX_LOG_EMERG, ngx_atoi, ngx_command_t, ngx_conf_log_error, ngx_conf_t, ngx_event_free_peer_pt,
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value_t,
    ngx_http_conf_ctx_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_msec_t, ngx_palloc,
    ngx_parse_time, ngx_shm_zone_t, ngx_str_t,
};
use ntlm_core::bindings::GroupId;
use ntlm_core::keep::Limits;

use crate::log::Line;
use crate::ngx::{Pool, Status, add_zone, unix_time, zeroed_in};
use crate::stats::{Shared, Slot};
use crate::{filter, module, peer};

/// `ntlm;` is `ntlm 100;`.
const DEFAULT_CONNECTIONS: usize = 100;
/// `ntlm_timeout` in milliseconds.
const DEFAULT_TIMEOUT: u64 = 60_000;
/// The shared memory, whose name no other zone should have, and its bytes: what is counted, and nginx's own of it. It
/// must never change, or a reload would lose what was counted.
const ZONE: &str = "ngx_http_upstream_ntlm_module";
const ZONE_SIZE: usize = 512 * 1024;
const _: () = assert!(size_of::<Shared>() < ZONE_SIZE - 64 * 1024);

/// The largest number that the directives take.
const LARGEST: ngx_int_t = i32::MAX as ngx_int_t;

const CONF_OK: *mut c_char = null_mut();
/// `NGX_CONF_ERROR`: an error that was logged already.
pub const CONF_ERROR: *mut c_char = core::ptr::without_provenance_mut(usize::MAX);

/// What an `upstream` block says, once the configuration is read.
#[derive(Clone, Copy)]
pub struct Group {
    /// Numbers the group.
    pub id: GroupId,
    /// The most bindings that are parked at a time; never 0.
    pub connections: usize,
    /// Milliseconds that a binding stays parked.
    pub timeout: u64,
    /// The caps on one connection.
    pub limits: Limits,
    /// The name of the upstream block, which lives as long as the configuration.
    pub name: ngx_str_t,
    /// Where it is counted.
    pub slot: Option<&'static Slot>,
    /// `ntlm_key`; null where not said.
    pub key: *mut ngx_http_complex_value_t,
    /// `peer.init` of the chain below.
    pub original_init_peer: ngx_http_upstream_init_peer_pt,
    /// `pc->free` of the chain below, once a request has seen it.
    pub original_free_peer: ngx_event_free_peer_pt,
}

/// What an `upstream` block says. It lies in the configuration's pool, zeroed at first: 0 and null mean "not said".
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Conf {
    connections: usize,
    timeout: ngx_msec_t,
    requests: usize,
    time: ngx_msec_t,
    key: *mut ngx_http_complex_value_t,
    /// A directive of the block that is useless without `ntlm`: its name, file and line.
    companion: ngx_str_t,
    companion_file: ngx_str_t,
    companion_line: usize,
    /// The block in the words of the requests' side; set by `install_peer`.
    pub group: Group,
}

impl Conf {
    /// The settings of a group that nginx made from an `upstream` block.
    ///
    /// # Safety
    ///
    /// `us` is a live group's configuration with servers' configurations of its own.
    pub unsafe fn of(us: *mut ngx_http_upstream_srv_conf_t) -> Option<NonNull<Conf>> {
        // SAFETY: vouched for by the caller; the slot is what `create_conf` returned.
        unsafe { NonNull::new((*(*us).srv_conf.add(module::context_index())).cast()) }
    }

    fn limits(&self) -> Limits {
        let said = |value: usize| (value != 0).then_some(value as u64);
        Limits { requests: said(self.requests), time: said(self.time) }
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
    fn refuse(&self, why: fmt::Arguments<'_>) -> *mut c_char {
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

    /// Sets a number that must not be said twice, nor be 0.
    fn set(&self, place: &mut usize, value: Option<usize>, expected: &str) -> *mut c_char {
        if *place != 0 {
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

    fn set_number(&self, place: &mut usize) -> *mut c_char {
        let number = self.word(1).map(|word| {
            // SAFETY: the word's bytes live as long as the configuration.
            unsafe { ngx_atoi(word.data, word.len) }
        });
        let number = number.filter(|number| (1..=LARGEST).contains(number));
        self.set(
            place,
            number.and_then(|number| usize::try_from(number).ok()),
            "a number from 1 to 2147483647",
        )
    }

    fn set_time(&self, place: &mut ngx_msec_t) -> *mut c_char {
        let time = self.word(1).map(|mut word| {
            // SAFETY: as above; is_sec of 0 asks for milliseconds.
            unsafe { ngx_parse_time(&raw mut word, 0) }
        });
        let time = time.filter(|time| *time > 0).and_then(|time| usize::try_from(time).ok());
        self.set(place, time, "a time of more than 0, such as \"60s\"")
    }

    /// Sets a value with variables, which must not be said twice, nor be empty.
    fn set_value(&self, place: &mut *mut ngx_http_complex_value_t) -> *mut c_char {
        if !place.is_null() {
            return c"is duplicate".as_ptr().cast_mut();
        }
        let Some(mut word) = self.word(1).filter(|word| !word.is_empty()) else {
            return self.invalid("a value that is not empty, such as \"$http_x_session\"");
        };
        let cf = self.cf.as_ptr();
        // SAFETY: the configuration's pool lives as long as it; zeroes are an empty value, and nginx fills it from the word.
        unsafe {
            let Some(value) = Pool::new((*cf).pool).zeroed::<ngx_http_complex_value_t>() else {
                return CONF_ERROR;
            };
            let mut compile: ngx_http_compile_complex_value_t = core::mem::zeroed();
            compile.cf = cf;
            compile.value = &raw mut word;
            compile.complex_value = value.as_ptr();
            if ngx_http_compile_complex_value(&raw mut compile) != Status::OK.0 {
                return CONF_ERROR;
            }
            *place = value.as_ptr();
        }
        CONF_OK
    }

    /// Notes that the block says something that needs `ntlm`.
    fn note_companion(&self, conf: &mut Conf) {
        // SAFETY: nginx has a file open while it reads a directive; `-g` has none, but no upstream block either.
        unsafe {
            if let Some(file) = (*self.cf.as_ptr()).conf_file.as_ref() {
                conf.companion = self.word(0).unwrap_or_default();
                conf.companion_file = file.file.name;
                conf.companion_line = file.line;
            }
        }
    }
}

/// Runs a directive's handler on the block's settings.
///
/// # Safety
///
/// Called from a handler of the command table, with what nginx gave it.
unsafe fn read(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
    handler: impl FnOnce(&Directive, &mut Conf) -> *mut c_char,
) -> *mut c_char {
    // SAFETY: the command table says NGX_HTTP_SRV_CONF_OFFSET, so `conf` is what `create_conf` returned; nothing else
    // refers to it while its directive is read.
    unsafe {
        match (Directive::new(cf), conf.cast::<Conf>().as_mut()) {
            (Some(directive), Some(conf)) => handler(&directive, conf),
            _ => CONF_ERROR,
        }
    }
}

/// What the whole configuration says: which groups have `ntlm`, and where they are counted.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MainConf {
    /// Null before the shared memory is there.
    shared: *const Shared,
    /// The groups' settings, in the configuration's pool.
    groups: *mut *mut Conf,
    count: usize,
}

impl MainConf {
    /// What is shared with the other workers.
    pub fn shared(&self) -> Option<&'static Shared> {
        // SAFETY: the zone outlives every worker (see `ngx::zeroed_in`).
        unsafe { self.shared.as_ref() }
    }

    /// The groups with `ntlm`.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        // SAFETY: `ngx_http_upstream_ntlm_init` filled the array, with settings that live as long as this.
        (0..self.count).map(|index| unsafe { &(**self.groups.add(index)).group })
    }
}

/// `create_main_conf`.
///
/// # Safety
///
/// Called by nginx while it reads the configuration.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: see above; zeroes are a configuration without groups.
    unsafe { Pool::new((*cf).pool).zeroed::<MainConf>().map_or(null_mut(), |conf| conf.as_ptr().cast()) }
}

/// Called by nginx when the shared memory is there, with that of the configuration before in `old`, if it is the same
/// memory.
///
/// # Safety
///
/// Called by nginx only, with the zone that [`ngx_http_upstream_ntlm_init`] asked for.
unsafe extern "C" fn ngx_http_upstream_ntlm_init_zone(
    zone: *mut ngx_shm_zone_t,
    old: *mut c_void,
) -> ngx_int_t {
    // SAFETY: see above: both are configurations of this module. All of the shared memory is atomic.
    unsafe {
        let main = (*zone).data.cast::<MainConf>();
        let shared = match NonNull::new(old.cast::<MainConf>()).and_then(|old| old.as_ref().shared()) {
            Some(shared) => shared,
            None => match zeroed_in::<Shared>(zone) {
                Some(shared) => shared,
                None => return Status::ERROR.0,
            },
        };
        shared.begin(unix_time());
        (*main).shared = shared;
        let (groups, count) = ((*main).groups, (*main).count);
        let name = |index: usize| (**groups.add(index)).group.name;
        let is_used = |slot: &Slot| {
            let mut slots = (0..count).filter_map(|index| shared.find(name(index).as_bytes()));
            slots.any(|used| core::ptr::eq(used, slot))
        };
        for index in 0..count {
            (**groups.add(index)).group.slot = shared.slot(name(index).as_bytes(), is_used);
        }
    }
    Status::OK.0
}

/// `ntlm [connections];`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
pub unsafe extern "C" fn ngx_http_upstream_ntlm(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: see above.
    unsafe {
        read(cf, conf, |directive, conf| match directive.word(1) {
            Some(_) => directive.set_number(&mut conf.connections),
            None => directive.set(&mut conf.connections, Some(DEFAULT_CONNECTIONS), ""),
        })
    }
}

/// `ntlm_timeout time;`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_timeout(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: see above.
    unsafe {
        read(cf, conf, |directive, conf| {
            directive.note_companion(conf);
            directive.set_time(&mut conf.timeout)
        })
    }
}

/// `ntlm_requests number;`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_requests(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: see above.
    unsafe {
        read(cf, conf, |directive, conf| {
            directive.note_companion(conf);
            directive.set_number(&mut conf.requests)
        })
    }
}

/// `ntlm_time time;`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_time(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: see above.
    unsafe {
        read(cf, conf, |directive, conf| {
            directive.note_companion(conf);
            directive.set_time(&mut conf.time)
        })
    }
}

/// `ntlm_key string;`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_key(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: see above.
    unsafe {
        read(cf, conf, |directive, conf| {
            directive.note_companion(conf);
            directive.set_value(&mut conf.key)
        })
    }
}

/// `create_srv_conf`.
///
/// # Safety
///
/// Called by nginx while it reads the configuration.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_create_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: see above; zeroes are a Conf in which nothing is said.
    unsafe { Pool::from_raw((*cf).pool).and_then(|pool| pool.zeroed::<Conf>()) }
        .map_or(null_mut(), |conf| conf.as_ptr().cast())
}

/// `postconfiguration`: every balancer and pool has wrapped its group by now, in whatever order its lines stand, so what
/// is put before them here is the outermost.
///
/// # Safety
///
/// Called by `ngx_http_block`, once for each `http` block.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_init(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: see above; within `http` the context is an ngx_http_conf_ctx_t, and the upstream module is always there.
    let groups = unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = *(*ctx).main_conf.add(ngx_http_upstream_module.ctx_index);
        let main = main.cast::<ngx_http_upstream_main_conf_t>();
        (*main).upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>()
    };
    // SAFETY: as above; the pool lives as long as the configuration.
    let (main, list) = unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = (*(*ctx).main_conf.add(module::context_index())).cast::<MainConf>();
        (main, ngx_palloc((*cf).pool, groups.len() * size_of::<*mut Conf>()).cast::<*mut Conf>())
    };
    if list.is_null() {
        return Status::ERROR.0;
    }
    let mut count = 0;
    for (id, &us) in (0u32..).zip(groups) {
        // SAFETY: the array holds live groups; those that `proxy_pass` made of a bare host have no settings.
        let conf = unsafe { if (*us).srv_conf.is_null() { None } else { Conf::of(us) } };
        let Some(mut conf) = conf else { continue };
        // SAFETY: as above; nothing else refers to the settings while the configuration is read.
        if !unsafe { install_peer(cf, us, conf.as_mut(), GroupId(id)) } {
            return Status::ERROR.0;
        }
        // SAFETY: as above.
        if unsafe { conf.as_ref() }.connections != 0 {
            // SAFETY: the list has room for all groups.
            unsafe { list.add(count).write(conf.as_ptr()) };
            count += 1;
        }
    }
    filter::install();
    // SAFETY: as above; nothing else refers to the main configuration now, and it lives as long as the zone's `data` needs it.
    let zone = unsafe {
        (*main).groups = list;
        (*main).count = count;
        let (tag, init) = (module::tag(), ngx_http_upstream_ntlm_init_zone);
        add_zone(cf, ZONE, ZONE_SIZE, tag, Some(init), main.cast())
    };
    zone.map_or(Status::ERROR, |()| Status::OK).0
}

/// Wraps `peer.init` of a group that says `ntlm`. False when the block is refused.
///
/// # Safety
///
/// Called from `postconfiguration`, with a live group and its settings.
unsafe fn install_peer(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
    conf: &mut Conf,
    id: GroupId,
) -> bool {
    if conf.connections == 0 {
        if conf.companion.is_empty() {
            return true;
        }
        // SAFETY: vouched for by the caller.
        let (log, host) = unsafe { ((*cf).log, (*us).host) };
        crate::log::emerg!(
            log,
            "\"{}\" directive without \"ntlm\" in upstream \"{host}\" in {}:{}",
            conf.companion,
            conf.companion_file,
            conf.companion_line
        );
        return false;
    }
    conf.group = Group {
        id,
        connections: conf.connections,
        timeout: if conf.timeout == 0 { DEFAULT_TIMEOUT } else { conf.timeout as u64 },
        limits: conf.limits(),
        // SAFETY: vouched for by the caller.
        name: unsafe { (*us).host },
        slot: None,
        key: conf.key,
        // SAFETY: vouched for by the caller.
        original_init_peer: unsafe { (*us).peer.init },
        original_free_peer: None,
    };
    // SAFETY: as above.
    unsafe { (*us).peer.init = Some(peer::ngx_http_upstream_init_ntlm_peer) };
    conf.group.original_init_peer.is_some()
}
