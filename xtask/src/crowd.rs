//! The module among all the modules that Debian 12 has for its nginx: loaded beside it, many of them at work on every
//! request.
//!
//! They are installed on this machine, since they name places of their own: Lua's libraries, Perl's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{self, Built};
use crate::packages::{self, Need};
use crate::suite::Suite;
use crate::{CrowdArgs, chaos, paths, ui};

/// The NGINX whose binary is Debian 12's.
const NAME: &str = "1.22";

/// Where Debian's packages put what loads their modules, each with a number by which they are sorted.
const ENABLED: &str = "/etc/nginx/modules-enabled";

/// Where the modules are.
const MODULES: &str = "/usr/lib/nginx";

/// The lines by which the other modules work on every request and answer. No test may see a difference. subs_filter is loaded only: with
/// it, and without this module, an answer that breaks off within a line of some kilobytes is never ended.
const AT_WORK: &str = r#"
variables_hash_max_size 4096;
brotli on;
brotli_types *;
more_set_headers "X-Neighbour: headers-more";
modsecurity on;
modsecurity_rules '
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecRule REQUEST_HEADERS:X-Attack "@streq attack" "id:1,phase:1,deny,status:403"
';
access_by_lua_block { ngx.ctx.seen = ngx.var.uri }
header_filter_by_lua_block { ngx.header["X-Lua"] = ngx.ctx.seen }
body_filter_by_lua_block { ngx.ctx.bytes = (ngx.ctx.bytes or 0) + #ngx.arg[1] }
log_by_lua_block { ngx.ctx.seen = nil }
perl_set $neighbour 'sub { my $r = shift; return "perl " . $r->uri; }';
add_header X-Perl $neighbour;
"#;

/// `cargo xtask crowd`
pub fn command(args: &CrowdArgs) -> Result<()> {
    ui::stage("packages", || packages::ensure(&[Need::Fetch, Need::Module, Need::Suite, Need::Crowd]))?;
    let module = ui::stage("module", || build::build(NAME))?.module;
    let built = Built { nginx: PathBuf::from("/usr/sbin/nginx"), module, foreign: None };
    let beside = paths::repo().join("target/crowd");
    let count = ui::stage("the neighbours", || neighbours(&beside))?;
    let environment = [("NTLM_BESIDE", beside.display().to_string())];

    let suite = ui::stage("compile the suite", Suite::compile)?;
    for filter in ["smoke::", "crowd::"] {
        ui::stage(&format!("{filter} among {count} modules"), || {
            suite.run_with(&built, args.test_threads, &[filter.to_owned()], &environment)
        })?;
    }
    let mut runner = chaos::on(&ui::stage("chaos runner", chaos::compile)?, &built);
    runner.envs(environment).arg("--seed").arg(args.seed.to_string());
    runner.arg("--count").arg(args.count.to_string());
    ui::stage(&format!("chaos among {count} modules"), || ui::run(&mut runner))
}

/// Writes what the suite includes; returns how many modules there are.
fn neighbours(dir: &Path) -> Result<usize> {
    fs::create_dir_all(dir)?;
    let mut files: Vec<PathBuf> = fs::read_dir(ENABLED)?.flatten().map(|file| file.path()).collect();
    files.sort();
    let mut lines = String::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        for name in text.lines().filter_map(|line| line.trim().strip_prefix("load_module ")) {
            // The package of the module itself may be installed, too.
            if !name.contains("ngx_http_upstream_ntlm_module") {
                lines += &format!("load_module {MODULES}/{name}\n");
            }
        }
    }
    let count = lines.lines().count();
    if count == 0 {
        bail!("no module is enabled in {ENABLED}");
    }
    fs::write(dir.join("main.conf"), lines)?;
    fs::write(dir.join("http.conf"), AT_WORK)?;
    let version = ui::output(Command::new("sh").args(["-c", "nginx -v 2>&1"]))?;
    ui::say(format!("  {count} modules for {}", version.trim()));
    Ok(count)
}
