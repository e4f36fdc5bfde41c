//! Finds circles among a crate's imports: an arrow leads from a file to each file that it names by a path from `crate`,
//! `super` or `self`, and no chain of arrows may lead back to its first file.
//!
//! Names that a file exports for another (`pub use`) count as the other's. A file may name the module that it is a part of:
//! `peer/chain.rs` may take a type from `peer.rs`, which is made of it. Tests may import what they like.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

use super::files::File;

/// The path of a module from its crate's root: `["peer", "chain"]`, nothing for the root itself.
type Module = Vec<String>;

/// A path in a file.
struct Mention {
    from: Module,
    to: Vec<String>,
    line: usize,
}

/// One crate: its files by module, and the paths in them.
#[derive(Default)]
struct Graph {
    files: BTreeMap<Module, PathBuf>,
    mentions: Vec<Mention>,
    /// A name that a module imported, and the path from the crate's root that it stands for.
    names: BTreeMap<(Module, String), Vec<String>>,
}

/// The circles in the crate whose root file is in `root` (`crates/ntlm-core/src`), one sentence each.
pub fn circles(root: &Path, files: &[File]) -> Result<Vec<String>> {
    let mut graph = Graph::default();
    for file in files {
        if let Some(module) = module_of(root, &file.path) {
            graph.files.insert(module, file.path.clone());
        }
    }
    for file in files {
        let Some(module) = module_of(root, &file.path) else { continue };
        let tokens: TokenStream =
            file.text.parse().ok().with_context(|| format!("{} is no Rust", file.path.display()))?;
        Reader { graph: &mut graph, file: module.clone(), module }.read(tokens);
    }
    Ok(graph.circles().iter().map(|(circle, files)| graph.told(root, circle, *files)).collect())
}

/// The module that `path` is the file of; none outside of `root`, for another crate's root, and for tests.
fn module_of(root: &Path, path: &Path) -> Option<Module> {
    let path = path.strip_prefix(root).ok()?.with_extension("");
    let mut module: Module =
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if module.first().is_some_and(|first| first == "bin") || module.last().is_some_and(|last| last == "tests")
    {
        return None;
    }
    match module.last()?.as_str() {
        "lib" | "main" if module.len() == 1 => module.clear(),
        "mod" => _ = module.pop(),
        _ => {}
    }
    Some(module)
}

/// Reads one file.
struct Reader<'a> {
    graph: &'a mut Graph,
    file: Module,
    /// The module around the current token: the file's, or an inline module in it.
    module: Module,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut skip_item = false;
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(group)) = tokens.peek() {
                        skip_item |= is_cfg_test(&group.stream());
                        tokens.next();
                    }
                }
                // The first block or semicolon ends the item with the attribute.
                TokenTree::Punct(punct) if punct.as_char() == ';' => skip_item = false,
                TokenTree::Group(group) if skip_item => skip_item = group.delimiter() != Delimiter::Brace,
                _ if skip_item => {}
                TokenTree::Group(group) => self.read(group.stream()),
                // "pub(in crate::peer)" names nothing.
                TokenTree::Ident(word) if word == "pub" => {
                    let is_scope = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis);
                    _ = tokens.next_if(is_scope);
                }
                TokenTree::Ident(word) if word == "mod" => self.read_module(&mut tokens),
                TokenTree::Ident(word) if word == "use" => {
                    self.read_tree(&mut tokens, Vec::new(), true);
                }
                TokenTree::Ident(word) if is_start(&word.to_string()) && is_path(&mut tokens) => {
                    let line = word.span().start().line;
                    let start = vec![word.to_string()];
                    tokens.next();
                    tokens.next();
                    self.read_rest(&mut tokens, start, line, false);
                }
                _ => {}
            }
        }
    }

    /// Reads what follows `mod`: a name, and the block of an inline module.
    fn read_module(&mut self, tokens: &mut Peekable<token_stream::IntoIter>) {
        let Some(TokenTree::Ident(name)) = tokens.next() else { return };
        if let Some(TokenTree::Group(group)) = tokens.peek() {
            let stream = group.stream();
            tokens.next();
            self.module.push(name.to_string());
            self.read(stream);
            self.module.pop();
        }
    }

    /// Reads the rest of a tree after `path`, up to a comma or a semicolon.
    fn read_tree(&mut self, tokens: &mut Peekable<token_stream::IntoIter>, path: Vec<String>, is_use: bool) {
        match tokens.next() {
            Some(TokenTree::Ident(word)) => {
                let line = word.span().start().line;
                let path = path.into_iter().chain([word.to_string()]).collect();
                if is_path(tokens) {
                    tokens.next();
                    tokens.next();
                    self.read_rest(tokens, path, line, is_use);
                } else {
                    self.leaf(tokens, path, line, is_use);
                }
            }
            Some(TokenTree::Group(group)) => self.read_list(&group.stream(), &path, is_use),
            // "use ::other_crate", "use wire::*"
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {
                self.mention(path, punct.span().start().line);
            }
            _ => {}
        }
    }

    /// Reads what follows `path::`.
    fn read_rest(
        &mut self,
        tokens: &mut Peekable<token_stream::IntoIter>,
        path: Vec<String>,
        line: usize,
        is_use: bool,
    ) {
        match tokens.peek() {
            // Generic arguments: "crate::Table::<crate::Id>", whose insides come later.
            Some(TokenTree::Punct(punct)) if punct.as_char() == '<' => self.mention(path, line),
            _ => self.read_tree(tokens, path, is_use),
        }
    }

    fn read_list(&mut self, list: &TokenStream, path: &[String], is_use: bool) {
        let mut tokens = list.clone().into_iter().peekable();
        while tokens.peek().is_some() {
            self.read_tree(&mut tokens, path.to_vec(), is_use);
            while tokens
                .next_if(|token| !matches!(token, TokenTree::Ident(_) | TokenTree::Group(_)))
                .is_some()
            {}
        }
    }

    fn leaf(
        &mut self,
        tokens: &mut Peekable<token_stream::IntoIter>,
        mut path: Vec<String>,
        line: usize,
        is_use: bool,
    ) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if is_use
            && tokens.next_if(|token| matches!(token, TokenTree::Ident(word) if *word == "as")).is_some()
            && let Some(new) = tokens.next()
        {
            name = new.to_string();
        }
        if is_use && let Some(path) = self.absolute(&path) {
            self.graph.names.insert((self.module.clone(), name), path);
        }
        self.mention(path, line);
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        if path.first().is_some_and(|first| is_start(first))
            && let Some(to) = self.absolute(&path)
        {
            self.graph.mentions.push(Mention { from: self.file.clone(), to, line });
        }
    }

    /// `path` from the crate's root; nothing if it leads out of the crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut here = self.module.clone();
        let mut path = path.iter().peekable();
        match path.peek()?.as_str() {
            "crate" => {
                here.clear();
                path.next();
            }
            "self" => _ = path.next(),
            "super" => {
                while path.next_if(|part| *part == "super").is_some() {
                    here.pop();
                }
            }
            // A child, or another crate.
            child => {
                let module: Module = here.iter().cloned().chain([child.to_owned()]).collect();
                self.graph.files.contains_key(&module).then_some(())?;
            }
        }
        Some(here.into_iter().chain(path.cloned()).collect())
    }
}

fn is_start(word: &str) -> bool {
    ["crate", "super", "self"].contains(&word)
}

/// Whether "::" comes next.
fn is_path(tokens: &mut Peekable<token_stream::IntoIter>) -> bool {
    let mut ahead = tokens.clone();
    let is_colon =
        |token: Option<TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(ahead.next()) && is_colon(ahead.next())
}

fn is_cfg_test(attribute: &TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

impl Graph {
    /// The file that declares the item at `path`, which begins at the crate's root: follows `pub use`.
    fn file_of(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        // Bounded: two files may export each other's name.
        for _ in 0..8 {
            let depth = (0..=path.len()).rev().find(|depth| self.files.contains_key(&path[..*depth]));
            let depth = depth.unwrap_or_default();
            let exported =
                path.get(depth).and_then(|name| self.names.get(&(path[..depth].to_vec(), name.clone())));
            match exported {
                Some(other) => path = other.iter().chain(&path[depth + 1..]).cloned().collect(),
                None => return path[..depth].to_vec(),
            }
        }
        Vec::new()
    }

    /// The files that each file names, with the line of the first mention.
    fn arrows(&self) -> BTreeMap<Module, BTreeMap<Module, usize>> {
        let mut arrows: BTreeMap<Module, BTreeMap<Module, usize>> = BTreeMap::new();
        for mention in &self.mentions {
            let to = self.file_of(&mention.to);
            if !mention.from.starts_with(&to) {
                arrows.entry(mention.from.clone()).or_default().entry(to).or_insert(mention.line);
            }
        }
        arrows
    }

    /// For each group of files that reach each other: a shortest circle, and the size of the group.
    fn circles(&self) -> Vec<(Vec<(Module, usize)>, usize)> {
        let arrows = self.arrows();
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for start in arrows.keys() {
            if told.contains(start) {
                continue;
            }
            if let Some(circle) = shortest(&arrows, start) {
                let ahead = reach(&arrows, start).into_iter();
                let group: Vec<Module> =
                    ahead.filter(|other| reach(&arrows, other).contains(start)).collect();
                circles.push((circle, group.len()));
                told.extend(group);
            }
        }
        circles
    }

    /// "ngx-http-upstream-ntlm: conf.rs:3 → status.rs:7 → conf.rs": the line is that of the import.
    fn told(&self, root: &Path, circle: &[(Module, usize)], files: usize) -> String {
        let name = |module: &Module| {
            let path = self.files.get(module).map_or(Path::new("(root)"), PathBuf::as_path);
            path.strip_prefix(root).unwrap_or(path).display().to_string()
        };
        let mut text = format!("{}: imports go in a circle: ", root.display());
        for (module, line) in circle {
            text += &format!("{}:{line} → ", name(module));
        }
        text += &circle.first().map_or_else(String::new, |(first, _)| name(first));
        if files > circle.len() {
            text += &format!("; {files} files reach each other");
        }
        text
    }
}

type Arrows = BTreeMap<Module, BTreeMap<Module, usize>>;

fn reach(arrows: &Arrows, start: &Module) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut ahead = vec![start.clone()];
    while let Some(module) = ahead.pop() {
        for next in arrows.get(&module).into_iter().flatten().map(|(next, _)| next) {
            if seen.insert(next.clone()) {
                ahead.push(next.clone());
            }
        }
    }
    seen
}

/// The shortest way from `start` back to it: each file with the line of its arrow to the next.
fn shortest(arrows: &Arrows, start: &Module) -> Option<Vec<(Module, usize)>> {
    let mut came_from: BTreeMap<Module, (Module, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([start.clone()]);
    while let Some(module) = queue.pop_front() {
        for (next, line) in arrows.get(&module).into_iter().flatten() {
            if !came_from.contains_key(next) {
                came_from.insert(next.clone(), (module.clone(), *line));
                queue.push_back(next.clone());
            }
        }
    }
    let mut circle = Vec::new();
    let mut at = came_from.get(start)?.clone();
    loop {
        let module = at.0.clone();
        circle.insert(0, at);
        if module == *start {
            return Some(circle);
        }
        at = came_from.get(&module)?.clone();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::files::File;
    use super::circles;

    fn circles_in(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        circles(Path::new("src"), &files).unwrap()
    }

    #[test]
    fn arrows_that_lead_down_are_no_circle() {
        let found = circles_in(&[
            ("src/lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("src/a.rs", "use crate::{b::B, c};\npub struct A(B, c::C);"),
            ("src/b.rs", "use super::c::C;\npub struct B(C);"),
            ("src/c.rs", "pub struct C;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_circle_of_two_names_both_lines() {
        let found = circles_in(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "//! A.\n\nuse crate::b::B;\npub struct A(B);"),
            ("src/b.rs", "//! B.\nuse crate::a::A;\npub struct B(Box<A>);"),
        ]);
        assert_eq!(found, ["src: imports go in a circle: a.rs:3 → b.rs:2 → a.rs"]);
    }

    #[test]
    fn a_circle_of_many_names_the_shortest() {
        let found = circles_in(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B; pub struct A(B);"),
            ("src/b.rs", "use crate::{a::A, c::C}; pub struct B(Box<A>, C);"),
            ("src/c.rs", "use crate::a::A; pub struct C(Box<A>);"),
        ]);
        assert_eq!(found, ["src: imports go in a circle: a.rs:1 → b.rs:1 → a.rs; 3 files reach each other"]);
    }

    #[test]
    fn a_circle_through_expressions_and_macros_is_found() {
        let found = circles_in(&[
            ("src/main.rs", "mod a; mod b;"),
            ("src/a.rs", "fn a() { crate::b::b() }"),
            ("src/b.rs", "fn b() { println!(\"{}\", crate::a::a()) }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn circle_by_super_and_exported_names_is_found() {
        let found = circles_in(&[
            ("src/lib.rs", "pub mod wire; pub mod end; pub use end::End;"),
            ("src/wire/mod.rs", "mod token; pub use self::token::Token as Leg;"),
            ("src/wire/token.rs", "use crate::End;\npub struct Token(End);"),
            ("src/end.rs", "use super::wire::Leg;\npub struct End(Box<Leg>);"),
        ]);
        assert_eq!(found, ["src: imports go in a circle: end.rs:1 → wire/token.rs:1 → end.rs"]);
    }

    #[test]
    fn a_part_may_name_its_whole() {
        let found = circles_in(&[
            ("src/lib.rs", "mod peer; pub struct Id;"),
            ("src/peer.rs", "mod chain; use self::chain::Chain; pub struct Peer(Chain);"),
            ("src/peer/chain.rs", "use super::Peer; use crate::Id; pub struct Chain(*const Peer, Id);"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_circle_through_part_and_whole_is_found() {
        let found = circles_in(&[
            ("src/lib.rs", "mod peer; mod client;"),
            ("src/peer.rs", "mod chain; use self::chain::Chain; pub struct Peer(Chain);"),
            ("src/peer/chain.rs", "pub struct Chain(crate::client::Client);"),
            ("src/client.rs", "pub struct Client(*const crate::peer::Peer);"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn imports_of_tests_are_free() {
        let found = circles_in(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "use crate::b::B;\npub struct A(B);"),
            ("src/b.rs", "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; fn f(_: A) {} }"),
            ("src/b/tests.rs", "use crate::a::A;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_module_written_out_belongs_to_its_file() {
        let found = circles_in(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "mod inner { use super::super::b::B; pub struct I(B); }"),
            ("src/b.rs", "pub struct B(Box<crate::a::inner::I>);"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_visibility_is_no_import() {
        let found = circles_in(&[
            ("src/lib.rs", "mod a;"),
            ("src/a.rs", "use crate::a::b::B; mod b;"),
            ("src/a/b.rs", "pub(in crate::a) struct B;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }
}
