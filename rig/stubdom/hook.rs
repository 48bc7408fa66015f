// SPDX-License-Identifier: GPL-2.0-only
//! What somebody who was taken over might try against interrupts: a stub domain, or a program in
//! dom0.
//!
//! `hook WHAT ...` prints what came of it, and exits non-zero when the attempt could not be made at
//! all. ADDRESS is a device's on the host, such as 0000:00:04.0. The same file serves in both
//! domains.

mod calls;
mod config;
mod device;
mod dom0;
mod storm;
mod xen;

use std::fs;
use std::process::ExitCode;

use calls::{Caller, Target};
use device::{names, Device};
use xen::Xen;

const DRIVER: &str = "/sys/bus/pci/drivers/pci-endpoint-test";
const MSI_ENABLE: u16 = 1;
const USAGE: &str = "in a stub domain say enable-unprogrammed, pcifront-msi, config or \
    calls OWN-DOMAIN NAME=DOMAIN,ADDRESS,TABLE,PENDING...; \
    in dom0 say dom0-config, dom0-ports, dom0-ecam, dom0-memory, dom0-table, dom0-decode or \
    dom0-calls, with ADDRESS; \
    in both, storm-... with SECONDS";

type Attempt = Result<String, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match attempt(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("error={reason}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(words: &[&str]) -> Attempt {
    match words {
        ["enable-unprogrammed"] => enable_unprogrammed(),
        ["pcifront-msi"] => pcifront_msi(),
        ["calls", own, targets @ ..] => all_calls(own, targets),
        ["config"] => all_devices(),
        [what, ..] if what.starts_with("storm-") => storm::run(words),
        [what, address] if what.starts_with("dom0-") => dom0::attempt(what, address),
        [what, file, offset] if *what == dom0::STORE => dom0::store(file, offset),
        _ => Err(USAGE.into()),
    }
}

/// Sets the MSI enable bit of a device whose message nobody has programmed.
fn enable_unprogrammed() -> Attempt {
    let device = Device::with_msi()?;
    let control = device.msi_control()?;
    let before = device.read_u16(control)?;
    let wanted = before | MSI_ENABLE;
    device.write(control, 2, wanted.into())?;
    let after = device.read_u16(control)?;
    Ok(format!("register={control:#x} before={before:#06x} wrote={wanted:#06x} after={after:#06x}"))
}

/// Lets a driver of the stub domain's own kernel enable MSI, which goes by pcifront's own command.
fn pcifront_msi() -> Attempt {
    let device = Device::with_msi()?;
    let (vendor, number) = (device.read_u16(0)?, device.read_u16(2)?);
    fs::write(format!("{DRIVER}/new_id"), format!("{vendor:x} {number:x}"))
        .map_err(|error| format!("new_id: {error}"))?;
    let bound = device.folder.join("driver").exists();
    let interrupts = names(&device.folder.join("msi_irqs")).join(",");
    let control = device.read_u16(device.msi_control()?)?;
    Ok(format!("bound={bound} interrupts={interrupts} control={control:#06x}"))
}

/// Every call on every target.
fn all_calls(own: &str, targets: &[&str]) -> Attempt {
    let domain = own.parse().map_err(|_| format!("no domain number: {own}"))?;
    let targets = targets.iter().map(|text| Target::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let first = targets.first().ok_or("calls need a target")?;
    Ok(calls::try_all(&Caller { xen: Xen::open(first.domain)?, domain }, &targets))
}

/// Every register of every device that the stub domain has.
fn all_devices() -> Attempt {
    let said = Device::all()?.into_iter().map(|device| config::try_all(&device, &device));
    Ok(said.collect::<Result<Vec<_>, _>>()?.join("\n"))
}
