//! `proxy_ntlm`: binding for every `proxy_pass` of a location, without an `upstream` block.
//!
//! The location's `ngx_http_upstream_conf_t` is found by the directives of nginx's proxy module, whose table says where their
//! values are. Must never change a location where the table and the structure disagree.
#![expect(
    unsafe_code,
    reason = "a directive's trampoline; reads and writes the configuration of another module"
)]

use core::ffi::{c_char, c_void};
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};

use nginx_sys::{
    NGX_CONF_TAKE123, NGX_HTTP_LIF_CONF, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF,
    NGX_HTTP_SRV_CONF, ngx_atoi, ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_http_upstream_bind_set_slot,
    ngx_http_upstream_conf_t, ngx_http_upstream_local_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_module_t, ngx_parse_time, ngx_str_t,
    ngx_uint_t,
};
use ntlm_core::binding::ids::GroupId;

use crate::conf::{CONF_ERROR, DEFAULT_CONNECTIONS, DEFAULT_TIMEOUT, Directive, LARGEST, has_ntlm};
use crate::group::{Group, Location, Main, ProxyNtlm};
use crate::log::{Line, emerg};
use crate::ngx::{Pool, commands_of, context_index, http_modules, module_tag, name_of};
use crate::place::Proxied;
use crate::target;

/// The row of the table.
pub const DIRECTIVE: ngx_command_t = ngx_command_t {
    name: ngx_str_t { len: "proxy_ntlm".len(), data: c"proxy_ntlm".as_ptr().cast_mut().cast() },
    type_: (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF | NGX_CONF_TAKE123)
        as ngx_uint_t,
    set: Some(ngx_http_ntlm_set_proxy),
    conf: NGX_HTTP_LOC_CONF_OFFSET,
    offset: 0,
    post: null_mut(),
};

/// Values of nginx's proxy module, and where `ngx_http_upstream_conf_t` has them.
const KNOWN: [(&[u8], usize); 5] = [
    (b"proxy_bind", offset_of!(ngx_http_upstream_conf_t, local)),
    (b"proxy_connect_timeout", offset_of!(ngx_http_upstream_conf_t, connect_timeout)),
    (b"proxy_read_timeout", offset_of!(ngx_http_upstream_conf_t, read_timeout)),
    (b"proxy_buffer_size", offset_of!(ngx_http_upstream_conf_t, buffer_size)),
    (b"proxy_next_upstream_tries", offset_of!(ngx_http_upstream_conf_t, next_upstream_tries)),
];

/// `proxy_ntlm on|off [connections=number] [timeout=time];`
///
/// # Safety
///
/// Called by nginx while it reads the directive.
unsafe extern "C" fn ngx_http_ntlm_set_proxy(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_conf_handler passes the directive that it reads; the table says NGX_HTTP_LOC_CONF_OFFSET, so `conf` is what
    // `create_loc_conf` returned.
    unsafe {
        let (Some(directive), Some(location)) = (Directive::new(cf), conf.cast::<Location>().as_mut()) else {
            return CONF_ERROR;
        };
        if !location.place.is_null() {
            return c"is duplicate".as_ptr().cast_mut();
        }
        let group = match read(&directive) {
            Ok(group) => group,
            Err(refused) => return refused,
        };
        let (Some(pool), said) = (Pool::from_raw((*cf).pool), directive.said()) else { return CONF_ERROR };
        let place = ProxyNtlm { group, said: (said.file, said.line), next: null_mut() };
        let Some(place) = pool.place(place) else { return CONF_ERROR };
        location.place = place.as_ptr();
        if (*cf).cmd_type == NGX_HTTP_MAIN_CONF as ngx_uint_t && !name(cf, place, b"http") {
            return CONF_ERROR;
        }
    }
    null_mut()
}

/// The settings that the words of a line say.
fn read(directive: &Directive) -> Result<Group, *mut c_char> {
    let on = match directive.word(1).unwrap_or_default().as_bytes() {
        word if word.eq_ignore_ascii_case(b"on") => true,
        word if word.eq_ignore_ascii_case(b"off") => false,
        _ => return Err(directive.invalid("\"on\" or \"off\"")),
    };
    let (mut connections, mut timeout) = (None, None);
    for word in [directive.word(2), directive.word(3)].into_iter().flatten() {
        let refused = |why: &str| {
            directive.refuse(format_args!("invalid parameter \"{word}\" in \"proxy_ntlm\" directive, {why}"))
        };
        if !on {
            return Err(refused("\"off\" has none"));
        }
        let bytes = word.as_bytes();
        let (place, value) = if let Some(number) = bytes.strip_prefix(b"connections=") {
            // SAFETY: it reads these bytes only.
            let value = unsafe { ngx_atoi(number.as_ptr().cast_mut(), number.len()) };
            let value = usize::try_from(value).ok().filter(|_| (1..=LARGEST).contains(&value));
            let value = value.ok_or_else(|| refused("it must be a number from 1 to 2147483647"))?;
            (&mut connections, value)
        } else if let Some(time) = bytes.strip_prefix(b"timeout=") {
            let mut time = ngx_str_t { len: time.len(), data: time.as_ptr().cast_mut() };
            // SAFETY: it reads these bytes only; is_sec of 0 asks for milliseconds.
            let value = unsafe { ngx_parse_time(&raw mut time, 0) };
            let value = usize::try_from(value).ok().filter(|&value| value > 0 && time.len > 0);
            let value = value.ok_or_else(|| refused("it must be a time of more than 0, such as \"60s\""))?;
            (&mut timeout, value)
        } else {
            return Err(refused("it must be \"connections=number\" or \"timeout=time\""));
        };
        if place.replace(value).is_some() {
            return Err(refused("it is said twice"));
        }
    }
    Ok(Group {
        connections: if on { connections.unwrap_or(DEFAULT_CONNECTIONS) } else { 0 },
        timeout: timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout as u64),
        original_init_peer: Some(target::ngx_http_upstream_init_target_peer),
        by_server: true,
        ..Group::NONE
    })
}

/// Enters a place in the list of all, under a name that no other has. False when there is no memory.
///
/// # Safety
///
/// Called while nginx reads the configuration of `http`.
unsafe fn name(cf: *mut ngx_conf_t, place: NonNull<ProxyNtlm>, wanted: &[u8]) -> bool {
    // SAFETY: vouched for by the caller: the main configuration is what `create_main_conf` returned.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = (*(*ctx).main_conf.add(context_index())).cast::<Main>();
        let wanted = if wanted.is_empty() { b"server".as_slice() } else { wanted };
        let is_taken = |name: &[u8]| {
            let mut next = (*main).places;
            while let Some(place) = next.as_ref() {
                if place.group.name.as_bytes() == name {
                    return true;
                }
                next = place.next;
            }
            false
        };
        let mut chosen = Line::of(format_args!("{}", Text(wanted)));
        let mut number = 2;
        while is_taken(chosen.as_bytes()) {
            chosen = Line::of(format_args!("{} #{number}", Text(wanted)));
            number += 1;
        }
        let Some(copy) = Pool::new((*cf).pool).copy(chosen.as_bytes()) else { return false };
        (*place.as_ptr()).group.name = copy.as_raw();
        if (*place.as_ptr()).group.connections != 0 {
            (*place.as_ptr()).next = (*main).places;
            (*main).places = place.as_ptr();
        }
    }
    true
}

/// Bytes that are shown as text.
struct Text<'a>(&'a [u8]);

impl core::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| f.write_str(chunk.valid()))
    }
}

/// Lets a location inherit, and puts the module before its `proxy_pass` where `proxy_ntlm` holds. False when that is refused.
///
/// # Safety
///
/// Called from `merge_loc_conf`.
pub unsafe fn merge(cf: *mut ngx_conf_t, parent: &Location, child: &mut Location) -> bool {
    // SAFETY: vouched for by the caller: cf->ctx is the location's. Places live in the configuration's pool.
    unsafe {
        match NonNull::new(child.place) {
            Some(place) => {
                let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
                let server =
                    (*(*ctx).srv_conf.add(ngx_http_core_module.ctx_index)).cast::<ngx_http_core_srv_conf_t>();
                let location =
                    (*(*ctx).loc_conf.add(ngx_http_core_module.ctx_index)).cast::<ngx_http_core_loc_conf_t>();
                let (server, location) = ((*server).server_name, (*location).name);
                let wanted =
                    Line::of(format_args!("{}{}", Text(server.as_bytes()), Text(location.as_bytes())));
                if !name(cf, place, wanted.as_bytes()) {
                    return false;
                }
            }
            None => child.place = parent.place,
        }
        let Some(place) = NonNull::new(child.place).filter(|place| place.as_ref().group.connections != 0)
        else {
            return true;
        };
        match stand_before(cf, place) {
            Ok(()) => true,
            Err(why) => {
                let (file, line) = place.as_ref().said;
                emerg!((*cf).log, "\"proxy_ntlm\" directive in {file}:{line} cannot be used: {why}");
                false
            }
        }
    }
}

/// Puts the module before the `proxy_pass` of a location.
///
/// # Safety
///
/// Called from `merge_loc_conf`, with a place in the configuration's pool.
unsafe fn stand_before(cf: *mut ngx_conf_t, place: NonNull<ProxyNtlm>) -> Result<(), &'static str> {
    // SAFETY: vouched for by the caller; for what is found see `found`.
    unsafe {
        let uc = found(cf)?;
        let named = (*uc).upstream;
        if !named.is_null() {
            if !upstreams(cf).contains(&named) {
                return Err("another module has changed what \"proxy_pass\" says");
            }
            if has_ntlm(named) {
                return Ok(());
            }
        }
        let proxied = Pool::new((*cf).pool).zeroed::<Proxied>().ok_or("there is no memory")?.as_ptr();
        if !named.is_null() {
            (*proxied).us = named.read();
        }
        (*proxied).us.peer.init = Some(target::ngx_http_upstream_init_proxied_peer);
        (*proxied).us.peer.data = Proxied::mark();
        (*proxied).place = place.as_ptr();
        (*proxied).named = named;
        (*proxied).bind = (*uc).local;
        if named.is_null() {
            (*proxied).value.lengths = target::LENGTH.as_ptr().cast_mut().cast();
            (*proxied).value.values = target::VALUE.as_ptr().cast_mut().cast();
            if let Some(bind) = (*uc).local.as_ref() {
                (*proxied).local = *bind;
            }
            (*proxied).local.value = &raw mut (*proxied).value;
            (*uc).local = &raw mut (*proxied).local;
        }
        (*uc).upstream = &raw mut (*proxied).us;
    }
    Ok(())
}

/// The group with `ntlm` that `proxy_pass` of a location leads to; null where there is none, variables leave it open, or bodies are passed on
/// before they are read.
///
/// # Safety
///
/// Called from `merge_loc_conf`, after [`merge`].
pub unsafe fn group_of(cf: *mut ngx_conf_t) -> *mut Group {
    // SAFETY: vouched for by the caller; for what is found see `found`. Only `stand_before` writes the mark, into a group that begins a
    // Proxied.
    unsafe {
        match found(cf).map(|uc| if (*uc).request_buffering == 1 { (*uc).upstream } else { null_mut() }) {
            Ok(us) if us.is_null() => null_mut(),
            Ok(us) if (*us).peer.data == Proxied::mark() => (*us.cast::<Proxied>()).place.cast(),
            Ok(us) if has_ntlm(us) => Group::of(us).map_or(null_mut(), NonNull::as_ptr),
            _ => null_mut(),
        }
    }
}

/// Whether the value of a location's `proxy_pass` has variables, as far as can be told: also true of a location without one.
///
/// # Safety
///
/// As for [`group_of`].
pub unsafe fn has_variables(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: as for `group_of`.
    unsafe {
        match found(cf).map(|uc| (*uc).upstream) {
            Ok(us) if !us.is_null() && (*us).peer.data == Proxied::mark() => {
                (*us.cast::<Proxied>()).named.is_null()
            }
            Ok(us) => us.is_null(),
            Err(_) => true,
        }
    }
}

/// The location's configuration of nginx's proxy module, as far as it is an upstream's.
///
/// # Safety
///
/// Called from `merge_loc_conf`.
unsafe fn found(cf: *mut ngx_conf_t) -> Result<*mut ngx_http_upstream_conf_t, &'static str> {
    const CHANGED: &str = "this NGINX keeps the configuration of \"proxy_pass\" in another way";
    // SAFETY: vouched for by the caller; what is at the place that the table gives is read only when all directives agree
    // on the place.
    unsafe {
        let proxy = proxy_module(cf)?;
        let mut base = None;
        for (name, offset) in KNOWN {
            let command =
                commands_of(proxy).find(|command| command.name.as_bytes() == name).ok_or(CHANGED)?;
            let start = command.offset.checked_sub(offset);
            if command.conf != NGX_HTTP_LOC_CONF_OFFSET
                || start.is_none()
                || *base.get_or_insert(start) != start
            {
                return Err(CHANGED);
            }
            let binds = ngx_http_upstream_bind_set_slot as *const () as usize;
            if name == b"proxy_bind" && command.set.is_none_or(|set| set as usize != binds) {
                return Err(CHANGED);
            }
        }
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let conf = *(*ctx).loc_conf.add((*proxy).ctx_index);
        let uc = conf.byte_add(base.flatten().ok_or(CHANGED)?).cast::<ngx_http_upstream_conf_t>();
        let is_unset = |local: *mut ngx_http_upstream_local_t| local.addr() == usize::MAX;
        if conf.is_null() || is_unset((*uc).local) || (*uc).module.as_bytes() != b"proxy" {
            return Err(CHANGED);
        }
        Ok(uc)
    }
}

/// nginx's proxy module, if it has merged its configuration before this module merges its own.
///
/// # Safety
///
/// Called while nginx reads the configuration.
unsafe fn proxy_module(cf: *mut ngx_conf_t) -> Result<*mut ngx_module_t, &'static str> {
    // SAFETY: vouched for by the caller.
    unsafe {
        for module in http_modules(cf) {
            if module.cast() == module_tag() {
                break;
            }
            if name_of(module) == b"ngx_http_proxy_module" {
                return Ok(module);
            }
        }
    }
    Err("there is no ngx_http_proxy_module before this module")
}

/// The upstream groups of a configuration.
///
/// # Safety
///
/// Called while nginx reads the configuration of `http`.
unsafe fn upstreams<'a>(cf: *mut ngx_conf_t) -> &'a [*mut ngx_http_upstream_srv_conf_t] {
    // SAFETY: vouched for by the caller; the upstream module is always there.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = *(*ctx).main_conf.add(ngx_http_upstream_module.ctx_index);
        (*main.cast::<ngx_http_upstream_main_conf_t>()).upstreams.as_slice()
    }
}

/// Numbers the places from `first` on, and adds them to the list of groups with `ntlm`.
///
/// # Safety
///
/// Called from `postconfiguration`, with a list that has room for them behind its `count` groups.
pub unsafe fn number_places(main: *mut Main, first: usize, list: *mut *mut Group, count: usize) -> usize {
    let mut places = 0;
    // SAFETY: vouched for by the caller; the list of places is the configuration's.
    unsafe {
        let mut next = (*main).places;
        while let Some(place) = NonNull::new(next) {
            (*place.as_ptr()).group.id = GroupId(u32::try_from(first + places).unwrap_or(u32::MAX));
            list.add(count + places).write(place.as_ptr().cast());
            places += 1;
            next = (*place.as_ptr()).next;
        }
        // The last line is the first of the list.
        core::slice::from_raw_parts_mut(list.add(count), places).reverse();
    }
    count + places
}

/// How many places there are.
///
/// # Safety
///
/// Called from `postconfiguration`.
pub unsafe fn count_places(main: *mut Main) -> usize {
    // SAFETY: vouched for by the caller; the list of places is the configuration's.
    unsafe { core::iter::successors((*main).places.as_ref(), |place| place.next.as_ref()).count() }
}
