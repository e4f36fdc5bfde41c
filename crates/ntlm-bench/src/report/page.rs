//! The page: a text with gaps, and what the gaps are filled with.

use anyhow::{Context, Result, ensure};

use super::plots::number;
use crate::instructions::{FEW, LINES, MIDDLE, URLS, sizes};
use crate::results::{Instructions, Load, Logins, Memory, MemoryOf, Results};
use crate::subject::Subject;
use crate::table::{Ratio, clients, ratio};

/// Where times were measured so.
const FIRST: &str = " All of them went before other processes of the machine.";

const TEXT: &str = include_str!("page.md.in");

/// The page for these results, in the files of these names.
pub fn text(results: &[Results], files: &[String]) -> Result<String> {
    let last = results.last().context("no results")?;
    let load = last.load.as_ref().context("no times were measured")?;
    let memory = last.memory.as_ref().context("no memory was measured")?;
    let counted = last.instructions.as_ref().context("no instructions were counted")?;
    let points = memory.subjects.first().map(|side| side.points.as_slice()).unwrap_or_default();
    let clients_of =
        |point: Option<&(usize, u64)>| point.map_or(String::new(), |point| number(point.0 as f64, 0));
    let mut text = TEXT.to_owned();
    let mut fill = |name: &str, value: &str| {
        let gap = format!("{{{{{name}}}}}");
        let is_there = text.contains(&gap);
        text = text.replace(&gap, value);
        is_there
    };
    let values = [
        ("summary", blocks(results, summary)?),
        ("instructions", blocks(results, instructions)?),
        ("without", without(results)?),
        ("load", loads(results)?),
        ("memory", memories(results)?),
        ("logins", logins(results)?),
        ("table", table(last)),
        ("machine", machine(results)),
        ("noise", blocks(results, noise)?.replace("\n\n", " ")),
        ("url_least", bounds(&URLS).0),
        ("url_most", bounds(&URLS).1),
        ("lines_least", bounds(&LINES).0),
        ("lines_most", bounds(&LINES).1),
        ("load_size", format!("{} bytes", number(load.size.request().len() as f64, 0))),
        ("load_rate", number(load.rate as f64, 0)),
        ("load_clients", load.clients.to_string()),
        ("rounds", load.subjects.first().map_or(0, |side| side.rounds.len()).to_string()),
        ("first", if load.goes_first { FIRST } else { "" }.to_owned()),
        ("measuring", number(measuring(results), 0)),
        ("memory_first", clients_of(points.first())),
        ("memory_last", clients_of(points.last())),
        ("counted", counted.counted.to_string()),
        ("checked", counted.checked.len().to_string()),
        ("file", files.last().cloned().unwrap_or_default()),
    ];
    for (name, value) in values {
        ensure!(fill(name, &value), "the page has no gap for {name}");
    }
    ensure!(!text.contains("{{"), "a gap of the page is not filled");
    Ok(text)
}

fn bounds(numbers: &[usize]) -> (String, String) {
    let end = |number: Option<&usize>| number.map_or(String::new(), |&n| number_of(n));
    (end(numbers.iter().min()), end(numbers.iter().max()))
}

fn number_of(count: usize) -> String {
    number(count as f64, 0)
}

/// A paragraph for each version.
fn blocks(results: &[Results], block: impl Fn(&Results) -> Option<String>) -> Result<String> {
    let blocks = results.iter().map(|of| block(of).context("a part was not measured"));
    Ok(blocks.collect::<Result<Vec<_>>>()?.join("\n\n"))
}

/// A table; numbers are in all columns but the first.
fn grid(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule: Vec<String> =
        (0..head.len()).map(|column| if column == 0 { "---".to_owned() } else { "--:".to_owned() }).collect();
    let rows = rows.into_iter().map(|row| line(&row));
    [line(&head), line(&rule)].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// The least and the most of ratios.
fn range(ratios: impl IntoIterator<Item = f64>) -> String {
    let (least, most) = ratios
        .into_iter()
        .fold((f64::MAX, f64::MIN), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
    format!("{least:.3} to {most:.3}")
}

fn ratios(of: &Instructions, subject: Subject, base: Subject, clients: usize) -> Vec<Ratio> {
    sizes().into_iter().filter_map(|size| ratio(of, subject, base, clients, size)).collect()
}

fn summary(of: &Results) -> Option<String> {
    let instructions = of.instructions.as_ref()?;
    let all: Vec<f64> = clients(instructions, Subject::Bound)
        .into_iter()
        .flat_map(|clients| ratios(instructions, Subject::Bound, Subject::KeepAlive, clients))
        .map(|ratio| ratio.all)
        .collect();
    let haproxy = ratio(instructions, Subject::HaProxy, Subject::KeepAlive, FEW, MIDDLE)?;
    let more = more_memory(of.memory.as_ref()?, Subject::Bound)?;
    Some(format!(
        "On NGINX {}, a request that its binding serves takes {} times the instructions of one through NGINX's own `keepalive`, over \
         all sizes and numbers of clients that were measured (HAProxy, which binds too: {:.2} times, with {FEW} clients). A client \
         that waits, with its bound connection, takes {} bytes more than NGINX's own pair of connections.",
        of.nginx,
        range(all),
        haproxy.all,
        number(more, 0),
    ))
}

fn instructions(of: &Results) -> Option<String> {
    let instructions = of.instructions.as_ref()?;
    let by_clients = clients(instructions, Subject::Bound).into_iter().map(|clients| {
        let ratios = ratios(instructions, Subject::Bound, Subject::KeepAlive, clients);
        let (all, own) = (ratios.iter().map(|ratio| ratio.all), ratios.iter().map(|ratio| ratio.own));
        vec![number_of(clients), range(all), range(own)]
    });
    let by_size = sizes().into_iter().filter_map(|size| {
        let base = instructions.of(Subject::KeepAlive, FEW, size)?;
        let bound = instructions.of(Subject::Bound, FEW, size)?;
        let ratio = ratio(instructions, Subject::Bound, Subject::KeepAlive, FEW, size)?;
        Some(vec![
            format!("{}, {}", number_of(size.url), size.lines),
            number_of(base.request_bytes),
            number(base.all(), 0),
            number(bound.all(), 0),
            format!("{:.3}", ratio.all),
            format!("{:.3}", ratio.own),
        ])
    });
    let variants = instructions.requests.iter().filter(|cell| cell.clients == FEW && cell.size == MIDDLE);
    let variants = variants.filter_map(|cell| {
        let ratio = ratio(instructions, cell.subject, Subject::KeepAlive, FEW, MIDDLE)?;
        Some(vec![
            cell.subject.name().to_owned(),
            number(cell.all(), 0),
            format!("{:.3}", ratio.all),
            format!("{:.3}", ratio.own),
            number(cell.allocations(), 1),
        ])
    });
    Some(format!(
        "**NGINX {}.** Bound over `keepalive`, the least and the most of all sizes:\n\n{}\n\n\
         With {FEW} clients, each size (bytes of the path, lines of header):\n\n{}\n\n\
         With {FEW} clients, a path of {} bytes and {} lines of header:\n\n{}",
        of.nginx,
        grid(&["clients", "all", "NGINX and module"], by_clients),
        grid(
            &["path, lines", "bytes", "`keepalive`", "bound", "all, ratio", "NGINX and module, ratio"],
            by_size
        ),
        MIDDLE.url,
        MIDDLE.lines,
        grid(&["", "instructions", "all, ratio", "NGINX and module, ratio", "allocations"], variants),
    ))
}

fn without(results: &[Results]) -> Result<String> {
    let pairs = [
        (
            "no credentials, in a group with `ntlm`, over another group",
            Subject::NoCredentials,
            Subject::OtherGroup,
        ),
        ("another group, over NGINX without the module", Subject::OtherGroup, Subject::KeepAlive),
    ];
    let mut rows = Vec::new();
    for of in results {
        let instructions = of.instructions.as_ref().context("no instructions were counted")?;
        for (name, subject, base) in pairs {
            let ratios = ratios(instructions, subject, base, FEW);
            let (all, own) = (ratios.iter().map(|ratio| ratio.all), ratios.iter().map(|ratio| ratio.own));
            rows.push(vec![format!("NGINX {}: {name}", of.nginx), range(all), range(own)]);
        }
    }
    Ok(grid(&["", "all", "NGINX and module"], rows))
}

fn loads(results: &[Results]) -> Result<String> {
    let mut rows = Vec::new();
    for of in results {
        let Load { subjects, .. } = of.load.as_ref().context("no times were measured")?;
        rows.extend(subjects.iter().map(|side| {
            vec![
                format!("NGINX {}: {}", of.nginx, side.subject.name()),
                number(side.median.cpu_microseconds, 1),
                number(side.median.p50_microseconds, 0),
                number(side.median.p99_microseconds, 0),
                middle_half(side.rounds.iter().map(|round| round.p99_microseconds)),
            ]
        }));
    }
    Ok(grid(&["", "processor time, µs", "p50, µs", "p99, µs", "p99 in the middle half of the rounds"], rows))
}

/// The ends of the middle half of numbers.
fn middle_half(numbers: impl Iterator<Item = f64>) -> String {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let end = |quarter: usize| {
        numbers.get(numbers.len() * quarter / 4).map_or(String::new(), |&end| number(end, 0))
    };
    format!("{} to {}", end(1), end(3))
}

fn measuring(results: &[Results]) -> f64 {
    let sides = results.iter().filter_map(|of| of.load.as_ref()).flat_map(|load| &load.subjects);
    sides.map(|side| side.median.measuring_percent).fold(0.0, f64::max)
}

fn memory_of(memory: &Memory, subject: Subject) -> Option<&MemoryOf> {
    memory.subjects.iter().find(|side| side.subject == subject)
}

/// Bytes that a client takes beside NGINX's own pair.
fn more_memory(memory: &Memory, subject: Subject) -> Option<f64> {
    Some(memory_of(memory, subject)?.bytes_a_client - memory_of(memory, Subject::KeepAlive)?.bytes_a_client)
}

fn memories(results: &[Results]) -> Result<String> {
    let mut rows = Vec::new();
    for of in results {
        let memory = of.memory.as_ref().context("no memory was measured")?;
        for side in &memory.subjects {
            let more = more_memory(memory, side.subject).context("NGINX's own was not measured")?;
            rows.push(vec![
                format!("NGINX {}: {}", of.nginx, side.subject.name()),
                number(side.bytes_a_client, 0),
                format!("± {}", number(side.noise_bytes, 0)),
                number(more, 0),
            ]);
        }
    }
    Ok(grid(&["", "bytes a client", "", "more than NGINX's own pair"], rows))
}

fn logins(results: &[Results]) -> Result<String> {
    let mut rows = Vec::new();
    for of in results {
        let Logins { subjects, .. } = of.logins.as_ref().context("no logins were measured")?;
        rows.extend(subjects.iter().map(|side| {
            vec![
                format!("NGINX {}: {}", of.nginx, side.subject.name()),
                if side.tls { "TLS" } else { "plain" }.to_owned(),
                number(side.cpu_microseconds, 0),
                number(1e6 / side.cpu_microseconds, 0),
            ]
        }));
    }
    let counts = blocks(results, |of| {
        let logins = &of.instructions.as_ref()?.logins;
        let told = logins.iter().map(|count| format!("{} {}", count.subject.name(), number(count.all, 0)));
        Some(format!(
            "Instructions of a login over plain connections, on NGINX {}: {}.",
            of.nginx,
            told.collect::<Vec<_>>().join("; ")
        ))
    })?;
    Ok(format!(
        "{}\n\n{counts}",
        grid(&["", "", "processor time, µs", "logins a second for each core"], rows)
    ))
}

fn table(of: &Results) -> String {
    let requests = of.table.iter().filter(|operation| operation.name == "request");
    let rows = requests.map(|request| {
        let is_same =
            |login: &&crate::results::Operation| login.name == "login" && login.bindings == request.bindings;
        let login = of.table.iter().find(is_same).map_or(f64::NAN, |login| login.nanoseconds);
        vec![number_of(request.bindings), number(request.nanoseconds, 0), number(login, 0)]
    });
    grid(&["bindings", "a request, ns", "a client comes, is bound, and leaves, ns"], rows)
}

fn machine(results: &[Results]) -> String {
    let told = results.iter().map(|of| {
        let machine = &of.machine;
        format!(
            "{} processors ({}), Linux {}, HAProxy {}",
            machine.processors, machine.processor, machine.linux, of.haproxy
        )
    });
    let mut told: Vec<String> = told.collect();
    told.dedup();
    format!("On a machine with {}, which others use at the same time.", told.join("; and "))
}

fn noise(of: &Results) -> Option<String> {
    let noise = of.instructions.as_ref()?.noise;
    Some(format!(
        "On NGINX {}, proxies with different pasts, their two counts of a request averaged, differ by up to {} % of all instructions, and by \
         up to {} % of those in NGINX and the module; the two counts of one proxy differ by up to {} %.",
        of.nginx, noise.all_percent, noise.own_percent, noise.order_percent
    ))
}
