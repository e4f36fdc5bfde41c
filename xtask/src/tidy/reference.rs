//! Compares the directives and variables that the module registers with those in the reference.
//!
//! Reads the sources, because the module's tables exist only inside nginx: a directive is a C string literal `c"ntlm…"`, a
//! variable a string literal in a file or folder called `variables`.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::files::File;

/// Names that only the module's sources or only the reference has.
pub fn differences(sources: &[File], texts: &[File]) -> Vec<String> {
    let (directives, variables) = registered(sources);
    let (told_directives, told_variables) = told(texts);
    let mut found = Vec::new();
    for (kind, mark, registered, told) in
        [("directive", "", &directives, &told_directives), ("variable", "$", &variables, &told_variables)]
    {
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
        if let Some(name) = line.strip_prefix("Syntax: **").and_then(|rest| rest.split("**").next()) {
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
    (name == "ntlm" || name.starts_with("ntlm_"))
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
    const TEXT: &str = "Syntax: **ntlm** [*n*];<br>\n\nSyntax: **ntlm_time** *time*;\n\n| `$ntlm_user`, `$ntlm_domain` | names |\n";

    #[test]
    fn the_same_names_on_both_sides_are_no_difference() {
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
    fn a_directive_or_variable_missing_on_one_side_is_found() {
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
            ]
        );
    }

    #[test]
    fn sources_without_a_table_are_found() {
        assert_eq!(differences(&[], &[]).len(), 2);
    }
}
