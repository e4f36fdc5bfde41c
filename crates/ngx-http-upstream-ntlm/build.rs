//! Turns what nginx-sys read off the configured nginx into cfgs named by capability.

fn main() {
    let features = std::env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    let has = |name: &str| features.split(',').any(|feature| feature == name);
    for (capability, present) in [
        ("nginx_tls", has("http_ssl")),
        ("nginx_http2", has("http_v2")),
        ("nginx_http3", has("http_v3")),
    ] {
        println!("cargo::rustc-check-cfg=cfg({capability})");
        if present {
            println!("cargo::rustc-cfg={capability}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
