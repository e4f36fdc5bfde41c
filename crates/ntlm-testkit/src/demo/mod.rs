//! The demonstration behind `ntlm-demo`: one login without and with the module, or the module in front of a server of
//! the user's own.
//!
//! It must never say what it did not see: every verdict is a comparison of what was observed.

mod login;
mod own;
mod proof;
mod scenario;
mod screen;
mod upstream;
mod url;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::nginx::Builder;
use crate::{Nginx, Origin};
use screen::Screen;

pub use self::url::ServerUrl;

/// The choices of the user who runs the demonstration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nginx to run.
    pub nginx: PathBuf,
    /// The module to load; nothing if it is built in.
    pub module: Option<PathBuf>,
    /// A server to put nginx in front of, instead of one that comes with the demonstration.
    pub upstream: Option<ServerUrl>,
    /// Who logs in at that server.
    pub login: Option<Login>,
    /// Where nginx with the module listens as well.
    pub listen: Option<SocketAddr>,
    /// The demonstration ends after the verdict. It prints no addresses and no files, which would be gone before anybody uses them.
    pub once: bool,
}

/// A login at a server of the user's own.
#[derive(Clone, Debug)]
pub struct Login {
    /// `alice`, `DOMAIN\alice` or `alice@example.com`.
    pub user: String,
    /// `ntlm-probe`, which plays the login, and asks for the password or finds it in its environment.
    pub probe: PathBuf,
}

/// A demonstration after its show, still running. Dropping it stops everything.
#[derive(Debug)]
pub struct Demo {
    fine: bool,
    _nginxes: Vec<Nginx>,
    watched: Watched,
    screen: Screen,
}

/// Where requests are seen that come after the show.
#[derive(Debug)]
enum Watched {
    Origin(Box<Origin>, usize),
    Log(upstream::Tail),
}

impl Demo {
    /// Starts what `options` want and shows it.
    ///
    /// # Errors
    /// When it cannot be started, in words for people.
    pub async fn show(options: Options) -> Result<Self, String> {
        if let Some(listen) = options.listen {
            // "nginx -t" says nothing of an address that is taken.
            std::net::TcpListener::bind(listen)
                .map_err(|error| format!("cannot listen at {listen}: {error}"))?;
        }
        Nginx::choose(&options.nginx, options.module.as_deref())?;
        let screen = Screen::of_stdout();
        match &options.upstream {
            Some(url) => upstream::show(url, &options, screen).await,
            None => own::show(&options, screen).await,
        }
    }

    /// Whether everything observed was as it has to be.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.fine
    }

    /// Prints each request from now on; never returns.
    pub async fn stay(&mut self) {
        println!();
        match &mut self.watched {
            Watched::Origin(origin, seen) => {
                println!("Up until Ctrl-C. Requests the server sees from here on:\n");
                println!("  {}", self.screen.dim("answer  connection  served as  request"));
                loop {
                    let new = origin.entries_after(*seen).await;
                    *seen += new.len();
                    for entry in &new {
                        own::print(entry, self.screen);
                    }
                }
            }
            Watched::Log(tail) => {
                println!("Up until Ctrl-C. Requests that pass from here on:\n");
                println!("  {}", self.screen.dim("answer  your connection  request"));
                loop {
                    println!("  {}", tail.next().await);
                }
            }
        }
    }
}

/// Starts an nginx of the demonstration; what it refuses is an error in its own words.
async fn start(builder: Builder, options: &Options) -> Result<Nginx, String> {
    // At "debug" the log would hold credentials. What is wrong in it goes into the verdict and stops nothing here.
    let builder = builder.log_level("info").allow_log("");
    let test = builder.clone().config_test().await;
    if test.exit == Some(0) {
        return Ok(builder.start().await);
    }
    let stderr: Vec<&str> = test.stderr.lines().filter(|line| !line.ends_with("test failed")).collect();
    let stderr = stderr.join("\n");
    let hint = if stderr.contains("unknown directive \"ntlm\"") {
        match &options.module {
            None => "\nThe module is not built into this nginx: name its file with --module.".to_owned(),
            Some(module) => format!("\n{} is not the module.", module.display()),
        }
    } else if stderr.contains("instead of") || stderr.contains("not binary compatible") {
        "\nThe module was built for another nginx: \"cargo xtask demo\" builds it for the one it runs."
            .to_owned()
    } else {
        String::new()
    };
    Err(format!("{} does not take the configuration\n{stderr}{hint}", options.nginx.display()))
}

/// `name:port` of a running nginx, as an address for people.
fn address(nginx: &Nginx, port: &str, path: &str) -> String {
    format!("http://{}{path}", nginx.socket_addr(port))
}

impl Options {
    /// The line that listens at another address, where one is wanted.
    fn listen_line(&self) -> String {
        self.listen.map_or(String::new(), |listen| format!("    listen {listen};\n"))
    }

    /// Where people reach the nginx with the module: at the address that they wanted, if they did.
    fn address(&self, nginx: &Nginx, path: &str) -> String {
        match self.listen {
            Some(listen) if !listen.ip().is_unspecified() => format!("http://{listen}{path}"),
            Some(listen) => format!("http://{}:{}{path}", machine(), listen.port()),
            None => address(nginx, "", path),
        }
    }
}

/// The name of this machine.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// The lines of a configuration that matter, as they are in the file, and where the file is.
fn print_configuration(nginx: &Nginx, template: &str, options: &Options, screen: Screen) {
    let port = nginx.socket_addr("").port().to_string();
    println!("{}\n", screen.bold("The configuration"));
    let load = Nginx::binary().load_module();
    for line in load.lines().chain(template.replace("{{port}}", &port).lines()) {
        println!("{}", format!("    {line}").trim_end());
    }
    if !options.once {
        println!("\n  The whole file, as long as this runs: {}", nginx.prefix().join("nginx.conf").display());
        println!("  Its log: {}", nginx.prefix().join("error.log").display());
    }
}
