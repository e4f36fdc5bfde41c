//! The man page, `ntlm-probe.1`: it says what `--help` says, and a test holds it to that.
//!
//! Packages install the file as it is: nothing has to run where they are built.

use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, CommandFactory as _};

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
    // Adds --help and --version.
    command.build();
    let usage = command.render_usage().to_string();
    let about = command.get_about().unwrap().to_string();
    let (name, version) = (command.get_name(), command.get_version().unwrap());

    let mut page = format!(".TH {} 1 \"\" \"{name} {version}\" \"User Commands\"\n", name.to_uppercase());
    let description = env!("CARGO_PKG_DESCRIPTION").replacen("Logs", "logs", 1);
    page += &format!(".SH NAME\n{} \\- {}\n", escaped(name), escaped(&description));
    page += &format!(".SH SYNOPSIS\n{}\n", escaped(usage.trim_start_matches("Usage: ")));
    page += ".SH DESCRIPTION\n";
    for paragraph in about.split("\n\n") {
        page += &format!(".PP\n{}\n", escaped(paragraph));
    }
    page += ".SH OPTIONS\n";
    for argument in command.get_arguments() {
        page += &option(argument);
    }
    for section in command.get_after_help().unwrap().to_string().split("\n\n") {
        let (title, items) = section.split_once(":\n").expect("a section has a title");
        page += &format!(".SH {}\n", title.to_uppercase());
        page.extend(items.lines().map(item_line));
    }
    page += &format!(".SH ENVIRONMENT\n.TP\n\\fB{PASSWORD}\\fR\n");
    page += "The password, where no file with it is named\n";
    page += ".SH SEE ALSO\n.PP\nprobe.md, in the same package, tells how each cause is found, ";
    page + "and what the fields of the JSON are.\n"
}

fn option(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default().iter().map(|name| format!("\\fI{name}\\fR"));
    let value = values.collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("\\fB\\-{short}\\fR")));
    names.extend(argument.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escaped(long))));
    let mut tag = names.join(", ");
    if argument.get_action().takes_values() {
        tag = format!("{tag} {value}").trim().to_owned();
    }
    let mut help = escaped(&argument.get_help().unwrap().to_string());
    if let (ArgAction::Set, [default]) = (argument.get_action(), argument.get_default_values()) {
        help += &format!(" [default: {}]", default.to_string_lossy());
    }
    format!(".TP\n{tag}\n{help}\n")
}

/// A line with two blanks before it is an item, what is after two more blanks its text; further lines go on with the text.
fn item_line(line: &str) -> String {
    match line.strip_prefix("  ") {
        Some(item) if !item.starts_with(' ') => {
            let (tag, text) = item.split_once("  ").unwrap_or((item, ""));
            let text = if text.is_empty() { String::new() } else { format!("{}\n", escaped(text)) };
            format!(".TP\n\\fB{}\\fR\n{text}", escaped(tag))
        }
        _ => format!("{}\n", escaped(line.trim())),
    }
}

/// As roff writes it.
fn escaped(text: &str) -> String {
    let mut roff = String::new();
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            roff.push('\n');
        }
        if line.starts_with(['.', '\'']) {
            roff += "\\&";
        }
        for char in line.chars() {
            match char {
                '\\' => roff += "\\(rs",
                '\'' => roff += "\\(aq",
                '-' => roff += "\\-",
                char if char.is_ascii() => roff.push(char),
                char => roff += &format!("\\[u{:04X}]", u32::from(char)),
            }
        }
    }
    roff
}
