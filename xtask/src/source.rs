//! An NGINX compiled here. The sources come as a crate (`nginx-src`), so cargo's own registry and checksums serve, or from
//! a Debian suite, whose list apt verifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::arch::Arch;
use crate::sysroot::{SUITE, Sysroot};
use crate::{debian, paths, ui};

/// The releases taken: `nginx-src` is numbered as NGINX is, up to the patch level.
const CRATE: &str = "~1.28";

/// Everything that touches what the module does.
pub const FULL: &[&str] = &[
    "--with-compat",
    "--with-debug",
    "--with-http_auth_request_module",
    "--with-http_realip_module",
    "--with-http_slice_module",
    "--with-http_ssl_module",
    "--with-http_stub_status_module",
    "--with-http_v2_module",
    "--with-http_v3_module",
    "--with-stream",
    "--with-stream_ssl_module",
    "--with-threads",
];

/// The options of [`FULL`] for versions before HTTP/3.
pub const FULL_HTTP2: &[&str] = &[
    "--with-compat",
    "--with-debug",
    "--with-http_auth_request_module",
    "--with-http_realip_module",
    "--with-http_slice_module",
    "--with-http_ssl_module",
    "--with-http_stub_status_module",
    "--with-http_v2_module",
    "--with-stream",
    "--with-stream_ssl_module",
    "--with-threads",
];

/// What is watched while the suite runs: each piece of a pool's memory is the C library's own, so that its use after the
/// pool is gone is seen, and a write past its end.
pub const MEMCHECK: &[&str] =
    &watched("--with-cc-opt=-O1 -g -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1", "--with-ld-opt=");

/// The options of [`MEMCHECK`], with AddressSanitizer compiled in.
pub const ASAN: &[&str] = &watched(
    "--with-cc-opt=-O1 -g -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1 -fsanitize=address",
    "--with-ld-opt=-fsanitize=address",
);

const fn watched(compiler: &'static str, linker: &'static str) -> [&'static str; 12] {
    [
        "--with-compat",
        "--with-debug",
        "--with-http_auth_request_module",
        "--with-http_realip_module",
        "--with-http_slice_module",
        "--with-http_ssl_module",
        "--with-http_stub_status_module",
        "--with-http_v2_module",
        "--with-http_v3_module",
        "--with-threads",
        compiler,
        linker,
    ]
}

/// Nothing that can be left out: no debug log, no SSL, no HTTP/2, and structures without the space for compatibility.
pub const BARE: &[&str] = &["--with-http_realip_module"];

/// Where sources come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// The crate `nginx-src`.
    Crate,
    /// The source package of a Debian suite, without what Debian changes in it.
    Debian(&'static str),
}

impl Sources {
    /// Whether what the sources need is as old as they are: they are compiled with Debian 11's libraries.
    pub fn of_sysroot(self) -> bool {
        self == Self::Debian(SUITE)
    }
}

/// The ways a module gets into an NGINX.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Built by cargo, loaded with `load_module`.
    Cargo,
    /// Built by NGINX's `make modules`, loaded with `load_module`.
    Dynamic,
    /// Built into the binary by NGINX's `make`.
    Static,
}

/// Fills `dir`: `src`, configured with `flags`, and `nginx`.
///
/// With a door, what depends on the module is left to `make` below: the module changes more often than NGINX does.
pub fn make(sources: Sources, arch: Arch, flags: &[&str], door: Door, dir: &Path, log: &Path) -> Result<()> {
    let src = dir.join("src");
    let script = match sources {
        Sources::Crate => {
            let sources = fetch(&dir.join("fetch"), log)?;
            ui::run(Command::new("cp").args(["-r", "--"]).arg(sources).arg(&src))?;
            fs::remove_dir_all(dir.join("fetch"))?;
            "auto/configure"
        }
        Sources::Debian(suite) => {
            debian::sources(suite, &src, log)?;
            "configure"
        }
    };

    let mut configure = Command::new("sh");
    configure.arg(script).args(flags).current_dir(&src);
    if arch.is_foreign() || sources.of_sysroot() {
        let compiler = Sysroot::get(arch)?.put_compiler(dir)?;
        configure.arg(format!("--with-cc={}", compiler.display()));
    }
    match door {
        Door::Cargo => {}
        Door::Dynamic => _ = configure.arg(format!("--add-dynamic-module={}", paths::repo().display())),
        Door::Static => _ = configure.arg(format!("--add-module={}", paths::repo().display())),
    }
    ui::quietly("configuring", log, &mut configure)?;

    let binary = match door {
        Door::Cargo => {
            run_make(&src, "build", "compiling NGINX", log)?;
            "src/objs/nginx"
        }
        Door::Static => "src/objs/nginx",
        // The module is built as if for somebody's existing binary, and is loaded into one.
        Door::Dynamic => "../1.28/nginx",
    };
    std::os::unix::fs::symlink(binary, dir.join("nginx"))?;
    Ok(())
}

/// Runs `make TARGET` in a configured source folder.
pub fn run_make(src: &Path, target: &str, what: &str, log: &Path) -> Result<()> {
    let jobs = available_parallelism().map_or(1, usize::from);
    let mut make = Command::new("make");
    make.arg(format!("-j{jobs}")).arg(target).current_dir(src);
    ui::quietly(what, log, &mut make)
}

/// Has cargo download the crate; returns the folder of the sources, which is not to be written to.
pub fn fetch(dir: &Path, log: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("src/lib.rs"), "")?;
    fs::write(
        dir.join("Cargo.toml"),
        format!(
            "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
             [dependencies]\nnginx-src = \"{CRATE}\"\n"
        ),
    )?;
    let manifest = dir.join("Cargo.toml");
    let mut fetch = paths::cargo();
    ui::quietly("sources", log, fetch.args(["fetch", "--manifest-path"]).arg(&manifest))?;
    let mut metadata = paths::cargo();
    metadata.args(["metadata", "--offline", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    let metadata: Value = serde_json::from_str(&ui::output(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "nginx-src")
        .and_then(|package| package["manifest_path"].as_str())
        .context("cargo metadata does not name nginx-src")?;
    Ok(Path::new(manifest).with_file_name("nginx"))
}
