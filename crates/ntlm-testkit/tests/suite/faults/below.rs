//! Whatever the module asks for memory, made to refuse: the file under test, with the names of what it imports changed so
//! that they lead to `shim.c`. Not an instruction of it is another one. And a client's window, made to be full when nginx
//! says goodbye, or a server's when TLS has something to say to it.
//!
//! Must never refuse memory to nginx itself, or to the C library: only to the module.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Nginx, within};

/// The calls that the shim can refuse, in the order of its counters.
const NAMES: [&str; 10] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "ngx_palloc",
    "ngx_pnalloc",
    "ngx_pcalloc",
    "ngx_pool_cleanup_add",
    "ngx_http_complex_value",
    "ngx_handle_read_event",
];

/// Where the members of the shim's `struct control` are.
const COUNTDOWN: u64 = 0;
const FOREVER: u64 = 8;
const REFUSED: u64 = 16;
const FULL: u64 = 24;
const GOODBYES: u64 = 32;
const WRITE_FIRST: u64 = 40;
const CALLS: u64 = 48;

/// One nginx's: it loads a module that can be refused, and a test says when.
#[derive(Debug)]
pub struct Below {
    folder: tempfile::TempDir,
    control: File,
}

impl Below {
    /// `None` where the module is a part of nginx, whose own calls cannot be told from its.
    pub fn new() -> Option<Self> {
        let module = std::fs::read(Nginx::binary().module()?).expect("NTLM_MODULE");
        let folder = tempfile::Builder::new().prefix("ntlm-below-").tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("module.so"), with_names_changed(module))
            .expect("room for the module");

        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/faults/shim.c");
        let shim = folder.path().join("shim.so");
        let mut cc = Command::new(crate::common::c_compiler());
        cc.args(["-O1", "-shared", "-fPIC", "-o"]).args([&shim, &source]);
        if !Nginx::binary().is_watched() {
            cc.arg("-DPOISON");
        }
        let compiled = cc.status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc does not compile {}", source.display());

        let mut control = OpenOptions::new();
        let control =
            control.read(true).write(true).create(true).truncate(true).open(folder.path().join("control"));
        let control = control.expect("a file to share");
        control.write_all_at(&[0; CALLS as usize + 8 * NAMES.len()], 0).expect("a file to share");
        Some(Self { folder, control })
    }

    /// Has `builder` load that module.
    pub fn under(&self, builder: Builder) -> Builder {
        // qemu-user puts into nginx's environment what it finds in this variable of its own.
        let (preload, value) =
            if Nginx::binary().is_imitated() { ("QEMU_SET_ENV", "LD_PRELOAD=") } else { ("LD_PRELOAD", "") };
        builder
            .module_at(&self.path("module.so"))
            .env(preload, &format!("{value}{}", self.path("shim.so").display()))
            .env("NTLM_FAULTS", &self.path("control").display().to_string())
    }

    /// The `call`-th call from now on is refused (1 is the next one), and that one only.
    pub fn refuse(&self, call: i64) {
        self.order(call, 0);
    }

    /// The `call`-th call from now on is refused, and all that follow.
    pub fn refuse_from(&self, call: i64) {
        self.order(call, 1);
    }

    /// Refuses nothing any more; says how many calls were refused.
    pub fn relent(&self) -> i64 {
        let refused = self.read(REFUSED);
        self.order(0, 0);
        refused
    }

    /// How often `name` was called so far.
    pub fn calls(&self, name: &str) -> i64 {
        let index = NAMES.iter().position(|known| *known == name).expect("a name that the shim has");
        self.read(CALLS + 8 * index as u64)
    }

    /// From now on no client connection that speaks TLS has room for nginx's goodbye.
    pub fn fill(&self) {
        self.write(GOODBYES, 0);
        self.write(FULL, 1);
    }

    /// Waits until nginx has said goodbye and found no room.
    pub async fn wait_goodbye(&self) {
        let said = async {
            while self.read(GOODBYES) == 0 {
                ntlm_testkit::pause().await;
            }
        };
        within(said, || "nginx does not say goodbye".to_owned()).await;
    }

    /// There is room again.
    pub fn drain(&self) {
        self.write(FULL, 0);
    }

    /// From now on a TLS connection that waits for something to read has to write first, and has no room; until the module
    /// has a connection watched that it parks.
    pub fn hold_up(&self) {
        self.write(WRITE_FIRST, 1);
    }

    /// No longer.
    pub fn let_go(&self) {
        self.write(WRITE_FIRST, 0);
    }

    fn order(&self, call: i64, forever: i64) {
        self.write(COUNTDOWN, 0);
        self.write(FOREVER, forever);
        self.write(REFUSED, 0);
        self.write(COUNTDOWN, call);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, at: u64) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at).expect("the shared file");
        i64::from_ne_bytes(bytes)
    }

    fn write(&self, at: u64, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), at).expect("the shared file");
    }
}

/// The shared object with the first letter of what it imports of [`NAMES`] made a capital.
fn with_names_changed(mut elf: Vec<u8>) -> Vec<u8> {
    const SECTION: usize = 64;
    const SYMBOL: usize = 24;
    const DYNSYM: u64 = 11;
    fn number(elf: &[u8], at: usize, size: usize) -> usize {
        elf[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }
    assert!(elf.starts_with(b"\x7fELF\x02\x01"), "the module is no 64-bit little-endian ELF file");
    let section = |elf: &[u8], index: usize| number(elf, 40, 8) + index * SECTION;
    let symbols = (0..number(&elf, 60, 2))
        .map(|index| section(&elf, index))
        .find(|at| number(&elf, at + 4, 4) as u64 == DYNSYM)
        .expect("a shared object has dynamic symbols");
    let strings = number(&elf, section(&elf, number(&elf, symbols + 40, 4)) + 24, 8);
    let (start, size) = (number(&elf, symbols + 24, 8), number(&elf, symbols + 32, 8));
    let names = elf.clone();
    for symbol in (start..start + size).step_by(SYMBOL) {
        let is_imported = number(&names, symbol + 6, 2) == 0;
        let name = strings + number(&names, symbol, 4);
        let end = name + names[name..].iter().position(|byte| *byte == 0).expect("a name ends");
        if is_imported && NAMES.iter().any(|wanted| wanted.as_bytes() == &names[name..end]) {
            // The linker may let a name be the end of a longer one; the shim knows the one that happens to.
            let start = names[..name].iter().rposition(|byte| *byte == 0).map_or(0, |zero| zero + 1);
            let whole = String::from_utf8_lossy(&names[start..end]);
            assert!(start == name || whole == "ngx_pcalloc", "{whole} ends in a name that is changed");
            elf[name].make_ascii_uppercase();
        }
    }
    elf
}
