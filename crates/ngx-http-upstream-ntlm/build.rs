//! Turns what nginx-sys read off the configured nginx into cfgs named by capability, and compiles the one C file.

use std::env;

fn main() {
    let features = env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    let has = |name: &str| features.split(',').any(|feature| feature == name);
    let version: u32 =
        env::var("DEP_NGINX_VERSION_NUMBER").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let flags = env::var("DEP_NGINX_CFLAGS").unwrap_or_default();
    for (capability, present) in [
        ("nginx_tls", has("http_ssl")),
        ("nginx_http2", has("http_v2")),
        ("nginx_http3", has("http_v3")),
        ("nginx_cache", has("http_cache")),
        // proxy_ssl_certificate takes variables.
        ("nginx_tls_certificate_value", version >= 1_021_000),
        // Pools take each value from malloc, so that memory checkers see both its ends.
        ("nginx_debug_palloc", flags.contains("NGX_DEBUG_PALLOC")),
    ] {
        println!("cargo::rustc-check-cfg=cfg({capability})");
        if present {
            println!("cargo::rustc-cfg={capability}");
        }
    }

    let mut bits = cc::Build::new();
    bits.file("src/ngx/bits.c")
        .includes(env::split_paths(&env::var_os("DEP_NGINX_INCLUDE").unwrap_or_default()));
    for define in flags.split_whitespace() {
        bits.flag(define);
    }
    bits.warnings(false).compile("ngx_http_upstream_ntlm_bits");

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/ngx/bits.c");
}
