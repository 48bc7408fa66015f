// SPDX-License-Identifier: GPL-2.0-only
//! Interrupts of a device: their kind, how many came on which CPU, and where they are to go.

use std::fs;
use std::path::{Path, PathBuf};

use crate::device::entries;

/// The message interrupts of one device at one moment.
pub struct Interrupts {
    /// `msi` or `msix`; '' when the driver uses neither.
    pub kind: String,
    numbers: Vec<String>,
    /// How many came, for each CPU.
    pub on_cpus: Vec<u64>,
    /// How many of the vectors have fired at all.
    pub fired: usize,
}

impl Interrupts {
    /// Those of the device with this folder in /sys.
    pub fn of(folder: &Path) -> Self {
        let files = entries(&folder.join("msi_irqs"));
        let kind = files
            .first()
            .and_then(|file| fs::read_to_string(file).ok())
            .unwrap_or_default()
            .trim()
            .into();
        let numbers: Vec<String> =
            files.iter().filter_map(|file| Some(file.file_name()?.to_str()?.to_string())).collect();
        let table = fs::read_to_string("/proc/interrupts").unwrap_or_default();
        let cpus = table.lines().next().unwrap_or_default().split_whitespace().count();
        let mut on_cpus = vec![0; cpus];
        let mut fired = 0;
        for counts in table.lines().filter_map(|line| counts(line, &numbers, cpus)) {
            fired += usize::from(counts.iter().any(|count| *count > 0));
            on_cpus.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Self { kind, numbers, on_cpus, fired }
    }

    /// How many came in all.
    pub fn total(&self) -> u64 {
        self.on_cpus.iter().sum()
    }

    /// In words.
    pub fn text(&self) -> String {
        format!(
            "{}, {} vectors, {} of them fired, {} interrupts, by CPU {:?}",
            self.kind,
            self.numbers.len(),
            self.fired,
            self.total(),
            self.on_cpus
        )
    }

    /// Sends all to one CPU; returns how many the kernel let be moved (some it places itself).
    pub fn send_to(&self, cpu: usize) -> usize {
        let mask = format!("{:x}", 1 << cpu);
        self.numbers.iter().filter(|number| fs::write(affinity(number), &mask).is_ok()).count()
    }
}

fn affinity(number: &str) -> PathBuf {
    Path::new("/proc/irq").join(number).join("smp_affinity")
}

/// The counts of a line of /proc/interrupts, if it is about one of these numbers.
fn counts(line: &str, numbers: &[String], cpus: usize) -> Option<Vec<u64>> {
    let (number, rest) = line.split_once(':')?;
    if !numbers.iter().any(|wanted| wanted == number.trim()) {
        return None;
    }
    Some(rest.split_whitespace().take(cpus).filter_map(|word| word.parse().ok()).collect())
}
