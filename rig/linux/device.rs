// SPDX-License-Identifier: GPL-2.0-only
//! The devices under test, as the kernel shows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::interrupts::Interrupts;

const PCI: &str = "/sys/bus/pci/devices";
/// Long under emulation, short against a driver's own time-outs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PCI device with the driver of one kind.
pub struct Device {
    folder: PathBuf,
}

/// The driver that serves a kind of device.
fn driver(kind: &str) -> &str {
    match kind {
        "xhci" => "xhci_hcd",
        other => other,
    }
}

impl Device {
    /// The device of this kind, when its driver has it; waits for that.
    pub fn wait(kind: &str) -> Result<Self, String> {
        until(|| Self::find(kind)).ok_or_else(|| format!("driver {} has no device", driver(kind)))
    }

    /// The device of this kind, when its driver has it.
    pub fn find(kind: &str) -> Option<Self> {
        entries(Path::new(PCI))
            .into_iter()
            .find(|folder| driver_of(folder) == driver(kind))
            .map(|folder| Self { folder })
    }

    /// The interrupts of the device.
    pub fn interrupts(&self) -> Interrupts {
        Interrupts::of(&self.folder)
    }

    /// Waits for what the driver makes under a class, such as `block` or `net`; its name.
    pub fn offspring(&self, class: &str) -> Result<String, String> {
        let folder = fs::canonicalize(&self.folder)
            .map_err(|error| format!("{}: {error}", self.folder.display()))?;
        until(|| made_by(&folder, class))
            .ok_or_else(|| format!("the driver made no {class} device"))
    }

    /// Waits until the device is gone.
    pub fn wait_gone(&self) -> Result<(), String> {
        until(|| (!self.folder.exists()).then_some(()))
            .ok_or_else(|| "the device is still there".into())
    }
}

/// The device of a class that stands below a folder of /sys/devices.
fn made_by(folder: &Path, class: &str) -> Option<String> {
    entries(&Path::new("/sys/class").join(class))
        .into_iter()
        .find(|entry| fs::canonicalize(entry).is_ok_and(|real| real.starts_with(folder)))
        .and_then(|entry| Some(entry.file_name()?.to_str()?.to_string()))
}

fn driver_of(folder: &Path) -> String {
    let link = fs::read_link(folder.join("driver")).unwrap_or_default();
    link.file_name().and_then(|name| name.to_str()).unwrap_or_default().into()
}

/// What stands in a folder; nothing when there is none.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|found| found.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Asks again and again until there is an answer, or patience ends.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begin.elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
