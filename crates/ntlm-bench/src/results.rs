//! The form of the results, in JSON: what `ntlm-bench measure` writes, and what the page and the check read.
//!
//! Numbers are averages over many requests. A part that was not measured is missing. [`FORMAT`] changes when a reader of the old
//! form would misunderstand the new one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::exchange::Size;
use crate::subject::Subject;

/// The form that this program writes and reads.
pub const FORMAT: u32 = 2;

/// All results for one version of NGINX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: u32,
    /// The module's version.
    pub module: String,
    /// NGINX's version.
    pub nginx: String,
    /// HAProxy's version.
    pub haproxy: String,
    /// Where it was measured.
    pub machine: Machine,
    /// Instructions of requests and logins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Instructions>,
    /// Memory of clients that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Times under load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Processor time of logins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins: Option<Logins>,
    /// Time of operations on the table of bindings alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<Operation>,
}

/// An operation on the table of bindings, without NGINX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// `request` takes a binding and gives it back; `login` makes one and ends it.
    pub name: String,
    /// Bindings in the table.
    pub bindings: usize,
    /// Its processor time, by criterion: the median.
    pub nanoseconds: f64,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as Linux names it.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Linux' version.
    pub linux: String,
}

/// Instructions outside of the kernel, counted by callgrind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instructions {
    /// By how much the counts differ between repetitions.
    pub noise: Noise,
    /// Requests of one count.
    pub counted: usize,
    /// The counts, each for one subject, one number of clients and one size.
    pub requests: Vec<Cell>,
    /// The instructions of a login: its connection and its two requests. Of a subject without [`Subject::logs_in`] they are those
    /// of the same requests through a proxy that binds nothing.
    pub logins: Vec<Count>,
    /// The counts that `ntlm-bench check` compares with, made in the way in which it makes its own.
    #[serde(default)]
    pub checked: Vec<Checked>,
}

/// The cost of a request, compared with one of [`Subject::KeepAlive`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The subject that the request goes through.
    pub subject: Subject,
    /// Clients that are connected.
    pub clients: usize,
    /// The size of the request.
    #[serde(flatten)]
    pub size: Size,
    /// All instructions of the request, divided by those of the other.
    pub all: f64,
    /// The instructions in the proxy and its modules, not those in libraries, divided by those of the other.
    pub own: f64,
    /// The request's calls of the allocator, less those of the other.
    pub more_allocations: f64,
}

/// By how much the counts of the same request differ, in percent: the largest difference of any cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Between proxies with different pasts, of all instructions, each proxy's two counts averaged.
    pub all_percent: f64,
    /// Between proxies with different pasts, of the instructions in the proxy and its modules.
    pub own_percent: f64,
    /// Within a run, of all instructions, before and after larger requests: those leave the allocator of the C library in
    /// another state. A count is the average of both.
    pub order_percent: f64,
}

/// Instructions a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The subject that the request goes through.
    pub subject: Subject,
    /// Clients that are connected and ask in turn, eight at the same time.
    pub clients: usize,
    /// The size of the request.
    #[serde(flatten)]
    pub size: Size,
    /// The request's bytes.
    pub request_bytes: usize,
    /// The answer's bytes, as the client gets them.
    pub answer_bytes: usize,
    /// All instructions, in each count: two by each of several proxies, before and after larger requests.
    pub all: Vec<f64>,
    /// The instructions in the proxy and its modules, not those in libraries.
    pub own: Vec<f64>,
    /// Calls of the allocator by the proxy and its modules.
    pub allocations: Vec<f64>,
}

/// Instructions a login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// The subject that the request goes through.
    pub subject: Subject,
    /// All instructions.
    pub all: f64,
    /// The instructions in the proxy and its modules, not those in libraries.
    pub own: f64,
}

/// Memory of clients that wait, each with its connection to the origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Each subject's.
    pub subjects: Vec<MemoryOf>,
}

/// Memory of one subject's clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryOf {
    /// The subject that the request goes through.
    pub subject: Subject,
    /// The slope of [`Self::points`], by least squares: bytes a client.
    pub bytes_a_client: f64,
    /// The largest distance of a point from the line, divided by the clients from the first point to the last.
    pub noise_bytes: f64,
    /// Clients, and the resident memory of the process in bytes.
    pub points: Vec<(usize, u64)>,
}

/// Times under load: requests come at a steady rate, whether or not the last ones were answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Clients that are connected.
    pub clients: usize,
    /// Requests a second.
    pub rate: usize,
    /// Seconds of one round. The subjects take turns.
    pub seconds: f64,
    /// The size of the requests.
    pub size: Size,
    /// The measuring process and the proxies went before all other processes of the machine (`SCHED_FIFO`).
    #[serde(default)]
    pub goes_first: bool,
    /// Each subject's.
    pub subjects: Vec<LoadOf>,
}

/// Times of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadOf {
    /// The subject that the request goes through.
    pub subject: Subject,
    /// The median of the rounds.
    pub median: Round,
    /// All rounds.
    pub rounds: Vec<Round>,
}

/// Times of one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Half of the requests were answered within this many microseconds, counted from the moment that the request was due.
    pub p50_microseconds: f64,
    /// 99 of 100 requests were answered within this many microseconds.
    pub p99_microseconds: f64,
    /// Processor time of the proxy a request, the kernel's for it included, in microseconds.
    pub cpu_microseconds: f64,
    /// Processor time of the measuring process, origin included, in percent of one processor.
    pub measuring_percent: f64,
}

/// The cost of a login: a new connection and two requests, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logins {
    /// Logins of a round. The subjects take turns.
    pub logins: usize,
    /// Each subject's.
    pub subjects: Vec<LoginsOf>,
}

/// Logins of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginsOf {
    /// The subject that the request goes through.
    pub subject: Subject,
    /// Clients speak TLS 1.3 to the proxy, without resumption; its key is one of ECDSA on P-256.
    pub tls: bool,
    /// Processor time of the proxy a login, the kernel's for it included: the median of the rounds, in microseconds.
    pub cpu_microseconds: f64,
    /// Each round's.
    pub rounds: Vec<f64>,
}

impl Results {
    /// No results yet.
    pub fn new(nginx: String, haproxy: String) -> Self {
        let module = env!("CARGO_PKG_VERSION").to_owned();
        let machine = Machine::here();
        let (instructions, memory, load, logins) = (None, None, None, None);
        Self {
            format: FORMAT,
            module,
            nginx,
            haproxy,
            machine,
            instructions,
            memory,
            load,
            logins,
            table: Vec::new(),
        }
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let results: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is of another form", file.display()))?;
        ensure!(results.format == FORMAT, "{}: the form {} is unknown", file.display(), results.format);
        Ok(results)
    }

    /// Writes a file.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Instructions {
    /// The count of a subject with so many clients and requests of this size.
    pub fn of(&self, subject: Subject, clients: usize, size: Size) -> Option<&Cell> {
        self.requests
            .iter()
            .find(|cell| cell.subject == subject && cell.clients == clients && cell.size == size)
    }
}

impl Cell {
    /// All instructions.
    pub fn all(&self) -> f64 {
        median(self.all.iter().copied())
    }

    /// The instructions in the proxy and its modules, not those in libraries.
    pub fn own(&self) -> f64 {
        median(self.own.iter().copied())
    }

    /// Calls of the allocator: the average, since a client's pool grows at one of several requests.
    pub fn allocations(&self) -> f64 {
        self.allocations.iter().sum::<f64>() / self.allocations.len() as f64
    }
}

impl Machine {
    fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let name = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            linux: read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default().trim().to_owned(),
        }
    }
}

/// The number in the middle.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let (lower, upper) = (numbers.len().saturating_sub(1) / 2, numbers.len() / 2);
    match (numbers.get(lower), numbers.get(upper)) {
        (Some(lower), Some(upper)) => (lower + upper) / 2.0,
        _ => f64::NAN,
    }
}
