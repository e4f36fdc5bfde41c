//! A location's TLS settings towards its servers.
#![expect(unsafe_code, reason = "reads nginx's upstreams")]

use nginx_sys::ngx_http_complex_value_t;

use super::{Request, Slice, Upstream};

#[cfg(not(nginx_tls_certificate_value))]
unsafe extern "C" {
    // bits.c
    fn ngx_http_upstream_ntlm_tls_certificate(u: *mut nginx_sys::ngx_http_upstream_t) -> *mut u8;
}

/// A location's settings for TLS to its servers. A value with variables is null where not configured.
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
}

impl Upstream {
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
            }
        }
    }

    /// `proxy_ssl_certificate` and `proxy_ssl_certificate_key` for this request, empty where not configured. `None` when
    /// they cannot be evaluated.
    #[cfg(nginx_tls_certificate_value)]
    pub fn tls_certificate(self, r: Request) -> Option<(Slice, Slice)> {
        // SAFETY: alive (see the type), and its configuration with it.
        let (certificate, key) = unsafe {
            let conf = (*self.as_ptr()).conf;
            ((*conf).ssl_certificate, (*conf).ssl_certificate_key)
        };
        Some((r.evaluate(certificate, Slice::EMPTY)?, r.evaluate(key, Slice::EMPTY)?))
    }

    /// The file name of the client certificate, and an empty one for its key. Before 1.21.0 nginx takes no variables in
    /// `proxy_ssl_certificate` and loads certificate and key into the TLS context as it reads the configuration.
    #[cfg(not(nginx_tls_certificate_value))]
    pub fn tls_certificate(self, _r: Request) -> Option<(Slice, Slice)> {
        // SAFETY: alive (see the type), and with it its configuration, which holds the name as a string of C
        // (ngx_ssl_certificate).
        let name = unsafe {
            let data = ngx_http_upstream_ntlm_tls_certificate(self.as_ptr());
            if data.is_null() {
                Slice::EMPTY
            } else {
                let len = core::ffi::CStr::from_ptr(data.cast()).count_bytes();
                Slice::from_raw(nginx_sys::ngx_str_t { len, data })
            }
        };
        Some((name, Slice::EMPTY))
    }
}
