// SPDX-License-Identifier: GPL-2.0-only
//! What is repeated for some seconds beside a guest at work, while others do the same on other
//! processors.

use std::arch::asm;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Target;
use crate::device::Device;
use crate::dom0::Ports;
use crate::xen::{Words, Xen};

const COMMAND: u64 = 0x04;
const SERR: u32 = 1 << 8;
const BUS_MASTER: u32 = 1 << 2;
const INTX_DISABLE: u32 = 1 << 10;
/// Cache Line Size and Latency Timer, which are nobody's but dom0's.
const FREE_REGISTERS: [u64; 2] = [0x0c, 0x0d];
/// PIRQs that are no lines of the machine, of which the device has one.
const MESSAGES: std::ops::Range<u64> = 24..256;
/// How often a register is read after it was written, while the guest goes on.
const LOOKS: usize = 20;

pub const USAGE: &str = "storm-command, storm-bus-master or storm-config with SECONDS ADDRESS, \
    storm-ports SECONDS ADDRESS REGISTER OTHER, storm-calls SECONDS TARGET, \
    storm-assign TIMES DOMAIN ADDRESS, storm-add, storm-remove or storm-map with SECONDS TARGET \
    GUEST-FRAME FRAME COUNT";

/// One storm; the first word says which, the second for how many seconds.
pub fn run(words: &[&str]) -> Result<String, String> {
    let seconds = words.get(1).and_then(|text| text.parse().ok()).ok_or(USAGE)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    match words {
        ["storm-command", _, address] => command(address, SERR, end),
        ["storm-bus-master", _, address] => command(address, BUS_MASTER, end),
        ["storm-config", _, address] => config(address, end),
        ["storm-ports", _, address, register, other] => ports(address, register, other, end),
        ["storm-calls", _, target] => calls(&Target::parse(target)?, end),
        ["storm-add", _, target, place @ ..] => mapping(&Target::parse(target)?, place, &[1], end),
        ["storm-remove", _, target, place @ ..] => {
            mapping(&Target::parse(target)?, place, &[0], end)
        }
        ["storm-map", _, target, place @ ..] => {
            mapping(&Target::parse(target)?, place, &[1, 0], end)
        }
        ["storm-assign", times, domain, address] => assign(times, domain, address),
        _ => Err(USAGE.into()),
    }
}

fn repeat(end: Instant, mut step: impl FnMut(u32) -> Result<(), String>) -> Result<u32, String> {
    let mut times = 0;
    while Instant::now() < end {
        step(times)?;
        times += 1;
    }
    Ok(times)
}

/// Sets and clears one bit of Command, leaving the rest; it has to stay as written, since nobody
/// else changes it. In the end it is set. Of INTx-disable what is written is what stands there.
fn command(address: &str, bit: u32, end: Instant) -> Result<String, String> {
    let device = Device::open(address)?;
    let (mut lost, mut first) = (0, String::new());
    let mut write = |on: bool| {
        let before = device.read(COMMAND, 2)?;
        let wanted = if on { before | bit } else { before & !bit };
        device.write(COMMAND, 2, wanted)?;
        for look in 0..LOOKS {
            let seen = device.read(COMMAND, 2)?;
            if (seen ^ wanted) & bit != 0 {
                lost += 1;
                if first.is_empty() {
                    first = format!(" first: wrote={wanted:#x} saw={seen:#x} look={look}");
                }
                break;
            }
        }
        Ok(())
    };
    let tried = repeat(end, |times| write(times % 2 == 0))?;
    write(true)?;
    Ok(format!("command bit={bit:#x} tried={tried} lost={lost}{first}"))
}

/// Two threads write registers that are dom0's, and what stands in Command and the power state.
fn config(address: &str, end: Instant) -> Result<String, String> {
    let power = Device::open(address)?.power()?;
    let one = |register: u64| -> Result<u32, String> {
        let device = Device::open(address)?;
        let before = device.read(register, 1)?;
        let times = repeat(end, |times| {
            device.write(register, 1, before ^ (times & 1) << 6)?;
            let command = device.read(COMMAND, 2)?;
            device.write(COMMAND, 2, command & !INTX_DISABLE)?;
            match power {
                Some(power) => device.write(power, 2, device.read(power, 2)?),
                None => Ok(()),
            }
        })?;
        device.write(register, 1, before)?;
        Ok(times)
    };
    let times = thread::scope(|scope| {
        let threads = FREE_REGISTERS.map(|register| scope.spawn(move || one(register)));
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread ended".into())))
    });
    let times: Result<Vec<_>, _> = times.into_iter().collect();
    Ok(format!("config tried={}", times?.iter().sum::<u32>()))
}

/// What is written by ports. dom0's kernel uses the same address port, so a write may end in
/// Command, which is dom0's: memory, I/O and Bus Master stay enabled. It is no message of Xen's.
const ENABLED: u32 = 7;

/// One thread selects a register of a device and writes it; another selects a register of the
/// device at `other` all the time. What is allowed for the one must not reach the other.
fn ports(address: &str, register: &str, other: &str, end: Instant) -> Result<String, String> {
    let register =
        u32::from_str_radix(register, 16).map_err(|_| format!("no register: {register}"))?;
    let (managed, free) =
        (Ports::to(address)?.select(register), Ports::to(other)?.select(FREE_REGISTERS[0] as u32));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // An answer is not looked at: the writer's only fault would be to have no rights, and
            // it says so.
            let _ = Ports::to(other);
            while !over.load(Relaxed) {
                for _ in 0..256 {
                    out(Ports::ADDRESS, managed);
                }
            }
        });
        let tried = repeat(end, |_| {
            for _ in 0..64 {
                out(Ports::ADDRESS, free);
                out(Ports::DATA, ENABLED);
            }
            Ok(())
        });
        over.store(true, Relaxed);
        Ok(format!("ports tried={}", tried? * 64))
    })
}

fn out(port: u16, value: u32) {
    // SAFETY: the caller has the right, or is ended; only configuration space is written.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) };
}

/// Maps, binds, unbinds and unmaps whatever there is; how many of these worked.
fn calls(target: &Target, end: Instant) -> Result<String, String> {
    let xen = Xen::open(target.domain)?;
    let domain = u64::from(target.domain);
    let (mut mapped, mut bound, mut unbound, mut unmapped) = (0, 0, 0, 0);
    let any = 0xffff_ffff_u64 | 0xffff_ffff << 32;
    let map: Words =
        [domain | 3 << 32, any, target.segment_bus | target.devfn << 32, 0, target.table << 12];
    let tried = repeat(end, |_| {
        mapped += u32::from(xen.physdev(13, &map) == 0);
        for pirq in MESSAGES {
            bound += u32::from(
                xen.domctl(38, target.domain, &[pirq | 2 << 32, 0x10000 << 32 | 0x41, 0, 0, 0])
                    == 0,
            );
            unbound += u32::from(xen.domctl(48, target.domain, &[pirq | 2 << 32, 0, 0, 0, 0]) == 0);
            unmapped += u32::from(xen.physdev(14, &[domain | pirq << 32, 0, 0, 0, 0]) == 0);
        }
        Ok(())
    })?;
    Ok(format!(
        "calls tried={tried} mapped={mapped} bound={bound} unbound={unbound} unmapped={unmapped}"
    ))
}

/// What dom0's toolstack does to give a device to a domain, and to take it away: a domain gets the
/// frames of the device's memory, then the device. `stuck` counts the times that it could not be
/// taken away.
fn assign(times: &str, domain: &str, address: &str) -> Result<String, String> {
    let times = times.parse().map_err(|_| format!("no number: {times}"))?;
    let target = Target::parse(&format!("dom0={domain},{address},0,0"))?;
    let memory = Device::open(address)?.memory()?;
    let xen = Xen::open(target.domain)?;
    let permit = |allowed: u64| {
        let each = |(first, count): &(u64, u64)| {
            xen.domctl(20, target.domain, &[*first, *count, allowed, 0, 0])
        };
        memory.iter().map(each).filter(|error| *error != 0).count()
    };
    if permit(1) != 0 {
        return Err("the device's memory cannot be granted".into());
    }
    let (mut assigned, mut stuck, mut errors) = (0, 0, Vec::new());
    for _ in 0..times {
        match xen.domctl(37, target.domain, &[0, target.sbdf(), 0, 0, 0]) {
            0 => {
                assigned += 1;
                stuck +=
                    u32::from(xen.domctl(47, target.domain, &[0, target.sbdf(), 0, 0, 0]) != 0);
            }
            error => errors.push(error.to_string()),
        }
    }
    permit(0);
    errors.sort_unstable();
    errors.dedup();
    Ok(format!(
        "assign tried={times} assigned={assigned} stuck={stuck} errors={}",
        errors.join(",")
    ))
}

/// Maps frames of the machine into the guest and takes them out again: guest frame and frame in
/// hexadecimal, how many.
fn mapping(target: &Target, place: &[&str], adds: &[u64], end: Instant) -> Result<String, String> {
    let numbers: Option<Vec<u64>> =
        place.iter().map(|text| u64::from_str_radix(text, 16).ok()).collect();
    let Some([guest, frame, count]) = numbers.as_deref() else { return Err(USAGE.into()) };
    let xen = Xen::open(target.domain)?;
    let mut worked = 0;
    let tried = repeat(end, |_| {
        for add in adds {
            worked +=
                u32::from(xen.domctl(39, target.domain, &[*guest, *frame, *count, *add, 0]) == 0);
        }
        Ok(())
    })?;
    Ok(format!("mapping tried={tried} worked={worked}"))
}
