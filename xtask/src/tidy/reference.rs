//! Compares the directives, variables and metrics of the module with those in the reference.
//!
//! The README's table names each directive as well, with a link. Links are checked elsewhere.
//!
//! Reads the sources, because the module's tables exist only inside nginx: a directive is a C string literal `c"ntlm…"`, a
//! variable a string literal in a file or folder called `variables`.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::files::File;

/// The beginning of a directive's entry.
const SYNTAX: &str = "Syntax: **";

/// Names that only the module's sources or only the reference has.
pub fn differences(sources: &[File], texts: &[File]) -> Vec<String> {
    let (registered_directives, registered_variables) = registered(sources);
    let (told_directives, told_variables) = told(texts);
    let mut found = incomplete(texts);
    for (kind, mark, registered, told) in [
        ("directive", "", &registered_directives, &told_directives),
        ("variable", "$", &registered_variables, &told_variables),
    ] {
        if registered.is_empty() {
            found.push(format!(
                "no {kind} was found in the module's sources: does tidy read the right place?"
            ));
        }
        for name in registered.difference(told) {
            found.push(format!("the {kind} \"{mark}{name}\" is not in the reference"));
        }
        for name in told.difference(registered) {
            found.push(format!("the reference has a {kind} \"{mark}{name}\" that the module does not have"));
        }
    }
    let text = |name: &str| texts.iter().any(|file| is_reference(&file.path) && file.text.contains(name));
    let metrics = metrics(sources);
    let untold = metrics.iter().filter(|name| !text(&format!("`{name}`")));
    found.extend(untold.map(|name| format!("the metric \"{name}\" is not in the reference")));
    let readme = texts.iter().find(|file| file.path == Path::new("README.md"));
    let rows: BTreeSet<&str> = readme.iter().flat_map(|file| file.text.lines()).filter_map(row).collect();
    let missing = registered_directives.iter().filter(|name| !rows.contains(name.as_str()));
    found.extend(missing.map(|name| format!("the directive \"{name}\" is not in the README's table")));
    found
}

/// The directive of a row of the README's table.
fn row(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("| [`")?.split_once('`')?;
    rest.starts_with("](docs/").then_some(name)
}

/// Entries of directives that have no default or no context.
fn incomplete(texts: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in texts.iter().filter(|file| is_reference(&file.path)) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with(SYNTAX)) {
            for (line_below, start) in [(1, "Default: "), (2, "Context: ")] {
                if !lines.get(index + line_below).is_some_and(|line| line.starts_with(start)) {
                    found.push(format!("{}: no \"{start}\" below: {line}", file.path.display()));
                }
            }
        }
    }
    found
}

/// Directives and variables in the module's sources.
fn registered(sources: &[File]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut directives, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for file in sources {
        let of_variables = file.path.with_extension("").iter().any(|part| part == "variables");
        let mut literals = Vec::new();
        collect(file.text.parse().unwrap_or_default(), &mut literals);
        for literal in literals {
            let is_c = literal.starts_with("c\"");
            let name = literal.trim_start_matches('c').trim_matches('"').to_owned();
            if !is_ours(&name) {
                continue;
            }
            if of_variables {
                variables.insert(name);
            } else if is_c {
                directives.insert(name);
            }
        }
    }
    (directives, variables)
}

/// Metrics in the module's sources.
fn metrics(sources: &[File]) -> BTreeSet<String> {
    let mut literals = Vec::new();
    for file in sources {
        collect(file.text.parse().unwrap_or_default(), &mut literals);
    }
    let names = literals.iter().map(|literal| literal.trim_matches('"'));
    let is_metric = |name: &&str| {
        name.starts_with("nginx_ntlm_") && name.chars().all(|char| char.is_ascii_lowercase() || char == '_')
    };
    names.filter(is_metric).map(str::to_owned).collect()
}

fn collect(tokens: TokenStream, literals: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), literals),
            TokenTree::Literal(literal) => literals.push(literal.to_string()),
            _ => {}
        }
    }
}

/// Directives with an entry ("Syntax: **name**"), variables with a row of a table ("| `$name` |").
fn told(texts: &[File]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut directives, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for line in texts.iter().filter(|file| is_reference(&file.path)).flat_map(|file| file.text.lines()) {
        if let Some(name) = line.strip_prefix(SYNTAX).and_then(|rest| rest.split("**").next()) {
            directives.insert(name.to_owned());
        }
        if let Some(cell) = line.strip_prefix("| `$").and_then(|rest| rest.split('|').next()) {
            let names = cell.split('`').map(|name| name.trim_start_matches('$'));
            variables.extend(names.filter(|name| is_ours(name)).map(str::to_owned));
        }
    }
    (directives, variables)
}

fn is_reference(path: &Path) -> bool {
    path == Path::new("README.md") || path.starts_with("docs")
}

fn is_ours(name: &str) -> bool {
    (["ntlm", "proxy_ntlm"].contains(&name) || name.starts_with("ntlm_"))
        && name.chars().all(|char| char.is_ascii_lowercase() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::super::files::File;
    use super::differences;

    fn module(conf: &str, variables: &str) -> [File; 2] {
        [File::new("src/conf.rs", conf), File::new("src/variables.rs", variables)]
    }

    const CONF: &str = "fn f() { row(c\"ntlm\"); row(c\"ntlm_time\"); say(\"ntlm_key is not here\") }";
    const VARIABLES: &str =
        "const ALL: &[(&str, Get)] = &[(\"ntlm_user\", user), (\"ntlm_domain\", domain)];";
    const TEXT: &str = "\
        | [`ntlm`](docs/directives.md#ntlm) |\n| [`ntlm_time`](docs/directives.md#ntlm_time) |\n\n\
        Syntax: **ntlm** [*n*];<br>\nDefault: 1<br>\nContext: upstream\n\n\
        Syntax: **ntlm_time** *time*;<br>\nDefault: 1<br>\nContext: upstream\n\n\
        | `$ntlm_user`, `$ntlm_domain` | names |\n";

    #[test]
    fn equal_names_are_no_difference() {
        let found = differences(&module(CONF, VARIABLES), &[File::new("README.md", TEXT)]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn the_reference_may_be_in_several_files() {
        let (one, other) = TEXT.split_at(TEXT.find("| `").unwrap());
        let texts = [File::new("README.md", one), File::new("docs/book/variables.md", other)];
        assert!(differences(&module(CONF, VARIABLES), &texts).is_empty());
    }

    #[test]
    fn name_missing_on_one_side_is_found() {
        let conf = CONF.replace("ntlm_time", "ntlm_age");
        let variables = VARIABLES.replace("ntlm_domain", "ntlm_realm");
        let found = differences(&module(&conf, &variables), &[File::new("README.md", TEXT)]);
        assert_eq!(
            found,
            [
                "the directive \"ntlm_age\" is not in the reference",
                "the reference has a directive \"ntlm_time\" that the module does not have",
                "the variable \"$ntlm_realm\" is not in the reference",
                "the reference has a variable \"$ntlm_domain\" that the module does not have",
                "the directive \"ntlm_age\" is not in the README's table",
            ]
        );
    }

    #[test]
    fn metric_missing_in_the_reference_is_found() {
        let conf = CONF.replace("f() {", "f() { metric(\"nginx_ntlm_x_total\", \"nginx_ntlm_ is a start\");");
        let found = differences(&module(&conf, VARIABLES), &[File::new("README.md", TEXT)]);
        assert_eq!(found, ["the metric \"nginx_ntlm_x_total\" is not in the reference"]);
    }

    #[test]
    fn an_entry_without_a_context_is_found() {
        let text = TEXT.replacen("Context: upstream\n", "", 1);
        let found = differences(&module(CONF, VARIABLES), &[File::new("README.md", &text)]);
        assert_eq!(found, ["README.md: no \"Context: \" below: Syntax: **ntlm** [*n*];<br>"]);
    }

    #[test]
    fn sources_without_a_table_are_found() {
        assert_eq!(differences(&[], &[]).len(), 2);
    }
}
