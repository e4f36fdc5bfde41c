//! The results as tables for a terminal: each subject's instructions over those of what it is compared with.

use crate::exchange::Size;
use crate::instructions::{FEW, LINES, MIDDLE, URLS};
use crate::results::{Instructions, Noise, Results};
use crate::subject::Subject;

/// The pairs of subjects that are compared: each with the one that it is measured against.
const COMPARED: [(Subject, Subject); 5] = [
    (Subject::Bound, Subject::KeepAlive),
    (Subject::NoCredentials, Subject::OtherGroup),
    (Subject::OtherGroup, Subject::KeepAlive),
    (Subject::NoKeepAlive, Subject::KeepAlive),
    (Subject::HaProxy, Subject::KeepAlive),
];

/// Prints the instructions.
pub fn print(results: &Results) {
    let Some(instructions) = &results.instructions else { return };
    println!("NGINX {}: instructions over those of {}", results.nginx, Subject::KeepAlive);
    println!("all (NGINX and module alone); columns: lines of the header, rows: clients, bytes of the path");
    for (subject, base) in COMPARED {
        println!("\n{subject} over {base}");
        println!("{:>8} {:>6} {}", "", "", LINES.map(|lines| format!("{lines:>17}")).concat());
        for clients in clients(instructions, subject) {
            for url in URLS {
                let ratios = LINES.map(|lines| {
                    let ratio = ratio(instructions, subject, base, clients, Size { url, lines });
                    ratio.map_or(format!("{:>17}", "-"), |ratio| {
                        format!("   {:.4} ({:.4})", ratio.all, ratio.own)
                    })
                });
                println!("{clients:>8} {url:>6} {}", ratios.concat());
            }
        }
    }
    println!();
    for cell in instructions.requests.iter().filter(|cell| cell.clients == FEW && cell.size == MIDDLE) {
        if let Some(ratio) = ratio(instructions, cell.subject, Subject::KeepAlive, FEW, MIDDLE) {
            let (subject, all, own) = (cell.subject, cell.all(), cell.own());
            println!("{subject:42} {all:>8.0} {:.4} {own:>8.0} {:.4}", ratio.all, ratio.own);
        }
    }
    let Noise { all_percent, own_percent, order_percent } = instructions.noise;
    println!(
        "\nnoise: {all_percent} % of all, {own_percent} % of NGINX and module alone; order of sizes: {order_percent} %"
    );
}

/// A count over another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of all instructions.
    pub all: f64,
    /// Of those in the proxy and its modules.
    pub own: f64,
}

/// The count of `subject` over that of `base`, with as many clients, requests of the same size and answers of the same bytes.
pub fn ratio(
    instructions: &Instructions,
    subject: Subject,
    base: Subject,
    clients: usize,
    size: Size,
) -> Option<Ratio> {
    let over = instructions.of(subject, clients, size)?;
    let under = instructions.of(base, clients, size)?;
    let is_alike = over.answer_bytes == under.answer_bytes || [subject, base].contains(&Subject::HaProxy);
    is_alike.then(|| Ratio { all: over.all() / under.all(), own: over.own() / under.own() })
}

/// The numbers of clients that a subject was measured with.
pub fn clients(instructions: &Instructions, subject: Subject) -> Vec<usize> {
    let of_subject = instructions.requests.iter().filter(|cell| cell.subject == subject);
    let mut clients: Vec<usize> = of_subject.map(|cell| cell.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    clients
}
