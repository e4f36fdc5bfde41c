//! `cargo xtask env`: the environment in which a bare `cargo` compiles the module for one NGINX.
//!
//! The lines go to stdout and nothing else does, so that a shell can `eval` them.

use std::path::Path;

use anyhow::{Result, bail};

use crate::build;
use crate::nginx::Nginx;
use crate::packages::{self, Need};
use crate::source::Door;

/// `cargo xtask env`
pub fn command(name: &str) -> Result<()> {
    let nginx = Nginx::named(name)?;
    if nginx.door() != Door::Cargo {
        bail!(
            "nginx {name} compiles the module with its own make: choose one that cargo compiles for, such as 1.28"
        );
    }
    packages::ensure(&[Need::Module])?;
    nginx.get()?;
    for (variable, value) in build::environment(nginx) {
        println!("{}", export(variable, &value));
    }
    Ok(())
}

fn export(variable: &str, value: &Path) -> String {
    format!("export {variable}='{}'", value.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::export;

    #[test]
    fn quotes_in_a_path_reach_the_shell() {
        assert_eq!(export("A", Path::new("/a b/it's")), r"export A='/a b/it'\''s'");
    }
}
