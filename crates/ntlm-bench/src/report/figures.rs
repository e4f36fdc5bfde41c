//! Which plots there are.

use anyhow::{Context, Result};

use super::plots::{self, Lines, Role, Rows};
use crate::exchange::Size;
use crate::instructions::{FEW, MIDDLE, URLS, sizes};
use crate::results::{Instructions, Results, median};
use crate::subject::Subject;
use crate::table::{clients, ratio};

/// All plots: the names of their files, and SVG.
pub fn all(results: &[Results]) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("ratio.svg", plots::lines(&each(results, ratios)?)?),
        ("instructions.svg", plots::lines(&to_one_height(each(results, by_size)?))?),
        ("processor.svg", plots::rows(&each(results, processor)?, true)?),
        ("waiting.svg", plots::rows(&each(results, waiting)?, true)?),
        ("memory.svg", plots::rows(&each(results, memory)?, true)?),
        ("logins.svg", plots::rows(&logins(results)?, false)?),
        ("table.svg", plots::lines(&each(&results[..1], table)?)?),
    ])
}

fn each<T>(results: &[Results], panel: impl Fn(&Results) -> Option<T>) -> Result<Vec<T>> {
    results.iter().map(|of| panel(of).context("a part was not measured")).collect()
}

/// Ends the vertical axes at the same number.
fn to_one_height(mut panels: Vec<Lines>) -> Vec<Lines> {
    let high = panels.iter().map(|panel| panel.y_range.1).fold(0.0, f64::max);
    panels.iter_mut().for_each(|panel| panel.y_range.1 = high);
    panels
}

fn role(subject: Subject) -> Role {
    match subject {
        Subject::KeepAlive => Role::Reference,
        Subject::NoKeepAlive => Role::Other,
        Subject::HaProxy => Role::Another,
        _ => Role::Ours,
    }
}

/// Short enough for the side of a bar.
fn short(subject: Subject) -> &'static str {
    match subject {
        Subject::Bound => "bound by ntlm",
        Subject::BoundByProxyNtlm => "by proxy_ntlm",
        Subject::HaProxy => "HAProxy, bound",
        other => other.name(),
    }
}

fn ratios(of: &Results) -> Option<Lines> {
    let instructions = of.instructions.as_ref()?;
    let x_marks: Vec<usize> = clients(instructions, Subject::Bound);
    let at = |clients: usize| ratios_with(instructions, clients);
    let dots = x_marks.iter().flat_map(|&clients| at(clients).into_iter().map(move |y| (clients as f64, y)));
    let middle = x_marks.iter().map(|&clients| (clients as f64, median(at(clients))));
    let dots: Vec<(f64, f64)> = dots.collect();
    let off = dots.iter().map(|(_, y)| (y - 1.0).abs()).fold(0.04, f64::max);
    let reach = (off * 50.0).ceil() / 50.0 + 0.01;
    Some(Lines {
        title: format!("NGINX {}", of.nginx),
        x_axis: "clients that are connected".to_owned(),
        y_axis: "bound ÷ keepalive, all instructions".to_owned(),
        logarithmic: true,
        y_range: (1.0 - reach, 1.0 + reach),
        digits: 2,
        lines: vec![(String::new(), Role::Ours, middle.collect())],
        dots,
        reference: Some((
            "dashed: NGINX's own keepalive; grey: noise".to_owned(),
            1.0,
            instructions.noise.all_percent / 100.0,
        )),
        x_marks: x_marks.iter().map(|&clients| clients as f64).collect(),
    })
}

fn ratios_with(instructions: &Instructions, clients: usize) -> Vec<f64> {
    let of = |size| ratio(instructions, Subject::Bound, Subject::KeepAlive, clients, size);
    sizes().into_iter().filter_map(of).map(|ratio| ratio.all).collect()
}

fn by_size(of: &Results) -> Option<Lines> {
    let instructions = of.instructions.as_ref()?;
    let line = |subject: Subject, name: &str| {
        let points = URLS.iter().filter_map(|&url| {
            let cell = instructions.of(subject, FEW, Size { url, ..MIDDLE })?;
            Some((url as f64, cell.all() / 1000.0))
        });
        (name.to_owned(), role(subject), points.collect::<Vec<_>>())
    };
    let lines = vec![
        line(Subject::HaProxy, "HAProxy, bound"),
        line(Subject::NoKeepAlive, "NGINX, no keepalive"),
        line(Subject::Bound, "bound by ntlm"),
        line(Subject::KeepAlive, "NGINX, keepalive"),
    ];
    let most = lines.iter().flat_map(|line| &line.2).map(|point| point.1).fold(0.0, f64::max);
    Some(Lines {
        title: format!("NGINX {}", of.nginx),
        x_axis: format!("bytes of the path; {} lines of header, {FEW} clients", MIDDLE.lines),
        y_axis: "thousand instructions a request".to_owned(),
        x_marks: URLS.map(|url| url as f64).into(),
        logarithmic: false,
        y_range: (0.0, (most * 1.35 / 10.0).ceil() * 10.0),
        digits: 0,
        lines,
        dots: Vec::new(),
        reference: None,
    })
}

fn panel(of: &Results, axis: &str, rows: Vec<(Subject, Vec<f64>)>) -> Rows {
    let rows = rows.into_iter().map(|(subject, values)| (short(subject).to_owned(), role(subject), values));
    Rows {
        title: format!("NGINX {}", of.nginx),
        axis: axis.to_owned(),
        rows: rows.collect(),
        logarithmic: false,
    }
}

fn processor(of: &Results) -> Option<Rows> {
    let subjects = &of.load.as_ref()?.subjects;
    let rows = subjects.iter().map(|side| (side.subject, vec![side.median.cpu_microseconds]));
    Some(panel(of, "µs of processor time a request", rows.collect()))
}

fn waiting(of: &Results) -> Option<Rows> {
    let subjects = &of.load.as_ref()?.subjects;
    let rows = subjects
        .iter()
        .map(|side| (side.subject, vec![side.median.p50_microseconds, side.median.p99_microseconds]));
    let axis = "µs until the answer, logarithmic: p50 / p99";
    Some(Rows { logarithmic: true, ..panel(of, axis, rows.collect()) })
}

fn memory(of: &Results) -> Option<Rows> {
    let subjects = &of.memory.as_ref()?.subjects;
    let rows = subjects.iter().map(|side| (side.subject, vec![side.bytes_a_client]));
    Some(panel(of, "bytes for each client that waits", rows.collect()))
}

fn logins(results: &[Results]) -> Result<Vec<Rows>> {
    let last = results.last().context("no results")?;
    let logins = last.logins.as_ref().context("no logins were measured")?;
    let panels = [false, true].map(|tls| {
        let of_kind = logins.subjects.iter().filter(|side| side.tls == tls);
        let rows = of_kind.map(|side| (side.subject, vec![1e6 / side.cpu_microseconds]));
        let title = format!("NGINX {}, {}", last.nginx, if tls { "TLS" } else { "plain" });
        Rows { title, ..panel(last, "logins a second for each core", rows.collect()) }
    });
    Ok(panels.into())
}

fn table(of: &Results) -> Option<Lines> {
    let line = |name: &str, role: Role, label: &str| {
        let points = of.table.iter().filter(|operation| operation.name == name);
        let points = points.map(|operation| (operation.bindings as f64, operation.nanoseconds));
        (label.to_owned(), role, points.collect::<Vec<_>>())
    };
    let lines = vec![
        line("login", Role::Other, "a client comes, is bound, and leaves"),
        line("request", Role::Ours, "a request takes a binding, and gives it back"),
    ];
    let most = lines.iter().flat_map(|line| &line.2).map(|point| point.1).fold(0.0, f64::max);
    Some(Lines {
        title: "Operations on the table, without NGINX".to_owned(),
        x_axis: "bindings in the table".to_owned(),
        y_axis: "nanoseconds".to_owned(),
        x_marks: lines.last()?.2.iter().map(|point| point.0).collect(),
        logarithmic: true,
        y_range: (0.0, (most * 1.4 / 100.0).ceil() * 100.0),
        digits: 0,
        lines,
        dots: Vec::new(),
        reference: None,
    })
}
