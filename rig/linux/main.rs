// SPDX-License-Identifier: GPL-2.0-only
//! First program of the Linux guest: loads the drivers, does the steps that the kernel's command
//! line names, and prints what came of each on Xen's console, in the form of the guests in
//! hvm-tests.
//!
//! `rig.steps=KIND/STEP,...` names them; `rig.echo=KIND:ADDRESS,...` where the echo service of a
//! network card is. Called as /sbin/reboot (by the kernel, when the toolstack asks for it) it
//! restarts the guest at once.

mod device;
mod disk;
mod interrupts;
mod kernel;
mod network;
mod say;
mod steps;

use std::fs;

const MODULES: &str = "/modules";

fn main() {
    if std::env::args().next().is_some_and(|name| name.ends_with("reboot")) {
        kernel::restart();
    }
    let outcome = prepare();
    let steps = kernel::parameter("rig.steps");
    let mut worst = match outcome {
        Ok(()) => say::Word::Success,
        Err(reason) => say::error(&reason),
    };
    for name in steps.split(',').filter(|name| !name.is_empty()) {
        say::line(&format!("Test: {name}"));
        let word = match steps::run(name) {
            Ok(()) => say::Word::Success,
            Err(reason) => say::failure(&reason),
        };
        say::line(&format!("Result of {name}: {}", word.text()));
        worst = worst.max(word);
    }
    say::line(&format!("Test result: {}", worst.text()));
    kernel::sleep_forever()
}

/// Mounts what the steps look into, and loads the modules in the order of their names.
fn prepare() -> Result<(), String> {
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        kernel::mount_once(kind, place)?;
    }
    let mut modules: Vec<_> = fs::read_dir(MODULES)
        .map_err(|error| format!("{MODULES}: {error}"))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    modules.sort();
    modules.iter().try_for_each(|module| kernel::load(module))
}
