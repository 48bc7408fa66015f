// SPDX-License-Identifier: GPL-2.0-only
//! The steps: what is done with a device, and what is to be seen of its interrupts.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::device::Device;
use crate::interrupts::Interrupts;
use crate::{disk, kernel, network, say};

/// How long an interrupt stays where it is while it is being moved about.
const STAY: Duration = Duration::from_millis(20);
/// Where the piece of the NVMe disk begins that is written: behind the rig's pattern.
const SCRATCH: u64 = 16 << 20;
const ROUNDS: u64 = 4;

/// Does one step, by its name KIND/STEP; the error is one sentence.
pub fn run(name: &str) -> Result<(), String> {
    let (kind, step) = name.split_once('/').ok_or_else(|| format!("'{name}' is no step"))?;
    match step {
        "stock-driver" => stock_driver(kind),
        "affinity" => affinity(kind),
        "detach-attach" => detach_attach(kind),
        "load" => load_forever(kind),
        _ => Err(format!("there is no step '{step}'")),
    }
}

/// A full run of work; the device uses message interrupts and they come.
fn stock_driver(kind: &str) -> Result<(), String> {
    let device = Device::wait(kind)?;
    ready(kind, &device)?;
    let before = device.interrupts();
    let requests = work(kind, &device, Amount::Full)?;
    judge(&before, &device.interrupts(), requests)
}

/// Work while the interrupts, and the worker, wander from CPU to CPU.
fn affinity(kind: &str) -> Result<(), String> {
    let device = Device::wait(kind)?;
    ready(kind, &device)?;
    let before = device.interrupts();
    let (done, moved) = (AtomicBool::new(false), AtomicBool::new(false));
    let requests = thread::scope(|scope| {
        scope.spawn(|| wander(&before, &done, &moved));
        let requests = (0..ROUNDS * before.on_cpus.len() as u64).try_fold(0, |sum, round| {
            kernel::run_on(round as usize % before.on_cpus.len())
                .map_err(|error| format!("CPU affinity: {error}"))?;
            work(kind, &device, Amount::Some(round)).map(|requests| sum + requests)
        });
        done.store(true, Relaxed);
        requests
    })?;
    let after = device.interrupts();
    judge(&before, &after, requests)?;
    if !moved.load(Relaxed) {
        return Err("the kernel let no interrupt be moved".into());
    }
    match before.on_cpus.iter().zip(&after.on_cpus).position(|(old, new)| new <= old) {
        Some(cpu) => Err(format!("no interrupt came on CPU {cpu}")),
        None => Ok(()),
    }
}

fn wander(interrupts: &Interrupts, done: &AtomicBool, moved: &AtomicBool) {
    for cpu in (0..interrupts.on_cpus.len()).cycle() {
        if done.load(Relaxed) {
            return;
        }
        if interrupts.send_to(cpu) > 0 {
            moved.store(true, Relaxed);
        }
        thread::sleep(STAY);
    }
}

/// Works until the device goes away, and again when it is back.
fn detach_attach(kind: &str) -> Result<(), String> {
    let device = Device::wait(kind)?;
    ready(kind, &device)?;
    say::line(&format!("Under load: {kind}"));
    let mut round = 0;
    // The error is the expected end: the device is being taken away.
    while work(kind, &device, Amount::Some(round)).is_ok() {
        round += 1;
    }
    device.wait_gone()?;
    say::line(&format!("Gone: {kind}"));
    stock_driver(kind)
}

/// Sets the device to work until the guest ends, whatever comes next.
fn load_forever(kind: &str) -> Result<(), String> {
    let device = Device::wait(kind)?;
    ready(kind, &device)?;
    let kind = kind.to_string();
    say::line(&format!("Under load: {kind}"));
    thread::spawn(move || {
        if let Some(Err(reason)) =
            (0..).map(|round| work(&kind, &device, Amount::Some(round))).find(Result::is_err)
        {
            say::line(&format!("Failure: {kind} under load: {reason}"));
        }
    });
    Ok(())
}

fn judge(before: &Interrupts, after: &Interrupts, requests: u64) -> Result<(), String> {
    say::line(&format!("before: {}", before.text()));
    say::line(&format!("after: {}", after.text()));
    let came = after.total() - before.total().min(after.total());
    match () {
        _ if after.kind.is_empty() => Err("the driver uses no message interrupts".into()),
        _ if came == 0 => Err("no interrupt came".into()),
        _ if came < requests => {
            Err(format!("{came} interrupts for {requests} requests, one after the other"))
        }
        _ => Ok(()),
    }
}

enum Amount {
    Full,
    /// A small piece; the number makes it differ from the last.
    Some(u64),
}

/// Waits until the device can be given work.
fn ready(kind: &str, device: &Device) -> Result<(), String> {
    match kind {
        "e1000e" | "igbvf" | "igb" => network::bring_up(&device.offspring("net")?, echo(kind)?),
        _ => device.offspring("block").map(drop),
    }
}

/// Gives the device work; returns the number of requests each of which ends with an interrupt.
fn work(kind: &str, device: &Device, amount: Amount) -> Result<u64, String> {
    match (kind, amount) {
        ("nvme", Amount::Full) => disk::write_and_read(&device.offspring("block")?, SCRATCH, 64, 1),
        ("nvme", Amount::Some(round)) => {
            disk::write_and_read(&device.offspring("block")?, SCRATCH, 2, round + 2)
        }
        ("ahci" | "xhci", Amount::Full) => disk::read_pattern(&device.offspring("block")?, 4),
        ("ahci" | "xhci", Amount::Some(_)) => disk::read_pattern(&device.offspring("block")?, 1),
        (_, Amount::Full) => network::exchange(echo(kind)?, 4 << 10),
        (_, Amount::Some(_)) => network::exchange(echo(kind)?, 256),
    }
}

/// The address of the echo service behind a network card.
fn echo(kind: &str) -> Result<std::net::Ipv4Addr, String> {
    let known = kernel::parameter("rig.echo");
    let found =
        known.split(',').find_map(|pair| pair.strip_prefix(kind)?.strip_prefix(':')?.parse().ok());
    found.ok_or_else(|| format!("rig.echo names no address for {kind}"))
}
