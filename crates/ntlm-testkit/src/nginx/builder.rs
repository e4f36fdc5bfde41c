//! An nginx to order: its configuration, filled in and written down, and its start.
//!
//! It must never write outside the prefix, or name a port that was not reserved.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::form::Form;
use super::process::Process;
use super::{Nginx, binary, logs, poll};
use crate::Origin;
use crate::ports::Reserved;

/// Builds an [`Nginx`].
///
/// Templates ([`Builder::conf`], [`Builder::main`], [`Builder::whole`]) may contain `{{port}}`, `{{port:name}}`
/// (numbers reserved on 127.0.0.1, for TCP and UDP: write `listen 127.0.0.1:{{port}};`), `{{port6}}` and `{{port6:name}}`
/// (on ::1), `{{prefix}}`, `{{ca}}`, `{{cert}}`, `{{key}}`, `{{client_cert}}`, `{{client_key}}`, and what [`Builder::set`] names.
#[derive(Clone, Debug)]
pub struct Builder {
    http: String,
    main: String,
    events: String,
    whole: Option<String>,
    workers: usize,
    master: bool,
    worker_connections: usize,
    level: Option<String>,
    module: bool,
    module_path: Option<PathBuf>,
    environment: Vec<(String, String)>,
    below: Vec<String>,
    allowed: Vec<String>,
    values: BTreeMap<String, String>,
    as_written: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            http: String::new(),
            main: String::new(),
            events: String::new(),
            whole: None,
            workers: 1,
            master: true,
            worker_connections: 512,
            level: None,
            module: true,
            module_path: None,
            environment: Vec::new(),
            below: Vec::new(),
            allowed: Vec::new(),
            values: BTreeMap::new(),
            as_written: false,
        }
    }
}

/// The outcome of `nginx -t`.
#[derive(Debug)]
pub struct ConfigTest {
    /// Its exit status; `None` if a signal ended it.
    pub exit: Option<i32>,
    /// Its standard error.
    pub stderr: String,
}

impl Builder {
    /// Adds to the `http` block.
    #[must_use]
    pub fn conf(mut self, template: &str) -> Self {
        self.http.push_str(template);
        self.http.push('\n');
        self
    }

    /// Adds the shortest `http` block there is: one server at `{{port}}` that passes everything to an upstream group
    /// `backend` of these origins, with `lines` at the end of the group.
    #[must_use]
    pub fn in_front_of(self, origins: &[&Origin], lines: &str) -> Self {
        let mut servers = String::new();
        for origin in origins {
            let _ = writeln!(servers, "server {};", origin.address());
        }
        let scheme = if origins.iter().any(|origin| origin.is_tls()) { "https" } else { "http" };
        self.conf(&format!(
            "upstream backend {{ {servers} {lines} }}\n\
             server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass {scheme}://backend; }} }}"
        ))
    }

    /// Sets the value that `{{name}}` stands for.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.values.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds lines at the top level.
    #[must_use]
    pub fn main(mut self, template: &str) -> Self {
        self.main.push_str(template);
        self.main.push('\n');
        self
    }

    /// Adds lines to the `events` block: `use poll;`
    #[must_use]
    pub fn events(mut self, lines: &str) -> Self {
        self.events.push_str(lines);
        self
    }

    /// A whole configuration in place of everything else but `daemon off` (`load_module` included: `{{load_module}}`).
    #[must_use]
    pub fn whole(mut self, template: &str) -> Self {
        self.whole = Some(template.to_owned());
        self
    }

    /// `worker_processes`; 1 if not given.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// `master_process off`.
    #[must_use]
    pub fn single_process(mut self) -> Self {
        self.master = false;
        self
    }

    /// `worker_connections`; 512 if not given.
    #[must_use]
    pub fn worker_connections(mut self, count: usize) -> Self {
        self.worker_connections = count;
        self
    }

    /// The level of the error log; `debug` if not given and nginx can.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        self.level = Some(level.to_owned());
        self
    }

    /// Keeps its groups, whatever the form of the run: for what only a group has.
    #[must_use]
    pub fn as_written(mut self) -> Self {
        self.as_written = true;
        self
    }

    /// Does not load the module: for controls.
    #[must_use]
    pub fn without_module(mut self) -> Self {
        self.module = false;
        self
    }

    /// Loads this file in place of the module under test.
    #[must_use]
    pub fn module_at(mut self, path: &Path) -> Self {
        self.module_path = Some(path.to_owned());
        self
    }

    /// A variable in the environment it is started with.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Is run by this command, which gets nginx and its arguments as its last ones: valgrind and its options. For an nginx
    /// of one process; `NTLM_NGINX_WRAP` does it for all of a run.
    #[must_use]
    pub fn below(mut self, command: &[String]) -> Self {
        self.below = command.to_vec();
        self
    }

    /// Lines of the error log that contain this are no complaints.
    #[must_use]
    pub fn allow_log(mut self, substring: &str) -> Self {
        self.allowed.push(substring.to_owned());
        self
    }

    /// Starts it, and waits until all workers serve; panics with its log if they do not.
    pub async fn start(self) -> Nginx {
        Form::of_run().prepare().await;
        let prefix = folder();
        let mut ports = BTreeMap::new();
        self.write(prefix.path(), &mut ports);
        let child = self
            .command(prefix.path())
            .stdout(Stdio::null())
            .stderr(File::create(prefix.path().join("stderr")).expect("a file in the prefix"))
            .spawn()
            .expect("nginx");
        let mut nginx = Nginx {
            process: Process(child),
            workers: self.workers,
            master: self.master,
            allowed: self.allowed,
            ports,
            prefix,
            judged: false,
        };
        let path = nginx.prefix.path().to_owned();
        poll(
            "nginx to serve",
            || {
                let log = || logs::tail(&logs::errors(&path));
                assert!(!nginx.process.has_exited(), "nginx does not start\n{}", log());
                !logs::read(&path.join("nginx.pid")).is_empty() && nginx.worker_pids().len() == nginx.workers
            },
            || logs::tail(&logs::errors(&path)),
        )
        .await;
        nginx
    }

    /// Runs `nginx -t` on the configuration.
    pub async fn config_test(self) -> ConfigTest {
        let prefix = folder();
        self.write(prefix.path(), &mut BTreeMap::new());
        let mut command = tokio::process::Command::from(self.command(prefix.path()));
        command.arg("-t").stdin(Stdio::null()).kill_on_drop(true);
        let output =
            crate::within(command.output(), || "nginx -t does not end".to_owned()).await.expect("nginx");
        ConfigTest {
            exit: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Puts this configuration in the place of `nginx`'s; it may name no new port.
    pub(super) fn rewrite(&self, nginx: &Nginx) {
        let text = self.fill(&self.text(nginx.prefix.path()), nginx.prefix.path(), &mut |name| {
            nginx.ports.get(name).unwrap_or_else(|| panic!("port \"{name}\" is new")).port()
        });
        std::fs::write(nginx.prefix.path().join("nginx.conf"), text).expect("a file in the prefix");
    }

    fn command(&self, prefix: &Path) -> std::process::Command {
        let mut command = binary::get().command();
        if let Some((program, arguments)) = self.below.split_first() {
            let mut below = std::process::Command::new(program);
            below.args(arguments).arg(command.get_program()).args(command.get_args());
            command = below;
        }
        command.arg("-p").arg(prefix).arg("-c").arg(prefix.join("nginx.conf"));
        // Before, what happens until the configuration is read goes to a place below the prefix: `folder` links it.
        if binary::get().version() >= (1, 19, 5) {
            command.arg("-e").arg(prefix.join("error.log"));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn write(&self, prefix: &Path, ports: &mut BTreeMap<String, Reserved>) {
        let text = self.fill(&self.text(prefix), prefix, &mut |name| {
            let reserve = || {
                let reserved = if name.starts_with("v6") { Reserved::v6() } else { Reserved::v4() };
                reserved.expect("a free port")
            };
            ports.entry(name.to_owned()).or_insert_with(reserve).port()
        });
        std::fs::write(prefix.join("nginx.conf"), text).expect("a file in the prefix");
    }

    fn text(&self, prefix: &Path) -> String {
        let binary = binary::get();
        if let Some(whole) = &self.whole {
            return format!("daemon off; pid {{{{prefix}}}}/nginx.pid;\n{whole}");
        }
        let level =
            self.level.as_deref().unwrap_or(if binary.has("--with-debug") { "debug" } else { "info" });
        let mut text = String::new();
        let beside = |file: &str| binary.beside().map(|dir| format!("include {}/{file};\n", dir.display()));
        text.extend(beside("main.conf"));
        if self.module {
            text.push_str("{{load_module}}");
        }
        text.push_str("daemon off;\npid {{prefix}}/nginx.pid;\nlock_file {{prefix}}/nginx.lock;\n");
        if std::fs::metadata("/proc/self").is_ok_and(|owner| owner.uid() == 0) {
            text.push_str("user root;\n");
        }
        let _ = writeln!(text, "master_process {};", if self.master { "on" } else { "off" });
        let _ = writeln!(text, "worker_processes {};", self.workers);
        let _ = writeln!(text, "error_log {{{{prefix}}}}/error.log {level};");
        text.push_str(&self.main);
        let _ =
            writeln!(text, "events {{ worker_connections {}; {} }}", self.worker_connections, self.events);
        text.push_str("http {\n");
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            if !binary.has(&format!("--without-http_{kind}_module")) {
                let _ = writeln!(text, "{kind}_temp_path {}/{kind};", prefix.display());
            }
        }
        text.push_str(
            "log_format testkit '\"$request\" status=$status upstream_addr=$upstream_addr \
             upstream_status=$upstream_status connection=$connection requests=$connection_requests';\n\
             access_log {{prefix}}/access.log testkit;\n",
        );
        text.extend(beside("http.conf"));
        // The default of later versions.
        if binary.version() < (1, 19, 10) && !self.http.contains("keepalive_requests") {
            text.push_str("keepalive_requests 1000;\n");
        }
        text.push_str(&self.http_in_form());
        text.push_str("}\n");
        text
    }

    /// The lines of `http`, in the form of the run where they have one in it.
    fn http_in_form(&self) -> String {
        // A group's server is often one of the values.
        let mut http = self.http.clone();
        for (name, value) in &self.values {
            http = http.replace(&format!("{{{{{name}}}}}"), value);
        }
        let form = match Form::of_run() {
            // Its groups are kept.
            Form::Replaced => Form::Replaced,
            _ if self.as_written => Form::Group,
            form => form,
        };
        form.write(&http).filter(|_| self.module).unwrap_or(http)
    }

    fn fill(&self, text: &str, prefix: &Path, port: &mut dyn FnMut(&str) -> u16) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").unwrap_or_else(|| panic!("no end of {{{{ in {after}"));
            filled.push_str(before);
            let path = |path: &Path| path.display().to_string();
            filled.push_str(&match name {
                "prefix" => path(prefix),
                "ca" | "cert" | "key" | "client_cert" | "client_key" => {
                    path(&prefix.join(format!("{name}.pem")))
                }
                "load_module" => match &self.module_path {
                    Some(path) => binary::load_module(path),
                    None => binary::get().load_module(),
                },
                "port" => port("").to_string(),
                "port6" => port("v6").to_string(),
                _ => match (name.strip_prefix("port:"), name.strip_prefix("port6:"), self.values.get(name)) {
                    (Some(name), _, _) => port(name).to_string(),
                    (_, Some(name), _) => port(&format!("v6:{name}")).to_string(),
                    (_, _, Some(value)) => value.clone(),
                    _ => panic!("nothing is known of {{{{{name}}}}}"),
                },
            });
            rest = after;
        }
        filled + rest
    }
}

fn folder() -> tempfile::TempDir {
    let prefix = tempfile::Builder::new().prefix("ntlm-nginx-").tempdir().expect("a temporary folder");
    #[cfg(feature = "full")]
    crate::pki::pki().write_to(prefix.path()).expect("a temporary folder to write to");
    let logs = prefix.path().join("logs");
    std::fs::create_dir(&logs).expect("a folder in the prefix");
    std::os::unix::fs::symlink("../error.log", logs.join("error.log")).expect("a link in the prefix");
    prefix
}
