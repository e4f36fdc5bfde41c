//! A location's TLS settings towards its servers.
#![expect(unsafe_code, reason = "reads nginx's upstreams")]

use nginx_sys::ngx_http_complex_value_t;

use super::{Slice, Upstream};

/// A location's settings for TLS to its servers. The values with variables are null where not configured.
#[derive(Debug, Clone, Copy)]
pub struct TlsConf {
    /// Names the TLS context.
    pub context: usize,
    /// `proxy_ssl_verify`.
    pub verify: bool,
    /// `proxy_ssl_server_name`.
    pub server_name: bool,
    /// `proxy_ssl_name`.
    pub name: *mut ngx_http_complex_value_t,
    /// `proxy_ssl_certificate`.
    pub certificate: *mut ngx_http_complex_value_t,
    /// `proxy_ssl_certificate_key`.
    pub certificate_key: *mut ngx_http_complex_value_t,
}

impl Upstream {
    /// Whether it speaks TLS.
    pub fn is_tls(self) -> bool {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).ssl() != 0 }
    }

    /// The name that `proxy_ssl_name` has by default.
    pub fn default_tls_name(self) -> Slice {
        // SAFETY: alive (see the type); the name is configuration or the request's.
        unsafe { Slice::from_raw((*self.as_ptr()).ssl_name) }
    }

    /// The location's settings for TLS.
    pub fn tls_conf(self) -> TlsConf {
        // SAFETY: alive (see the type), and its configuration with it.
        unsafe {
            let conf = &*(*self.as_ptr()).conf;
            TlsConf {
                context: conf.ssl as usize,
                verify: conf.ssl_verify == 1,
                server_name: conf.ssl_server_name == 1,
                name: conf.ssl_name,
                certificate: conf.ssl_certificate,
                certificate_key: conf.ssl_certificate_key,
            }
        }
    }
}
