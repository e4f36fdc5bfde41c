//! The life of the Debian packages in a clean system: installed beside Debian's nginx, used, reinstalled, upgraded, removed.
//!
//! The system is a copy that is thrown away; its network is its own, so it keeps the ports that Debian gives it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::deb::{self, Deb, PACKAGE, PROBE, RELEASES, Release};
use super::namespace::Namespace;
use super::root::Root;
use crate::tidy::links;
use crate::{demo, paths, ui};

const ORIGIN: &str = "127.0.0.1:8080";
const SITE: &str = "127.0.0.1:8081";
const USER: &str = "alice:alice-password";

/// The configuration of the site: a file in the repository, and in the package.
const EXAMPLE: &str = "examples/minimal.conf";

/// The test that the packages bring along.
const SMOKE: &str = "packaging/deb/tests/smoke";

/// How long nginx may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file by which Debian's nginx loads the module.
const ENABLED: &str = "etc/nginx/modules-enabled/50-mod-http-upstream-ntlm.conf";

/// Lives through it.
pub fn check(release: &Release, deb: &Deb, out: &Path) -> Result<()> {
    let packages = ["curl", "nginx"];
    let root = Root::get(&format!("{}-clean", release.suite), release.suite, "minbase", &packages)?;
    let scratch = out.with_file_name(format!("{}.system", release.suite));
    root.copy(&scratch)?;
    let outcome = System::start(&scratch).and_then(|system| life(&system, release, deb, out));
    fs::remove_dir_all(&scratch)?;
    outcome
}

fn life(system: &System, release: &Release, deb: &Deb, out: &Path) -> Result<()> {
    let version = deb.field("Version")?;
    system.write_site()?;
    system.refuses("unknown directive \"ntlm\"").context("without the package")?;

    system.apt("install", &deb.file)?;
    system.accepts().context("with the package")?;
    let configuration = fs::read_to_string(system.dir.join("etc/nginx/nginx.conf"))?;
    ensure!(!configuration.contains("ntlm"), "the package changed nginx.conf");
    ensure!(system.dir.join(ENABLED).is_symlink(), "the package did not enable the module");
    system.inside(&["nginx"])?;
    system.log_in()?;
    ui::say(format!("  {version} is installed: nginx -t accepts \"ntlm;\", a login works"));
    system.documented()?;
    system.probed(deb)?;

    system.apt("reinstall", &deb.file)?;
    system.accepts().context("after it was installed again")?;
    let newer = repack(deb, &format!("{version}+newer"), &system.dir)?;
    system.apt("install", &newer)?;
    ensure!(system.installed()? == format!("{version}+newer"), "apt did not upgrade the package");
    system.accepts().context("after an upgrade")?;
    system.restart()?;
    system.log_in()?;
    ui::say("  it was installed again and upgraded; a login works");

    for other in RELEASES.iter().filter(|other| other.suite != release.suite) {
        // Only if it was made in this run.
        if let Ok(other) = Deb::find(other, out) {
            system.apt_refuses(&other.file, &other.field("Depends")?)?;
        }
    }

    system.inside(&["apt-get", "-q", "-y", "remove", PACKAGE])?;
    // The administrator's own file is his.
    system.refuses("unknown directive \"ntlm\"").context("after the removal, with the site")?;
    system.log_in().context("nginx did not stay up, with its module, when the package was removed")?;
    system.remove_site()?;
    system.accepts().context("after the removal, without the site")?;
    system.apt("install", &deb.file)?;
    system.write_site()?;
    system.accepts().context("installed after a removal")?;
    system.remove_site()?;
    system.inside(&["apt-get", "-q", "-y", "purge", PACKAGE])?;
    system.accepts().context("after it was purged")?;
    let left = system.inside(&["find", "/etc", "/usr", "/var/lib/nginx", "-name", "*ntlm*"])?;
    ensure!(left.is_empty(), "the purged package left {left}");
    ui::say("  removed, installed, purged: nginx -t is content, nothing is left");
    Ok(())
}

/// The copy of the system, with an origin beside it.
struct System {
    dir: PathBuf,
    namespace: Namespace,
    /// The origin writes what it sees; it must find somebody who listens.
    _origin: BufReader<ChildStdout>,
}

impl System {
    fn start(dir: &Path) -> Result<Self> {
        let origin = demo::testkit_binary("ntlm-origin")?;
        let namespace = Namespace::new()?;
        let mut origin = namespace.command(&origin.to_string_lossy());
        let mut origin = origin.args(["--listen", ORIGIN, "--user", USER]).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let mut output = BufReader::new(origin.stdout.take().context("no output of the origin")?);
        output.read_line(&mut line)?;
        ensure!(line.starts_with("listening"), "the origin did not start");
        let system = Self { dir: dir.to_owned(), namespace, _origin: output };
        let proc = dir.join("proc");
        let mounted = system.namespace.command("mount").args(["-t", "proc", "proc"]).arg(proc).status()?;
        ensure!(mounted.success(), "cannot mount the system's /proc");
        Ok(system)
    }

    fn output(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.namespace.command("chroot");
        command.arg(&self.dir).args([
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        ]);
        Ok(command.args(words).output()?)
    }

    /// Runs a command in the system; returns its output.
    fn inside(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        if !output.status.success() {
            bail!("{}: {}\n{}", words.join(" "), output.status, said(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Gives apt a file of ours.
    fn apt(&self, what: &str, deb: &Path) -> Result<()> {
        let name = self.bring(deb)?;
        self.inside(&["apt-get", "-q", "-y", what, &name]).map(drop)
    }

    fn bring(&self, deb: &Path) -> Result<String> {
        let name = format!("/var/tmp/{}", deb.file_name().unwrap_or_default().to_string_lossy());
        fs::copy(deb, self.dir.join(&name[1..]))?;
        Ok(name)
    }

    /// A package for another nginx would keep this one from starting.
    fn apt_refuses(&self, deb: &Path, depends: &str) -> Result<()> {
        let name = self.bring(deb)?;
        let output = self.output(&["apt-get", "-q", "-y", "install", &name])?;
        let said = said(&output);
        let abi =
            depends.split(", ").find(|on| on.starts_with("nginx-abi-")).context("no nginx ABI in Depends")?;
        ensure!(
            !output.status.success() && said.contains(abi),
            "apt took a package for another nginx:\n{said}"
        );
        ui::say(format!("  apt refuses the one that depends on {abi}"));
        Ok(())
    }

    fn installed(&self) -> Result<String> {
        self.inside(&["dpkg-query", "--show", "--showformat=${Version}", PACKAGE])
    }

    fn accepts(&self) -> Result<()> {
        self.inside(&["nginx", "-t"]).map(drop)
    }

    fn refuses(&self, why: &str) -> Result<()> {
        let output = self.output(&["nginx", "-t"])?;
        let said = said(&output);
        ensure!(
            !output.status.success() && said.contains(why),
            "nginx -t should say {why}, and says\n{said}"
        );
        Ok(())
    }

    /// A reload would keep the module that is in memory.
    fn restart(&self) -> Result<()> {
        self.inside(&["nginx", "-s", "quit"])?;
        let deadline = Instant::now() + PATIENCE;
        while self.dir.join("run/nginx.pid").exists() {
            ensure!(Instant::now() < deadline, "nginx does not end");
            // nginx made itself a daemon, so it is no child of ours whose end could be waited for.
            std::thread::sleep(Duration::from_millis(20));
        }
        self.inside(&["nginx"]).map(drop)
    }

    /// The example, with addresses of this network.
    fn write_site(&self) -> Result<()> {
        let example = fs::read_to_string(paths::repo().join(EXAMPLE))?;
        let site = example.replace("iis.example.com:80;", &format!("{ORIGIN};"));
        let site = site.replace("listen 80;", &format!("listen {SITE};"));
        Ok(fs::write(self.site(), site)?)
    }

    fn remove_site(&self) -> Result<()> {
        Ok(fs::remove_file(self.site())?)
    }

    fn site(&self) -> PathBuf {
        self.dir.join("etc/nginx/conf.d/windows.conf")
    }

    /// The example, the changelog and the reference are there to read, and links lead to what is there too.
    fn documented(&self) -> Result<()> {
        let doc = self.dir.join("usr/share/doc").join(PACKAGE);
        let example = fs::read(doc.join(EXAMPLE)).context("no example in the package")?;
        ensure!(example == fs::read(paths::repo().join(EXAMPLE))?, "the package has another example");
        ensure!(doc.join("changelog.gz").exists(), "no changelog in the package");
        ensure!(doc.join("docs/directives.md").exists(), "no reference of the directives in the package");
        let links = links::broken(&doc)?;
        ensure!(links.is_empty(), "links in {PACKAGE} lead nowhere: {}", links.join(", "));
        ui::say("  reference, example and changelog are there; no link leads nowhere");
        Ok(())
    }

    /// The command logs in through the installed nginx, and says so when it cannot.
    fn probed(&self, deb: &Deb) -> Result<()> {
        let depends = deb::field_of(&deb.probe, "Depends")?;
        ensure!(!depends.contains("nginx"), "{PROBE} wants nginx: {depends}");
        self.apt("install", &deb.probe)?;
        ensure!(self.dir.join("usr/share/man/man1/ntlm-probe.1.gz").exists(), "{PROBE} has no man page");
        let (user, password) = USER.split_once(':').context("a user without password")?;
        // Past nginx too: else it could not tell a wrong password from a proxy at fault.
        let (url, direct) = (format!("http://{SITE}/"), format!("http://{ORIGIN}/"));
        for (password, exit, says) in
            [(password, 0, "logged in as alice"), ("wrong", 6, "FAILED (wrong-credentials)")]
        {
            let password = format!("NTLM_PROBE_PASSWORD={password}");
            let output =
                self.output(&[&password, "ntlm-probe", &url, "--user", user, "--direct", &direct])?;
            let said = said(&output);
            ensure!(
                output.status.code() == Some(exit) && said.contains(says),
                "ntlm-probe should say \"{says}\" and exit with {exit}; {}:\n{said}",
                output.status
            );
        }
        ui::say("  ntlm-probe logs in, and tells a wrong password");

        // With both packages there, what autopkgtest runs. It ends the nginx that it finds.
        fs::copy(paths::repo().join(SMOKE), self.dir.join("var/tmp/smoke"))?;
        self.inside(&["sh", "/var/tmp/smoke"]).context(SMOKE)?;
        self.inside(&["nginx"])?;
        ui::say("  the packages' own test passes");
        self.inside(&["apt-get", "-q", "-y", "purge", PROBE]).map(drop)
    }

    /// Two requests over one connection: curl logs in with the first, the second has no credentials.
    fn log_in(&self) -> Result<()> {
        let url = format!("http://{SITE}/");
        let mut curl = self.namespace.command("curl");
        curl.args(["--silent", "--show-error", "--ntlm", "--user", USER, "--max-time", "30"]);
        curl.args([
            "--write-out",
            "%{http_code} %{num_connects}\n",
            "--output",
            "/dev/null",
            "--output",
            "/dev/null",
        ]);
        let output = curl.args([&url, &url]).output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            stdout == "200 1\n200 0\n",
            "no login through the installed nginx: {stdout}{}",
            said(&output)
        );
        Ok(())
    }
}

/// The package with another version, made in the folder `dir` of the system.
fn repack(deb: &Deb, version: &str, dir: &Path) -> Result<PathBuf> {
    let work = dir.join("srv/repacked");
    ui::run(Command::new("dpkg-deb").arg("--raw-extract").arg(&deb.file).arg(&work))?;
    let control = work.join("DEBIAN/control");
    let (old, new) = (format!("Version: {}\n", deb.field("Version")?), format!("Version: {version}\n"));
    let text = fs::read_to_string(&control)?;
    fs::write(&control, text.replace(&old, &new))?;
    let newer = dir.join(format!("srv/{PACKAGE}_{version}.deb"));
    ui::output(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&work).arg(&newer))?;
    fs::remove_dir_all(work)?;
    Ok(newer)
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}
