//! The sysroot that the module is compiled and linked with, so that it loads on old systems too, and on other processors.
//!
//! A sysroot is Debian 11 as far as compiling and linking needs it: what is linked against its C library (2.31) loads
//! wherever that or a newer one is. For another processor than this machine's, Debian's cross compiler compiles, and
//! qemu-user runs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Result, bail};

use crate::apt::Apt;
use crate::arch::Arch;
use crate::packages::{self, Need};
use crate::{paths, ui};

/// The suite that sysroots are made of.
pub const SUITE: &str = "bullseye";

/// The C library, and what nginx's headers include and nginx links.
const PACKAGES: &[&str] = &[
    "libc6",
    "libc6-dev",
    "libcrypt-dev",
    "libcrypt1",
    "libgcc-s1",
    "libpcre2-8-0",
    "libpcre2-dev",
    "libpcre3",
    "libpcre3-dev",
    "libssl-dev",
    "libssl1.1",
    "linux-libc-dev",
    "zlib1g",
    "zlib1g-dev",
];

/// The folder, among its libraries, of those that nginx takes besides the C library.
const OF_NGINX: &str = "of-nginx";

/// The files of Debian 11 for one processor.
pub struct Sysroot {
    arch: Arch,
    root: PathBuf,
}

impl Sysroot {
    /// Gets it unless it is there.
    pub fn get(arch: Arch) -> Result<Self> {
        packages::ensure(&[Need::Fetch])?;
        packages::ensure(arch.needs())?;
        let cache = paths::cache();
        let dir = cache.join(format!("sysroot-{}", arch.debian()));
        let sysroot = Self { arch, root: dir.clone() };
        if dir.exists() {
            return Ok(sysroot);
        }
        let staging = cache.join(format!(".sysroot-{}.{}", arch.debian(), process::id()));
        fs::create_dir_all(&staging)?;
        ui::say(format!("getting headers and libraries of Debian {SUITE} for {}", arch.debian()));
        let log = cache.join(format!("sysroot-{}.log", arch.debian()));
        let apt = Apt::new(SUITE, arch, &staging.join("apt"))?;
        ui::quietly(&format!("package list of {SUITE}"), &log, apt.get().arg("update"))?;
        let root = staging.join("root");
        apt.unpack(PACKAGES, &staging.join("debs"), &root, &log)?;
        relative_links(&root, &root)?;
        sysroot.at(&root).link_what_nginx_takes()?;
        fs::rename(&root, &dir)?;
        fs::remove_dir_all(&staging)?;
        Ok(sysroot)
    }

    fn at(&self, root: &Path) -> Self {
        Self { arch: self.arch, root: root.to_path_buf() }
    }

    /// Links what nginx takes besides the C library, which has to be the one that belongs to the loader, into a folder.
    fn link_what_nginx_takes(&self) -> Result<()> {
        let libraries = self.libraries();
        let folder = libraries[0].join(OF_NGINX);
        fs::create_dir(&folder)?;
        for file in libraries.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten()) {
            let name = file.file_name();
            let text = name.to_string_lossy();
            let is_taken = ["libssl.so.", "libcrypto.so.", "libpcre.so.", "libpcre2-8.so.", "libz.so."];
            if is_taken.iter().any(|start| text.starts_with(start)) {
                fs::copy(file.path(), folder.join(name))?;
            }
        }
        Ok(())
    }

    /// The folders with its libraries.
    fn libraries(&self) -> [PathBuf; 2] {
        ["usr/lib", "lib"].map(|lib| self.root.join(lib).join(self.arch.triplet()))
    }

    /// The C compiler.
    fn compiler(&self) -> String {
        format!("{}-gcc", self.arch.triplet())
    }

    /// Options by which any compiler takes its headers, before those that the compiler knows by itself.
    fn headers(&self) -> Vec<String> {
        let include = self.root.join("usr/include");
        vec![
            format!("--sysroot={}", self.root.display()),
            format!("-isystem{}", include.join(self.arch.triplet()).display()),
            format!("-isystem{}", include.display()),
        ]
    }

    /// Options by which the linker takes its libraries.
    fn linker_options(&self) -> Vec<String> {
        let search = self.libraries().map(|dir| format!("-L{}", dir.display()));
        [format!("--sysroot={}", self.root.display())].into_iter().chain(search).collect()
    }

    /// The environment in which cargo, the crate `cc` and bindgen compile for the sysroot, once cargo is given its target. The compiled files
    /// have no paths of this machine in them.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        let under_score = self.arch.target().replace('-', "_");
        let upper = under_score.to_uppercase();
        let repo = paths::repo();
        let sources = "/usr/src/nginx-module-ntlm";
        let home =
            std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
        let mut rust = vec![format!("--remap-path-prefix={}={sources}", repo.display())];
        if let Ok(home) = home {
            rust.push(format!("--remap-path-prefix={home}=/usr/share/cargo"));
        }
        rust.extend(self.linker_options().into_iter().map(|option| format!("-Clink-arg={option}")));
        // Rust's library takes it where there is one, which is from 2.30 on; a C library without that version of it would
        // refuse the file.
        rust.push("-Clink-arg=-Wl,--defsym=gettid=0".to_owned());
        let prefix = format!("-ffile-prefix-map={}={sources}", repo.display());
        let c: Vec<String> = self.headers().into_iter().chain([prefix]).collect();
        vec![
            (format!("CARGO_TARGET_{upper}_LINKER"), self.compiler().into()),
            // With a target, build scripts are spared. It counts before every other variable of this kind.
            ("CARGO_ENCODED_RUSTFLAGS".to_owned(), rust.join("\u{1f}").into()),
            (format!("CC_{under_score}"), self.compiler().into()),
            (format!("CFLAGS_{under_score}"), c.join(" ").into()),
            (format!("BINDGEN_EXTRA_CLANG_ARGS_{under_score}"), self.headers().join(" ").into()),
        ]
    }

    /// A C compiler for nginx's `./configure` and `make`, put into `dir`; returns its path. What it links runs on this
    /// machine: with the libraries of the sysroot that are not the C library's own, or, for another processor, by a script.
    pub fn put_compiler(&self, dir: &Path) -> Result<PathBuf> {
        let [libraries, _] = self.libraries();
        let compile = format!(
            "{} {} \"$@\" {} -Wl,-rpath,{}",
            self.compiler(),
            self.headers().join(" "),
            self.linker_options()[1..].join(" "),
            libraries.join(OF_NGINX).display(),
        );
        let script = if self.arch.is_foreign() {
            format!(
                r#"#!/bin/sh
# Compiles for {machine}. Where it links a program, the program is a script that runs it.
out=
link=yes
last=
for word do
    case $word in -c|-E|-S|-shared|--version|-v|-dumpversion) link= ;; esac
    [ "$last" = -o ] && out=$word
    last=$word
done
{compile} || exit $?
[ -n "$link" ] && [ -n "$out" ] && [ -f "$out" ] || exit 0
mv "$out" "$out.{machine}" || exit 1
cat > "$out" <<END
#!/bin/sh
self=\$(readlink -f "\$0")
exec {runner} -L {root} -0 "\$self" "\$self.{machine}" "\$@"
END
chmod 755 "$out"
"#,
                machine = self.arch.machine(),
                runner = self.arch.runner(),
                root = self.root.display(),
            )
        } else {
            format!("#!/bin/sh\nexec {compile}\n")
        };
        let path = dir.join("cc");
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

/// Makes absolute links below `dir` lead to the same place in the tree at `root`.
fn relative_links(dir: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            relative_links(&path, root)?;
        } else if kind.is_symlink() {
            let Ok(inside) = fs::read_link(&path)?.strip_prefix("/").map(Path::to_path_buf) else { continue };
            let below = path.strip_prefix(root)?.components().count();
            if below == 0 {
                bail!("{} is outside of the sysroot", paths::shown(&path));
            }
            let up: PathBuf = std::iter::repeat_n("..", below - 1).collect();
            fs::remove_file(&path)?;
            symlink(up.join(inside), &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{paths, relative_links};

    #[test]
    fn an_absolute_link_leads_into_the_sysroot() {
        let root = paths::repo().join(format!("target/sysroot.test.{}", std::process::id()));
        fs::create_dir_all(root.join("usr/lib/a")).unwrap();
        fs::create_dir_all(root.join("lib")).unwrap();
        fs::write(root.join("lib/libz.so.1"), "z").unwrap();
        symlink("/lib/libz.so.1", root.join("usr/lib/a/libz.so")).unwrap();
        relative_links(&root, &root).unwrap();
        assert_eq!(fs::read_to_string(root.join("usr/lib/a/libz.so")).unwrap(), "z");
        fs::remove_dir_all(root).unwrap();
    }
}
