//! The man page, `ntlm-probe.1`: it says what `--help` says, and a test holds it to that.
//!
//! Packages install the file as it is: nothing has to run where they are built.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, PASSWORD};

/// Writes the page anew if it is not what the command line makes of it.
#[test]
fn the_man_page_says_what_help_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("ntlm-probe.1");
    let page = page();
    if fs::read_to_string(&file).unwrap_or_default() != page {
        fs::write(&file, page).unwrap();
        panic!("ntlm-probe.1 was not what --help says; it was written anew: look at it and commit it");
    }
}

fn page() -> String {
    let mut command = Args::command();
    let usage = command.render_usage().to_string().replacen("Usage: ", "", 1);
    let description = command.get_about().unwrap().to_string();
    let after_help = command.get_after_help().unwrap().to_string();
    let about = env!("CARGO_PKG_DESCRIPTION").replacen("Logs", "logs", 1);
    let man = Man::new(command.about(about).long_about(description).override_usage(usage));

    let mut page = Vec::new();
    // No version: a release would have to write the page anew, and "--version" tells it.
    Roff::new().control("TH", ["NTLM-PROBE", "1"]).to_writer(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    sections(&after_help).to_writer(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}

/// What follows the options: the sections below them in `--help`, and two that only the page has.
fn sections(after_help: &str) -> Roff {
    let mut roff = Roff::new();
    for section in after_help.split("\n\n") {
        let (title, items) = section.split_once(":\n").expect("a section has a title");
        roff.control("SH", [title.to_uppercase().as_str()]);
        items.lines().for_each(|line| item_line(&mut roff, line));
    }
    roff.control("SH", ["ENVIRONMENT"]).control("TP", []);
    roff.text([bold(PASSWORD)]).text([roman("The password, where no file with it is named")]);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "probe.md, in the same package, tells how each cause is found, and what the fields of the JSON are.",
    )]);
    roff
}

/// A line with two blanks before it is an item, what is after two more blanks its text; further lines go on with the text.
fn item_line(roff: &mut Roff, line: &str) {
    match line.strip_prefix("  ") {
        Some(item) if !item.starts_with(' ') => {
            let (tag, text) = item.split_once("  ").unwrap_or((item, ""));
            roff.control("TP", []).text([bold(tag)]);
            if !text.is_empty() {
                roff.text([roman(text)]);
            }
        }
        _ => _ = roff.text([roman(line.trim())]),
    }
}
