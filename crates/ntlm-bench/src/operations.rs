//! Operations on the table of bindings alone: what `cargo bench -p ntlm-core` found.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::results::Operation;

/// Reads what criterion has left in `folder`: `table/<operation>/<bindings>/new/estimates.json`.
pub fn read(folder: &Path) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for name in ["request", "login"] {
        let sizes = folder.join("table").join(name);
        for size in fs::read_dir(&sizes).with_context(|| format!("nothing in {}", sizes.display()))? {
            let size = size?.path();
            let Some(bindings) = size.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            let file = size.join("new/estimates.json");
            let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
            let estimates: Value = serde_json::from_str(&text)?;
            let median =
                estimates["median"]["point_estimate"].as_f64().context("criterion states no median")?;
            operations.push(Operation { name: name.to_owned(), bindings, nanoseconds: median.round() });
        }
    }
    operations.sort_by(|one, other| (&other.name, one.bindings).cmp(&(&one.name, other.bindings)));
    Ok(operations)
}
