// SPDX-License-Identifier: GPL-2.0-only
//! Network cards: an address, and traffic to the echo service of the machine's network and back.

use std::ffi::c_ulong;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::device::until;
use crate::kernel;

const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const SIOCSIFADDR: c_ulong = 0x8916;
const SIOCSIFNETMASK: c_ulong = 0x891C;
const IFF_UP: u8 = 1;
const AF_INET: u8 = 2;
const PORT: u16 = 7;
/// Our own address is the service's, with this last byte.
const OWN: u8 = 15;
const CHUNK: usize = 16 << 10;

/// `struct ifreq` of the kernel's interface.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

impl Request {
    fn new(interface: &str, value: &[u8]) -> Self {
        let mut request = Self { name: [0; 16], value: [0; 24] };
        request.name.iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from);
        request.value.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
        request
    }

    /// With a socket address.
    fn address(interface: &str, address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self::new(interface, &[AF_INET, 0, 0, 0, a, b, c, d])
    }
}

/// Gives an interface its address in the network of `echo`, and brings it up.
pub fn bring_up(interface: &str, echo: Ipv4Addr) -> Result<(), String> {
    let [a, b, c, _] = echo.octets();
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| format!("socket: {error}"))?;
    let ask = |what: c_ulong, request: &mut Request| {
        kernel::control(&socket, what, request).map_err(|error| format!("{interface}: {error}"))
    };
    ask(SIOCSIFADDR, &mut Request::address(interface, Ipv4Addr::new(a, b, c, OWN)))?;
    ask(SIOCSIFNETMASK, &mut Request::address(interface, Ipv4Addr::new(255, 255, 255, 0)))?;
    let mut flags = Request::new(interface, &[]);
    ask(SIOCGIFFLAGS, &mut flags)?;
    flags.value[0] |= IFF_UP;
    ask(SIOCSIFFLAGS, &mut flags)
}

/// Sends so much to the echo service and checks that the same comes back; returns the number of
/// pieces, each of which waits for the one before.
pub fn exchange(echo: Ipv4Addr, kibibytes: usize) -> Result<u64, String> {
    let mut line = until(|| connect(echo)).ok_or_else(|| format!("no connection to {echo}"))?;
    let (mut back, mut seen) = (vec![0; CHUNK], 0_usize);
    let chunks = (kibibytes << 10) / CHUNK;
    for chunk in 0..chunks {
        let out: Vec<u8> =
            (0..CHUNK).map(|place| (place * 7 + chunk * 13 + (place >> 8)) as u8).collect();
        line.write_all(&out).map_err(|error| format!("send: {error}"))?;
        line.read_exact(&mut back)
            .map_err(|error| format!("receive after {seen} bytes: {error}"))?;
        if back != out {
            return Err(format!("bytes {seen} and on came back changed"));
        }
        seen += CHUNK;
    }
    Ok(chunks as u64)
}

fn connect(echo: Ipv4Addr) -> Option<TcpStream> {
    let line =
        TcpStream::connect_timeout(&SocketAddr::from((echo, PORT)), Duration::from_secs(5)).ok()?;
    let limit = Some(Duration::from_secs(30));
    line.set_read_timeout(limit).ok()?;
    line.set_write_timeout(limit).ok()?;
    line.set_nodelay(true).ok()?;
    Some(line)
}
